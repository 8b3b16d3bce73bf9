"""What chat models were asked and answered, in a SQLite file: a cache while a run is at work, a record afterwards.

And how often a rule planned in a chat model's place, and why, from the counts in such a file.
"""

import hashlib
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_type_hints

from lerl.envs.text import plain, quoted

FORMAT = 1
FALLBACK = "fallback: "  # before the cause, in the names of counts


class TrafficError(ValueError):
    """A file of traffic that cannot be used; the message names it and says what to do."""


class BusyError(TrafficError):
    """A file of traffic that another process keeps for itself."""


def planner_file(given: str, name: str) -> Path:
    """A file of a run's planners, given as the run's folder or as the file itself."""
    path = Path(given)
    return path / "planners" / name if path.is_dir() else path


@dataclass(frozen=True)
class Asked:
    """One question and what became of it.

    Attributes:
        key: SHA-256 of all that decides the question, in hexadecimal.
        kind: "plan" or "reflection".
        model: its name. prompts: digest of the prompt texts. pool: version of the reflections in it.
        system, user: what was asked; user is empty where nothing was sent.
        text: the answer that was used, or the first 2,000 characters of the last one that could not be, or what the
            endpoint said of an HTTP error; empty where none came.
        cause: why it could not be used, empty where it could.
        state: features of the session in question, float32 as bytes, for distillation; empty for reflections and
            failures.
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
_TYPES = tuple(get_type_hints(Asked).values())
_SCHEMA = f"""
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS texts (digest TEXT PRIMARY KEY, text TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS asked (phase TEXT NOT NULL, {", ".join(_COLUMNS)}, PRIMARY KEY (key, phase, cause));
CREATE TABLE IF NOT EXISTS counts (phase TEXT NOT NULL, name TEXT NOT NULL, value REAL NOT NULL,
    PRIMARY KEY (phase, name));
PRAGMA user_version = {FORMAT};
COMMIT;
"""


class Traffic:
    """One file. An answer that could be used holds for the whole run; a failure holds for its phase, whatever is
    answered in later ones, so that the same state has the same plan throughout, however often it comes, and whether or
    not the run was interrupted in between, or replayed.

    Args:
        path: the file, made where it is missing. read_only: it has to be there, and is not written to.
        busy_timeout: seconds to wait for another process that writes it.

    Raises:
        TrafficError: it is no file of traffic.
    """

    def __init__(self, path: Path, *, read_only: bool = False, busy_timeout: float = 30.0) -> None:
        self.path = path
        self._texts: dict[str, str] = {}
        if read_only and not path.is_file():
            raise TrafficError(f"there is no {path}; give the folder of a run whose planner was a chat model")
        try:
            if read_only:
                self._file = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                # One thread at a time uses it.
                self._file = sqlite3.connect(path, timeout=busy_timeout, check_same_thread=False)
        except (OSError, sqlite3.Error) as error:
            raise TrafficError(f"{path} cannot be opened: {error}; give another file") from error
        try:
            self._begin(read_only)
        except BaseException:
            self.close()
            raise

    def _begin(self, read_only: bool) -> None:
        with self._guarded():
            version, tables = self._file.execute(
                "SELECT user_version, (SELECT count(*) FROM sqlite_master) FROM pragma_user_version"
            ).fetchone()
            if version != FORMAT and (read_only or tables):
                raise TrafficError(f"{self.path} holds no traffic of format {FORMAT}; give another file")
            if version != FORMAT:
                self._file.executescript(_SCHEMA)
            if not read_only:  # written after every answer, without waiting for the disk each time
                self._file.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL")

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, UnicodeDecodeError) as error:  # the latter of messages that quote the file
            if "full" in str(error):
                raise OSError(28, f"no space left for {self.path}") from error
            if "locked" in str(error):
                raise BusyError(
                    f"{self.path} is in use by another process; wait until it is done, or give another file"
                ) from error
            raise self._damaged(plain(str(error), 200)) from error

    def _damaged(self, why: str) -> TrafficError:
        return TrafficError(f"{self.path} cannot be used: {why}; give another file, or remove it")

    def _checked(self, row: Sequence[Any], *types: type) -> Sequence[Any]:
        """A row, once all of it is of its type: SQLite keeps whatever was written."""
        if not all(isinstance(value, kind) for value, kind in zip(row, types, strict=True)):
            raise self._damaged("it holds a value of a wrong type")
        return row

    def _first(self, query: str, *values: str) -> tuple[Any, ...] | None:
        """The first row that a query finds; nothing is left open, which would keep the file in use after an error."""
        with self._guarded(), closing(self._file.execute(query, values)) as rows:
            row: tuple[Any, ...] | None = rows.fetchone()
            return row

    def find(self, key: str, phase: str) -> Asked | None:
        """What became of a question: its failure in this phase, else its answer, else None."""
        row = self._first(
            f"SELECT {', '.join(_COLUMNS)} FROM asked WHERE key = ? AND (cause = '' OR phase = ?) ORDER BY cause DESC",
            key,
            phase,
        )
        if row is None:
            return None
        found = Asked(*self._checked(row, *_TYPES))
        return replace(found, system=self._text(found.system))

    def _text(self, digest: str) -> str:
        if digest not in self._texts:
            row = self._first("SELECT text FROM texts WHERE digest = ?", digest)
            (self._texts[digest],) = self._checked(row, str) if row else ("",)
        return self._texts[digest]

    def keep(self, phase: str, asked: Sequence[Asked], counts: Mapping[str, float]) -> None:
        """Write questions and add to the phase's counts; all of it or nothing."""
        digests = {text: hashlib.sha256(text.encode()).hexdigest() for text in {entry.system for entry in asked}}
        marks = ", ".join("?" * (len(_COLUMNS) + 1))
        with self._guarded(), self._file:
            self._file.executemany(
                "INSERT OR IGNORE INTO texts VALUES (?, ?)", [(digest, text) for text, digest in digests.items()]
            )
            for entry in asked:
                values = {**vars(entry), "system": digests[entry.system]}
                self._file.execute(
                    f"INSERT OR IGNORE INTO asked (phase, {', '.join(_COLUMNS)}) VALUES ({marks})",
                    (phase, *(values[column] for column in _COLUMNS)),
                )
            self._file.executemany(
                "INSERT INTO counts VALUES (?, ?, ?) "
                "ON CONFLICT (phase, name) DO UPDATE SET value = value + excluded.value",
                [(phase, name, value) for name, value in counts.items()],
            )

    def counts(self) -> dict[str, dict[str, float]]:
        """All counts by phase."""
        found: dict[str, dict[str, float]] = {}
        every = "SELECT phase, name, value FROM counts ORDER BY phase, name"
        with self._guarded(), closing(self._file.execute(every)) as rows:
            for row in rows:
                phase, name, value = self._checked(row, str, str, float)
                found.setdefault(phase, {})[name] = value
        return found

    def answered(self) -> bool:
        """Whether a model gave any answer that could be used."""
        return self._first("SELECT 1 FROM asked WHERE cause = '' AND attempts > 0 LIMIT 1") is not None

    def refusal(self) -> str:
        """The newest HTTP error and what the endpoint said of it, in words; empty where there was none."""
        row = self._first("SELECT cause, text FROM asked WHERE cause LIKE 'http %' ORDER BY rowid DESC LIMIT 1")
        if row is None:
            return ""
        cause, text = self._checked(row, str, str)
        return f"{cause}, {quoted(text, 200)}" if text else str(cause)

    def seconds(self) -> list[float]:
        """How long every question took that was sent."""
        with self._guarded(), closing(self._file.execute("SELECT seconds FROM asked WHERE attempts > 0")) as rows:
            return [self._checked(row, float)[0] for row in rows]

    def plans(self) -> Iterator[tuple[str, bytes, str]]:
        """Key, state and text of every plan that could be used, in the order of states, wherever the endpoint was, but
        for states that only evaluation users came to: nothing is ever learned from those."""
        usable = (
            "SELECT key, state, text FROM asked WHERE kind = 'plan' AND cause = '' "
            "AND phase NOT LIKE 'evaluate%' ORDER BY state, key"
        )
        with self._guarded(), closing(self._file.execute(usable)) as rows:
            for row in rows:
                key, state, text = self._checked(row, str, bytes, str)
                yield key, state, text

    def usable_plans(self) -> Iterator[Asked]:
        """Every question for a plan whose answer could be used, in the order of keys, those about evaluation users too:
        to be judged, never to be learned from."""
        usable = f"SELECT {', '.join(_COLUMNS)} FROM asked WHERE kind = 'plan' AND cause = '' ORDER BY key, phase"
        with self._guarded(), closing(self._file.execute(usable)) as rows:
            for row in rows:
                found = Asked(*self._checked(row, *_TYPES))
                yield replace(found, system=self._text(found.system))

    def forget(self, phases: str) -> None:
        """Drop the failures of all phases that begin so: they are asked again."""
        with self._guarded(), self._file:
            self._file.execute("DELETE FROM asked WHERE substr(phase, 1, ?) = ? AND cause != ''", (len(phases), phases))

    def recount(self, phase: str) -> None:
        """Count a phase from nothing, since it is played again, but for what was sent, which stays paid for."""
        with self._guarded(), self._file:
            self._file.execute(
                "DELETE FROM counts WHERE phase = ? AND (name IN ('user_steps', 'requests', 'deduplicated', 'cached') "
                "OR name LIKE 'fallback: %')",
                (phase,),
            )

    def close(self) -> None:
        """Close the file, and leave one that can be read where nothing can be written."""
        with suppress(sqlite3.Error, UnicodeDecodeError):  # it is open elsewhere too, or read-only
            self._file.execute("PRAGMA journal_mode = DELETE")
        self._file.close()


def fallbacks(counts: Mapping[str, float]) -> dict[str, int]:
    """From the counts of a run: how often there was no usable answer, by cause in the order of the alphabet."""
    return {
        name.removeprefix(FALLBACK): int(value) for name, value in sorted(counts.items()) if name.startswith(FALLBACK)
    }


def causes_text(causes: Mapping[str, int]) -> str:
    """The causes with their numbers, in words."""
    return ", ".join(f"{causes[cause]:,} {cause}" for cause in ordered_causes(causes))


def ordered_causes(causes: Mapping[str, int]) -> list[str]:
    """The causes; the breaker, which others led to, at the end."""
    return sorted(causes, key=lambda cause: cause == "breaker")


def percent(share: float) -> str:
    """A share in per cent, to three digits."""
    return f"{100 * share:.3g} %"
