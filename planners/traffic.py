"""What chat models were asked and answered, in a SQLite file: a cache while a run is at work, a record afterwards."""

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

FORMAT = 1


class TrafficError(ValueError):
    """A file of traffic that cannot be used; the message names it and says what to do."""


@dataclass(frozen=True)
class Asked:
    """One question and what became of it.

    Attributes:
        key: SHA-256 of all that decides the question, in hexadecimal.
        kind: "plan" or "reflection".
        model: its name. prompts: digest of the prompt texts. pool: version of the reflections in it.
        system, user: what was asked.
        text: the answer that was used, or the last one that could not be; empty where none came.
        cause: why it could not be used, empty where it could.
        state: features of the session asked about, float32 as bytes, for distillation; empty for reflections.
        attempts: requests sent. prompt_tokens, completion_tokens: of all attempts. seconds: that it took.
    """

    key: str
    kind: str
    model: str
    prompts: str
    pool: int
    system: str
    user: str
    text: str
    cause: str
    state: bytes
    attempts: int
    prompt_tokens: int
    completion_tokens: int
    seconds: float


_COLUMNS = tuple(Asked.__dataclass_fields__)
_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS texts (digest TEXT PRIMARY KEY, text TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS asked (phase TEXT NOT NULL, {", ".join(_COLUMNS)}, PRIMARY KEY (key, phase));
CREATE TABLE IF NOT EXISTS counts (phase TEXT NOT NULL, name TEXT NOT NULL, value REAL NOT NULL,
    PRIMARY KEY (phase, name));
PRAGMA user_version = {FORMAT};
"""


class Traffic:
    """One file. An answer that could be used holds for the whole run; a failure holds for its phase, so that the same
    state has the same plan throughout, however often it comes, and whether or not the run was interrupted in between.

    Args:
        path: the file, made where it is missing; nothing is written where it is None.

    Raises:
        TrafficError: it is no file of traffic.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path = path
        if read_only and not path.is_file():
            raise TrafficError(f"there is no {path}; give the folder of a run whose planner was a chat model")
        try:
            if read_only:
                self._file = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._file = sqlite3.connect(path, timeout=30)
            with self._guarded():
                version = self._file.execute("PRAGMA user_version").fetchone()[0]
                if version not in ((FORMAT,) if read_only else (0, FORMAT)):
                    raise TrafficError(f"{path} is of format {version}, this is format {FORMAT}; use another file")
                if not version:
                    self._file.executescript(_SCHEMA)
        except sqlite3.Error as error:
            raise TrafficError(f"{path} cannot be opened: {error}; give another file, or remove it") from error

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            if "full" in str(error):
                raise OSError(28, f"no space left for {self.path}") from error
            raise TrafficError(f"{self.path} cannot be used: {error}; give another file, or remove it") from error

    def find(self, key: str, phase: str) -> Asked | None:
        """What became of a question: its answer, else its failure in this phase, else None."""
        with self._guarded():
            row = self._file.execute(
                f"SELECT {', '.join(_COLUMNS)} FROM asked WHERE key = ? AND (cause = '' OR phase = ?) ORDER BY cause",
                (key, phase),
            ).fetchone()
        if row is None:
            return None
        found = Asked(*row)
        return Asked(**{**vars(found), "system": self._text(found.system)})

    def _text(self, digest: str) -> str:
        row = self._file.execute("SELECT text FROM texts WHERE digest = ?", (digest,)).fetchone()
        return row[0] if row else ""

    def keep(self, phase: str, asked: list[Asked], digest: str, counts: Mapping[str, float]) -> None:
        """Write questions, all with the same system text, and add to the phase's counts; all of it or nothing."""
        marks = ", ".join("?" * (len(_COLUMNS) + 1))
        with self._guarded(), self._file:
            if asked:
                self._file.execute("INSERT OR IGNORE INTO texts VALUES (?, ?)", (digest, asked[0].system))
            for entry in asked:
                values = {**vars(entry), "system": digest}
                self._file.execute(
                    f"INSERT OR IGNORE INTO asked (phase, {', '.join(_COLUMNS)}) VALUES ({marks})",
                    ("" if not entry.cause else phase, *(values[column] for column in _COLUMNS)),
                )
            self._file.executemany(
                "INSERT INTO counts VALUES (?, ?, ?) "
                "ON CONFLICT (phase, name) DO UPDATE SET value = value + excluded.value",
                [(phase, name, value) for name, value in counts.items()],
            )

    def counts(self) -> dict[str, dict[str, float]]:
        """All counts by phase."""
        found: dict[str, dict[str, float]] = {}
        with self._guarded():
            for phase, name, value in self._file.execute("SELECT phase, name, value FROM counts ORDER BY phase, name"):
                found.setdefault(phase, {})[name] = value
        return found

    def seconds(self) -> list[float]:
        """How long every question took that was sent."""
        with self._guarded(), closing(self._file.execute("SELECT seconds FROM asked WHERE attempts > 0")) as rows:
            return [row[0] for row in rows]

    def plans(self) -> Iterator[Asked]:
        """Every plan that could be used, in the order of its key."""
        with self._guarded():
            rows = self._file.execute(
                f"SELECT {', '.join(_COLUMNS)} FROM asked WHERE kind = 'plan' AND cause = '' ORDER BY key"
            )
            for row in rows:
                yield Asked(*row)

    def forget(self, phases: str) -> None:
        """Drop the failures of all phases that begin so: their questions will be asked again."""
        with self._guarded(), self._file:
            self._file.execute("DELETE FROM asked WHERE substr(phase, 1, ?) = ? AND cause != ''", (len(phases), phases))

    def close(self) -> None:
        """Close the file."""
        self._file.close()
