"""Processes side by side, where the system has no means for them."""

import errno
import os
import signal
import time

import pytest

from lerl.files import RunError
from lerl.run import workers
from lerl.run.work import Work


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.ENOSYS, errno.EACCES])
def test_without_semaphores_one_line_says_where_and_what_to_do(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def pool(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(workers, "ProcessPoolExecutor", pool)
    said = rf"/dev/shm: no semaphore can be made there \({os.strerror(number)}\).*--shm-size"
    with pytest.raises(RunError, match=said), workers.workers(2, "again"):
        pass


class OddError(ValueError):
    """Cannot be read back from a pickle: what it is made of is not what it holds."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} and {second}")


def odd() -> None:
    raise OddError("this", "that")


def test_an_error_that_cannot_be_sent_is_said_and_not_taken_for_a_killed_process() -> None:
    with workers.workers(1, "again") as pool, pytest.raises(RunError, match="OddError: this and that"):
        pool.submit(Work("odd", odd, ())).result()


def test_a_process_that_is_killed_while_it_has_no_work_is_replaced() -> None:
    with workers.workers(1, "again") as pool:
        os.kill(pool.submit(os.getpid).result(), signal.SIGKILL)
        time.sleep(1.0)
        assert pool.submit(len, "four").result(timeout=60) == 4
