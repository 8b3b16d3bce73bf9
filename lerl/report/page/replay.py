"""Sessions that runs kept, packed for the page: gzip in base64, which its script unpacks."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Hashable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from lerl.files import evaluate_command, read_table, reading
from lerl.planners.llm.traffic import Traffic

MOST_BYTES = 3_500_000
"""Of the packed sessions; where there are more, fewer users are on the page."""

_SESSION = ["agent", "user", "replicate"]
_STEP = [*_SESSION, "step"]
_NAMES = pl.List(pl.String)
_SLOTS: dict[str, Any] = {
    "agent": pl.String, "user": pl.Int64, "replicate": pl.Int64, "step": pl.Int64, "slot": pl.Int64, "item": pl.Int64,
    "click": pl.Float64, "reward": pl.Float64, "plan": _NAMES, "avoided": _NAMES, "rationale": pl.String,
    "query": pl.String,
}  # fmt: skip
_HIDDEN: dict[str, Any] = {
    "agent": pl.String, "user": pl.Int64, "replicate": pl.Int64, "step": pl.Int64, "satisfaction": pl.Float64,
    "boredom": pl.List(pl.Float64),
}  # fmt: skip
_TITLES: dict[str, Any] = {"item": pl.Int64, "title": pl.String, "categories": _NAMES}


_LISTS = "icrpwqsb"
"""Of a session, a list for each of these, with an entry for each step."""


class Interned:
    """Values that come often, each kept once."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self._places: dict[Hashable, int] = {}

    def of(self, key: Hashable, value: Any = None) -> int:
        """The place of a value, which is added where its key is new; the key itself where no value is given."""
        if key not in self._places:
            self._places[key] = len(self.values)
            self.values.append(key if value is None else value)
        return self._places[key]


@dataclass(frozen=True)
class Replay:
    """Kept sessions as the page has them.

    Attributes:
        data: what page.js reads, see `_Packing.data`. packed: the same, gzip in base64.
        kept: sessions of each agent in the runs. shown: those of them on the page.
    """

    data: dict[str, Any]
    packed: str
    kept: int
    shown: int


def read_replay(
    runs: Mapping[int, Path],
    agents: Sequence[str],
    topics: Sequence[str],
    episodes: pl.DataFrame,
    most: int = MOST_BYTES,
) -> Replay | None:
    """The sessions that all runs kept; None where one kept none.

    Args:
        runs: folders by seed. agents: whose sessions. topics: names of what users get
            bored of. episodes: of the runs, which tell who left. most: bytes that packed ones may take.

    Raises:
        RunError: a table is damaged.
    """
    if not all((run / "sessions.parquet").is_file() and (run / "titles.parquet").is_file() for run in runs.values()):
        return None
    packing = _Packing(agents, topics, episodes)
    for seed, run in runs.items():
        with reading(run / "sessions.parquet", evaluate_command(run)):
            packing.add(seed, run)
    people = list(packing.people)
    if not people:
        return None
    shown = len(people)
    while True:
        data = packing.data(shown)
        text = json.dumps(data, separators=(",", ":")).encode()
        packed = base64.b64encode(gzip.compress(text, 5, mtime=0)).decode()
        if len(packed) <= most or shown == 1:
            return Replay(data, packed, len(people), shown)
        shown = max(1, min(shown - 1, int(shown * most / len(packed))))


class _Packing:
    """Sessions of runs, one run after another, as lists and numbers.

    Attributes:
        people: seed, user and replicate of each session that was kept, in order.
    """

    def __init__(self, agents: Sequence[str], topics: Sequence[str], episodes: pl.DataFrame) -> None:
        self.agents, self.topics = list(agents), list(topics)
        left = episodes.filter(pl.col("left_early").cast(pl.Boolean)).select("agent", "seed", "user", "replicate")
        self._left = set(left.rows())
        self.people: dict[tuple[int, int, int], int] = {}
        self.names, self.items, self.plans, self.words, self.questions = (Interned() for _ in range(5))
        self.sessions: dict[tuple[int, tuple[int, int, int]], dict[str, Any]] = {}

    def add(self, seed: int, run: Path) -> None:
        """The sessions of a run."""
        how = evaluate_command(run)
        slots, hidden, titles = (
            read_table(run / f"{name}.parquet", how, columns).select(pl.col(n).cast(k) for n, k in columns.items())
            for name, columns in (("sessions", _SLOTS), ("hidden", _HIDDEN), ("titles", _TITLES))
        )
        places = pl.DataFrame(
            {"item": titles["item"], "place": [self._item(*row[1:]) for row in titles.iter_rows()]},
            schema={"item": pl.Int64, "place": pl.Int64},
        )
        first = (pl.col(name).first() for name in ("reward", "plan", "avoided", "rationale", "query"))
        steps = (
            slots.filter(pl.col("agent").is_in(self.agents))
            .join(places, on="item", how="left", maintain_order="left")
            .group_by(_STEP, maintain_order=True)
            .agg(pl.col("place").fill_null(-1), _hundredths("click"), *first)
            .join(hidden, on=_STEP, how="left", maintain_order="left")
            .with_columns((pl.col("reward") * 10_000).round().cast(pl.Int64), _hundredths("satisfaction"))
            .with_columns(pl.col("boredom").list.eval((pl.element() * 100).round().cast(pl.Int64)))
        )
        with closing(_Questions(run, self.questions)) as asked:
            for row in steps.iter_rows():
                self._take_in(seed, row, asked)

    def _item(self, title: str, categories: Sequence[str]) -> int:
        listed = [self.names.of(name) for name in categories]
        return self.items.of((title, *listed), [title, listed])

    def _take_in(self, seed: int, row: Sequence[Any], asked: _Questions) -> None:
        """One step of one session."""
        agent, user, replicate, _, items, clicks, reward, plan, avoided, rationale, query, satisfaction, boredom = row
        person = (seed, user, replicate)
        self.people.setdefault(person, len(self.people))
        left = (agent, *person) in self._left
        session = self.sessions.setdefault(
            (self.agents.index(agent), person), {**{name: [] for name in _LISTS}, "l": left}
        )
        place = -1
        if plan is not None:
            lists = [[self.names.of(name) for name in part] for part in (plan, avoided)]
            place = self.plans.of((tuple(plan), tuple(avoided)), lists)
        step = (
            items,
            clicks,
            reward,
            place,
            self.words.of(rationale),
            asked.place(agent, query),
            satisfaction,
            boredom,
        )
        for name, value in zip(_LISTS, step, strict=True):
            session[name].append(value)

    def data(self, count: int) -> dict[str, Any]:
        """Everything about the first so many sessions.

        A session has lists with an entry for each step: i, places of the items, -1 for an empty slot; c, clicks in
        hundredths; r, reward, in ten-thousandths; p, w, q, places of plan, rationale and question, -1 for none; s,
        satisfaction, and b, boredom by topic, in hundredths. l says whether the user left.
        """
        people = list(self.people)[:count]
        return {
            "agents": self.agents, "people": people, "topics": self.topics, "names": self.names.values,
            "items": self.items.values, "plans": self.plans.values, "words": self.words.values,
            "questions": self.questions.values,
            "sessions": [[self.sessions.get((n, one)) for one in people] for n in range(len(self.agents))],
        }  # fmt: skip


def _hundredths(name: str) -> pl.Expr:
    return (pl.col(name) * 100).round().cast(pl.Int64)


class _Questions:
    """What a run's chat model was asked and answered, by key; nothing where its traffic is gone."""

    def __init__(self, run: Path, kept: Interned) -> None:
        path = run / "planners" / "traffic.sqlite"
        self._file = Traffic(path, read_only=True) if path.is_file() else None
        self._kept, self._places = kept, dict[tuple[str, str], int]()

    def place(self, agent: str, key: str) -> int:
        """The place of a question; -1 for none."""
        if self._file is None or not key:
            return -1
        if (agent, key) not in self._places:
            found = self._file.find(key, f"evaluate {agent}")
            said = None if found is None else (found.system, found.user, found.text, found.cause)
            self._places[agent, key] = -1 if said is None else self._kept.of(said)
        return self._places[agent, key]

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()


def typical(replay: Replay, agent: str) -> int:
    """The place of a session of an agent that is as long as the middle one of all."""
    sessions = replay.data["sessions"][replay.data["agents"].index(agent)]
    lengths = [0 if one is None else len(one["i"]) for one in sessions]
    return lengths.index(sorted(lengths)[len(lengths) // 2])


def example(replay: Replay, agent: str, person: int) -> list[dict[str, Any]]:
    """One session in words, for those without a script: its steps with what was shown, clicked and planned."""
    data = replay.data
    session = data["sessions"][data["agents"].index(agent)][person]
    if session is None:
        return []
    return [
        {
            "shown": [
                (data["items"][item][0], [data["names"][c] for c in data["items"][item][1]], click > 0)
                for item, click in zip(items, clicks, strict=True)
                if item >= 0
            ],
            "plan": [] if plan < 0 else [data["names"][c] for c in data["plans"][plan][0]],
            "satisfaction": satisfaction,
        }
        for items, clicks, plan, satisfaction in zip(
            session["i"], session["c"], session["p"], session["s"], strict=True
        )
    ]
