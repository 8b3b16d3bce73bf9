"""Processes side by side, where the system has no means for them."""

import errno
import os

import pytest

from lerl.files import RunError
from lerl.run import workers


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.ENOSYS, errno.EACCES])
def test_without_semaphores_one_line_says_where_and_what_to_do(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def pool(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(workers, "ProcessPoolExecutor", pool)
    said = rf"/dev/shm: no semaphore can be made there \({os.strerror(number)}\).*--shm-size"
    with pytest.raises(RunError, match=said), workers.workers(2, "again"):
        pass
