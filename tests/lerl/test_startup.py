"""Where compiled code is kept when the package's own folder cannot be written."""

import os
from pathlib import Path

import pytest

from lerl import startup as start


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine on which nothing but the fixture's folder can be written."""
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home" / "cache"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(start, "_writable", lambda folder: False)
    return tmp_path


def test_code_is_kept_beside_the_package_where_that_can_be_written(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start, "_writable", lambda folder: True)
    start.keep_compiled()
    assert "NUMBA_CACHE_DIR" not in os.environ


def test_otherwise_in_the_users_cache_and_what_was_set_stays(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start.keep_compiled()
    kept = Path(os.environ["NUMBA_CACHE_DIR"])
    assert kept == home / "home" / "cache" / "lerl"
    assert kept.stat().st_mode & 0o777 == 0o700
    monkeypatch.setenv("NUMBA_CACHE_DIR", "elsewhere")
    start.keep_compiled()
    assert os.environ["NUMBA_CACHE_DIR"] == "elsewhere"


def test_without_a_home_in_a_temporary_folder_that_nobody_else_can_fill(home: Path) -> None:
    (home / "home").write_text("no folder")
    start.keep_compiled()
    mine = home / f"lerl-{os.getuid()}"
    assert os.environ.pop("NUMBA_CACHE_DIR") == str(mine)
    mine.chmod(0o777)
    start.keep_compiled()
    assert os.environ["NUMBA_CACHE_DIR"] != str(mine)
    assert Path(os.environ["NUMBA_CACHE_DIR"]).stat().st_mode & 0o777 == 0o700
