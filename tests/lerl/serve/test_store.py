"""Sessions are kept whole, by one writer at a time, in each store."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from lerl.serve.packed import pack, unpack
from lerl.serve.store import (
    DAY,
    Conflict,
    MemoryStore,
    RedisStore,
    SessionStore,
    SQLiteStore,
    open_store,
    without_password,
)

REDIS = os.environ.get("LERL_TEST_REDIS", "")
"""Address of a Redis server that tests may write to."""


@pytest.fixture(params=["memory", "sqlite", "redis"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SessionStore]:
    if request.param == "redis" and not REDIS:
        pytest.skip("no LERL_TEST_REDIS, the address of a Redis server")
    made = {
        "memory": MemoryStore,
        "sqlite": lambda: SQLiteStore(tmp_path / "sessions.db"),
        "redis": lambda: RedisStore(REDIS, prefix=f"test:{tmp_path.name}:"),
    }[request.param]()
    yield made
    made.close()


def test_a_session_is_what_was_put_last(store: SessionStore) -> None:
    assert store.get("a") is None
    store.put("a", b"one", 0)
    store.put("b", b"other", 0)
    assert store.get("a") == (b"one", 1)
    store.put("a", b"two", 1)
    assert store.get("a") == (b"two", 2)
    assert len(store) == 2
    store.delete("a")
    store.delete("a")
    assert store.get("a") is None
    assert len(store) == 1
    store.delete("b")


@pytest.mark.parametrize("version", [0, 2])
def test_who_read_an_older_one_does_not_write(store: SessionStore, version: int) -> None:
    store.put("a", b"one", 0)
    with pytest.raises(Conflict):
        store.put("a", b"two", version)
    assert store.get("a") == (b"one", 1)
    store.delete("a")


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_what_nobody_touched_for_a_day_is_forgotten(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store: SessionStore = MemoryStore() if kind == "memory" else SQLiteStore(tmp_path / "sessions.db")
    for name in ("time", "monotonic"):
        monkeypatch.setattr(time, name, lambda: 0.0)
    store.put("old", b"one", 0)
    store.put("kept", b"one", 0, lasting=True)
    store.put("touched", b"one", 0)
    for name in ("time", "monotonic"):
        monkeypatch.setattr(time, name, lambda: DAY / 2)
    store.put("touched", b"two", 1)
    for name in ("time", "monotonic"):
        monkeypatch.setattr(time, name, lambda: DAY + 1)
    store.put("new", b"one", 0)
    assert store.get("old") is None
    assert store.get("kept") == (b"one", 1)
    assert store.get("touched") == (b"two", 2)
    assert len(store) == 3
    store.close()


def test_passwords_are_not_printed(tmp_path: Path) -> None:
    assert without_password("redis://me:secret@host:6379/0") == "redis://host:6379/0"
    assert without_password(tmp_path / "a@b.db") == str(tmp_path / "a@b.db")
    with pytest.raises(OSError, match="Redis does not answer") as caught:
        open_store("redis://me:secret@127.0.0.1:1")
    assert "secret" not in str(caught.value)


def test_a_file_is_read_by_the_next_process(tmp_path: Path) -> None:
    first = open_store(tmp_path / "sessions.db")
    first.put("a", b"one", 0)
    assert open_store(tmp_path / "sessions.db").get("a") == (b"one", 1)


def test_what_cannot_be_opened_is_named(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"no/sessions\.db cannot keep sessions"):
        open_store(tmp_path / "no" / "sessions.db")
    with pytest.raises(OSError, match=r"Redis does not answer at redis://127\.0\.0\.1:1"):
        open_store("redis://127.0.0.1:1")


def test_arrays_come_back_as_they_were() -> None:
    arrays = {
        "numbers": np.arange(6, dtype=np.int32).reshape(2, 3),
        "words": np.array(["", "ä plan"], "<U20"),
        "nothing": np.zeros((0, 2), np.float32),
        "one": np.array(3.5),
        "columns": np.arange(6.0).reshape(2, 3).T,
    }
    found = unpack(pack(arrays))
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)
        assert found[name].flags.writeable


@pytest.mark.parametrize(
    "content", [b"", b"{", b'[["a", "<i4", [2]]]\n123', b'[["a", "<i4", [1]]]\n12345', b'[["a", "|O", [1]]]\n12345678']
)
def test_other_bytes_are_refused(content: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - of several kinds
        unpack(content)
