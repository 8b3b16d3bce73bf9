"""A real federation's own parts, without Flower: whose a message is, and what is said of a process that failed."""

from pathlib import Path

import numpy as np
import pytest

from lerl.agents.federated.clients import Clients, Shared, answer, first_vectors
from lerl.agents.federated.fit import Plan
from lerl.agents.federated.server import Round, Table
from lerl.users.federation import Parts, _end, _start

PEOPLE = Clients.of(np.arange(5), np.arange(5), np.ones(5), 6)
TABLE = Table(np.arange(6, dtype=np.int16).reshape(-1, 1), (6,))


def message(client: int) -> bytes:
    return answer(PEOPLE, client, Shared.of(first_vectors(6, 2, 0), TABLE.rows, 6)).to_bytes()


def test_senders_are_the_clients_that_the_server_gave_to_the_connection() -> None:
    parts = Parts(5, 2)
    assert [parts.of(name) for name in ("b", "a", "b", "c")] == [(0, 2), (2, 5), (0, 2), (0, 0)]
    done, direct = Round(TABLE, 3), Round(TABLE, 3)
    came = [("a", [message(2), message(3), message(4)]), ("b", [message(0), message(1)])]
    assert parts.receive(done, came) == 0
    for client in range(5):
        direct.receive(client, message(client))
    assert (done.mean()[0] == direct.mean()[0]).all()
    assert done.accepted == 5


def test_a_connection_cannot_speak_for_the_clients_of_another() -> None:
    parts, done = Parts(5, 2), Round(TABLE, 3)
    assert parts.of("b") == (0, 2)
    assert parts.of("a") == (2, 5)
    assert parts.receive(done, [("b", [message(n) for n in range(5)]), ("stranger", [message(0)])]) == 3
    assert (done.accepted, done.refused, done.repeated) == (2, 4, 0)


def test_a_part_of_which_nobody_came_is_missed() -> None:
    parts = Parts(5, 2)
    assert parts.of("b") == (0, 2)
    assert parts.receive(Round(TABLE, 3), [("b", [message(0), message(1)])]) == 3


def test_the_last_line_of_a_client_process_that_failed_is_shown(tmp_path: Path) -> None:
    started = [_start(tmp_path / "none", "127.0.0.1:9", Plan())]
    assert started[0].running.wait(60) != 0
    (line,) = _end(started)
    assert line.startswith("client process 1 failed with exit 1, and wrote at last: ")
    assert "Error" in line
    assert started[0].errors.closed


def test_a_process_that_was_well_until_the_end_is_not_named(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert _end([_start(tmp_path, "127.0.0.1:9", Plan())]) == []
    assert capfd.readouterr().err == ""
