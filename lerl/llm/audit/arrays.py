"""From answers to the arrays that the analyses take, and to a table with a row for each question."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lerl.llm.audit.cues import Cues
from lerl.llm.audit.helm import Reason
from lerl.llm.audit.language import wording
from lerl.llm.audit.measured import REFUSAL, Measured
from lerl.llm.audit.outcomes import Outcomes, distance, jaccard, outcomes
from lerl.llm.audit.states import States
from lerl.llm.audit.subject import NOT_ASKED, Answer, Answers
from lerl.planners.llm.guard import ENDPOINT

PLAN_OUTCOMES = (
    "distance from the plan without a cue",
    "diversity of the slate",
    "popularity of the slate",
    "reward of the slate",
)
"""Of a whole plan: its Jensen-Shannon distance, and three of `Outcomes`."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Planned:
    """All answers that are plans for states, with what came of them.

    Attributes:
        answers: (n) of the parts that ask for a plan. found: of each. distance, jaccard: (n,) from the plan of the same
            state without a cue.
    """

    answers: tuple[Answer, ...]
    found: Outcomes
    distance: Floats
    jaccard: Floats

    def part(self, name: str) -> tuple[Outcomes, list[Any]]:
        """What came of one part, and its plans."""
        rows = np.array([n for n, answer in enumerate(self.answers) if answer.part == name], np.int64)
        found = Outcomes(**{key: value[rows] for key, value in vars(self.found).items()})
        return found, [self.answers[n].choice for n in rows.tolist()]


def planned(answers: Answers, states: States) -> Planned:
    """Try out every plan."""
    own = tuple(answer for answer in answers.all if answer.state >= 0)
    rows = np.array([answer.state for answer in own], np.int64)
    found = outcomes(states, rows, [answer.choice for answer in own])
    plain = np.full(len(states), -1)
    for number, answer in enumerate(own):
        if answer.part == "plan" and answer.choice is not None:
            plain[answer.state] = number
    base, shares = plain[rows], found.shares()
    apart, alike = np.full((2, len(own)), np.nan)
    there = (base >= 0) & found.usable
    apart[there] = distance(shares[there], shares[base[there]])
    alike[there] = jaccard(found.allowed[there], found.allowed[base[there]])
    return Planned(own, found, apart, alike)


def measured(plans: Planned, answers: Answers, states: States, cues: Cues) -> Measured:
    """The outcomes of all plans with a cue, by attribute, kind, state, group and instance."""
    names = states.contexts.names
    titles = (
        *(f"{name} allowed" for name in names),
        *(f"{name} avoided" for name in names),
        *PLAN_OUTCOMES,
        REFUSAL,
    )
    table = _table(plans)  # (O, n)
    baseline = np.full((len(titles), len(states)), np.nan)
    values = {
        attribute: np.full((len(titles), len(cues.kinds), len(states), len(groups), cues.instances), np.nan)
        for attribute, groups in cues.attributes.items()
    }
    for number, answer in enumerate(plans.answers):
        if answer.part == "plan":
            baseline[:, answer.state] = table[:, number]
        elif answer.cue is not None:
            cue = answer.cue
            group = cues.attributes[cue.attribute].index(cue.group)
            place = cues.kinds.index(cue.kind), answer.state, group, cue.instance
            values[cue.attribute][(slice(None), *place)] = table[:, number]
    words = {attribute: _wording(cues, attribute) for attribute in cues.attributes}
    return Measured(cues.attributes, cues.kinds, titles, baseline, values, words, _read(answers, cues))


def _table(plans: Planned) -> Floats:
    """(O, n) every outcome of every plan; nan where there is none."""
    found = plans.found
    usable = np.where(found.usable, 1.0, np.nan)
    refused = np.array([refused_by(answer) for answer in plans.answers], np.float64)
    of_plan = [plans.distance, found.diversity, found.popularity, found.reward, refused]
    return np.vstack([found.allowed.T * usable, found.avoid.T * usable, *of_plan])


def refused_by(answer: Answer) -> float:
    """1 where a model answered, but gave no plan; 0 where it gave one; nan where it was not asked or not reached."""
    if answer.cause == NOT_ASKED or answer.cause.startswith(ENDPOINT):
        return float("nan")
    return float(bool(answer.cause))


def _wording(cues: Cues, attribute: str) -> Floats:
    """(V, F, G, K) what the texts are like."""
    found = [
        np.stack([wording([cue.text for cue in group]) for group in cues.of(attribute, kind)], axis=1)
        for kind in cues.kinds
    ]
    return np.stack(found, axis=1)


def _read(answers: Answers, cues: Cues) -> Mapping[str, NDArray[np.int64]] | None:
    told = [answer for answer in answers.of("reading") if answer.cause != NOT_ASKED]
    if not told:
        return None
    found = {
        attribute: np.full((len(cues.kinds), len(groups), cues.instances), -1, np.int64)
        for attribute, groups in cues.attributes.items()
    }
    for answer in told:
        cue = answer.cue
        if cue is not None and answer.value is not None:
            group = cues.attributes[cue.attribute].index(cue.group)
            found[cue.attribute][cues.kinds.index(cue.kind), group, cue.instance] = answer.value
    return found


def question_rows(plans: Planned, answers: Answers, states: States, reasons: Sequence[Reason]) -> pl.DataFrame:
    """One row a question: what was asked, with which cue, what was answered, and what came of it."""
    place = {id(answer): number for number, answer in enumerate(plans.answers)}
    claims = {id(one.answer): one.given for one in reasons}
    names, rows = states.contexts.names, []
    for answer in answers.all:
        cue, number, own = answer.cue, place.get(id(answer)), claims.get(id(answer))
        choice = answer.choice
        rows.append(
            {
                "part": answer.part,
                "state": answer.state if answer.state >= 0 else None,
                "number": answer.number,
                "attribute": cue and cue.attribute,
                "group": cue and cue.group,
                "kind": cue and cue.kind,
                "cue": cue and cue.text,
                "query": answer.key or None,
                "cause": answer.cause or None,
                "answer": answer.text,
                "allowed": choice and ((number is not None and [names[c] for c in choice.allowed]) or None),
                "avoided": choice and ((number is not None and [names[c] for c in choice.avoid]) or None),
                "rationale": choice and choice.rationale,
                "claims": None if own is None else len(own),
                "true_claims": None if own is None else sum(claim.true for claim in own),
                **_came(plans, number),
            }
        )
    return pl.DataFrame(rows, schema_overrides=_TYPES, infer_schema_length=None)


_TYPES: dict[str, Any] = {
    "state": pl.Int64, "attribute": pl.String, "group": pl.String, "kind": pl.String, "cue": pl.String,
    "query": pl.String, "cause": pl.String, "allowed": pl.List(pl.String), "avoided": pl.List(pl.String),
    "rationale": pl.String, "claims": pl.Int64, "true_claims": pl.Int64, "distance": pl.Float64, "jaccard": pl.Float64,
    "diversity": pl.Float64, "popularity": pl.Float64, "reward": pl.Float64,
}  # fmt: skip


def _came(plans: Planned, number: int | None) -> dict[str, float | None]:
    """What came of one plan; nothing where there is none."""
    columns = {"distance": plans.distance, "jaccard": plans.jaccard}
    columns |= {name: getattr(plans.found, name) for name in ("diversity", "popularity", "reward")}
    if number is None:
        return dict.fromkeys(columns)
    return {name: float(column[number]) if np.isfinite(column[number]) else None for name, column in columns.items()}
