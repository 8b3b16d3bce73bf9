"""Progress in plain lines, where there is no terminal."""

import time

import pytest

from lerl.run.progress import Progress


def test_a_speed_is_printed_once_it_is_known(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with Progress() as progress:
        for now, done in ((100.0, 10), (110.0, 210), (120.0, 400)):
            monkeypatch.setattr(time, "monotonic", lambda now=now: now)
            progress.report("play", done, 400, None)
    lines = [" ".join(line.split()) for line in capsys.readouterr().err.splitlines()]
    assert lines == ["play 10/400", "play 210/400 20/s 10 s left", "play 400/400 20/s"]
