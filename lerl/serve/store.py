"""Where sessions are kept between requests: in memory, in an SQLite file, or in Redis for several processes."""

import math
import sqlite3
import threading
import time
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

DAY = 86_400.0
"""Seconds after which a session that nobody touched is forgotten."""


class Conflict(RuntimeError):
    """A session was changed by another request since it was read."""

    def __init__(self, key: str) -> None:
        super().__init__(f"{key!r} was changed by other requests meanwhile; give the request again")


class SessionStore(Protocol):
    """Keeps content by key; a version tells whether somebody else wrote since it was read."""

    def get(self, key: str) -> tuple[bytes, int] | None:
        """Content and version, None where there is no such session."""

    def put(self, key: str, content: bytes, version: int, lasting: bool = False) -> None:
        """Keep content in the place of that version, 0 for a new session; until it was not touched for a day, unless
        it is `lasting`.

        Raises:
            Conflict: the session has another version by now.
        """

    def delete(self, key: str) -> None:
        """Forget a session; nothing happens where there is none."""

    def __len__(self) -> int:
        """How many sessions are kept."""

    def close(self) -> None:
        """Let go of files and connections."""


class MemoryStore:
    """Sessions of this process only, gone with it."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[bytes, int, float]] = {}  # content, version, and when it may be forgotten
        self._lock = threading.Lock()

    def get(self, key: str) -> tuple[bytes, int] | None:
        """Content and version, None where there is no such session."""
        found = self._kept.get(key)
        return None if found is None else found[:2]

    def put(self, key: str, content: bytes, version: int, lasting: bool = False) -> None:
        """Keep content in the place of that version; see `SessionStore`."""
        now = time.monotonic()
        with self._lock:
            if version == 0:
                while self._kept and (oldest := next(iter(self._kept.items())))[1][2] < now:
                    del self._kept[oldest[0]]
            found = self._kept.get(key)
            if (0 if found is None else found[1]) != version:
                raise Conflict(key)
            if not lasting:
                self._kept.pop(key, None)  # so that the one that nobody touched for longest stands first
            self._kept[key] = content, version + 1, math.inf if lasting else now + DAY

    def delete(self, key: str) -> None:
        """Forget a session."""
        self._kept.pop(key, None)

    def __len__(self) -> int:
        return len(self._kept)

    def close(self) -> None:
        """Nothing to close."""


class SQLiteStore:
    """Sessions in a file, which outlive the process; several processes of one machine may share it.

    A write is on disk before `put` returns (write-ahead log, synchronous NORMAL: what was written survives the death of
    the process; the death of the machine may lose the last moments, and damages nothing).

    Args:
        path: the file, made where it is not there.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._local = path, threading.local()
        self._opened: list[sqlite3.Connection] = []
        self._connection.execute(
            "CREATE TABLE IF NOT EXISTS sessions "
            "(key TEXT PRIMARY KEY, version INTEGER, content BLOB, until REAL) WITHOUT ROWID"
        )

    @property
    def _connection(self) -> sqlite3.Connection:
        found: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if found is None:
            found = sqlite3.connect(self._path, timeout=10, isolation_level=None, check_same_thread=False)
            self._opened.append(found)
            found.execute("PRAGMA journal_mode=WAL")
            found.execute("PRAGMA synchronous=NORMAL")
            self._local.connection = found
        return found

    def get(self, key: str) -> tuple[bytes, int] | None:
        """Content and version, None where there is no such session."""
        row = self._connection.execute("SELECT content, version FROM sessions WHERE key = ?", (key,)).fetchone()
        return None if row is None else (row[0], row[1])

    def put(self, key: str, content: bytes, version: int, lasting: bool = False) -> None:
        """Keep content in the place of that version; see `SessionStore`."""
        until = None if lasting else time.time() + DAY
        if version:
            done = self._connection.execute(
                "UPDATE sessions SET content = ?, version = version + 1, until = ? WHERE key = ? AND version = ?",
                (content, until, key, version),
            )
        else:
            self._connection.execute("DELETE FROM sessions WHERE until < ?", (time.time(),))
            done = self._connection.execute("INSERT OR IGNORE INTO sessions VALUES (?, 1, ?, ?)", (key, content, until))
        if done.rowcount != 1:
            raise Conflict(key)

    def delete(self, key: str) -> None:
        """Forget a session."""
        self._connection.execute("DELETE FROM sessions WHERE key = ?", (key,))

    def __len__(self) -> int:
        return int(self._connection.execute("SELECT count(*) FROM sessions").fetchone()[0])

    def close(self) -> None:
        """Close the connections of all threads."""
        for connection in self._opened:
            connection.close()
        self._opened, self._local = [], threading.local()


class RedisStore:
    """Sessions in Redis, shared by processes and machines.

    Args:
        url: redis://HOST:PORT/DATABASE. prefix: of keys.
    """

    SWAP = (
        "local v = redis.call('HGET', KEYS[1], 'version') or '0' "
        "if v ~= ARGV[1] then return 0 end "
        "redis.call('HSET', KEYS[1], 'version', v + 1, 'content', ARGV[2]) "
        "if ARGV[3] == '0' then redis.call('PERSIST', KEYS[1]) else redis.call('EXPIRE', KEYS[1], ARGV[3]) end return 1"
    )

    def __init__(self, url: str, prefix: str = "lerl:") -> None:
        import redis

        self._redis: Any = redis.Redis.from_url(url)
        self._swap = self._redis.register_script(self.SWAP)
        self._prefix = prefix
        self._redis.ping()

    def get(self, key: str) -> tuple[bytes, int] | None:
        """Content and version, None where there is no such session."""
        version, content = self._redis.hmget(self._prefix + key, "version", "content")
        return None if version is None else (content, int(version))

    def put(self, key: str, content: bytes, version: int, lasting: bool = False) -> None:
        """Keep content in the place of that version; see `SessionStore`."""
        if not self._swap(keys=[self._prefix + key], args=[version, content, 0 if lasting else int(DAY)]):
            raise Conflict(key)

    def delete(self, key: str) -> None:
        """Forget a session."""
        self._redis.delete(self._prefix + key)

    def __len__(self) -> int:
        return sum(1 for _ in self._redis.scan_iter(f"{self._prefix}*", count=1000))

    def close(self) -> None:
        """Close connections."""
        self._redis.close()


def open_store(where: str | Path | None, owner: str = "") -> SessionStore:
    """The store for None (memory), a redis:// address, or an SQLite file.

    Args:
        where: it is. owner: what keeps sessions there, so that several may share a Redis server.

    Raises:
        OSError: the file cannot be opened, or Redis does not answer; the message says where.
    """
    if where is None:
        return MemoryStore()
    if str(where).startswith(("redis://", "rediss://")):
        try:
            return RedisStore(str(where), prefix=f"lerl:{owner}:")
        except ImportError:
            raise ImportError("sessions in Redis need redis; install it with: pip install 'lerl-rec[serve]'") from None
        except Exception as error:
            raise OSError(
                f"Redis does not answer at {without_password(where)} ({error}); start it, or give another --store"
            ) from error
    path = Path(where)
    try:
        return SQLiteStore(path)
    except sqlite3.Error as error:
        raise OSError(f"{path} cannot keep sessions ({error}); give another --store") from error


def without_password(where: str | Path) -> str:
    """An address or a path as it may be printed."""
    parts = urlsplit(str(where))
    return str(where) if "@" not in parts.netloc else parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
