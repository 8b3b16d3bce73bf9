"""How far plans move with a cue, by kind of cue and group, and how far those of two groups are apart."""

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lerl.llm.audit.arrays import Planned, refused_by
from lerl.llm.audit.cues import Cues
from lerl.llm.audit.outcomes import distance

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Entry:
    """One kind of cue and one group; means over states and instances, None where nothing was answered.

    Attributes:
        distance: Jensen-Shannon distance of plans from the plan without a cue. jaccard: share of the categories of
            either that both allow. reward: of the next slate, less than without a cue where negative. refused: share
            of answers that were no plan. asked: how many answers that rests on.
    """

    attribute: str
    kind: str
    group: str
    distance: float | None
    jaccard: float | None
    reward: float | None
    refused: float | None
    asked: int


@dataclass(frozen=True)
class Matrix:
    """All entries, and between: for each two groups of an attribute the distances (n,) between their plans in the same
    state, with the same kind and instance of cue; refused: share of
    answers without a cue that were no plan, None where there were none."""

    entries: tuple[Entry, ...]
    between: tuple[Floats, ...]
    refused: float | None = None


def matrix(plans: Planned, cues: Cues) -> Matrix:
    """Kind of cue x group."""
    rows: dict[tuple[str, str, str], list[int]] = {}
    base = {answer.state: n for n, answer in enumerate(plans.answers) if answer.part == "plan"}
    for number, answer in enumerate(plans.answers):
        if answer.cue is not None:
            rows.setdefault((answer.cue.attribute, answer.cue.kind, answer.cue.group), []).append(number)
    entries = [_entry(key, np.array(own), plans, base) for key, own in rows.items()]
    plain = np.array([refused_by(answer) for answer in plans.answers if answer.part in ("plan", "again")])
    return Matrix(tuple(entries), tuple(_between(plans, cues, rows)), _mean(plain))


def _entry(key: tuple[str, str, str], own: NDArray[np.int64], plans: Planned, base: dict[int, int]) -> Entry:
    refused = np.array([refused_by(plans.answers[n]) for n in own.tolist()])
    plain = plans.found.reward[[base[plans.answers[n].state] for n in own.tolist()]]
    moved = plans.found.reward[own] - plain
    asked = int(np.isfinite(refused).sum())
    return Entry(*key, _mean(plans.distance[own]), _mean(plans.jaccard[own]), _mean(moved), _mean(refused), asked)


def _between(plans: Planned, cues: Cues, rows: dict[tuple[str, str, str], list[int]]) -> list[Floats]:
    shares, found = plans.found.shares(), []
    for (attribute, groups), kind in itertools.product(cues.attributes.items(), cues.kinds):
        for one, other in itertools.combinations(groups, 2):
            places = [_places(plans, rows.get((attribute, kind, group), [])) for group in (one, other)]
            both = [(places[0][key], places[1][key]) for key in places[0] if key in places[1]]
            pairs = np.array(both, np.int64).reshape(-1, 2)
            usable = plans.found.usable[pairs].all(axis=1)
            found.append(distance(shares[pairs[usable, 0]], shares[pairs[usable, 1]]))
    return found


def _places(plans: Planned, numbers: list[int]) -> dict[tuple[int, int], int]:
    """Answers by state and instance."""
    return {(plans.answers[n].state, plans.answers[n].number): n for n in numbers}


def _mean(values: Floats) -> float | None:
    there = values[np.isfinite(values)]
    return float(there.mean()) if len(there) else None
