"""What a run recorded of its chat model, as the audit sees it: nothing is asked."""

import re
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lerl.config.schema import Config
from lerl.files import RunError, read_table
from lerl.llm.audit.cells import Measure
from lerl.llm.audit.claims import against, claims
from lerl.llm.audit.helm import Reason, alignment, faithful, of_items, read_back
from lerl.llm.audit.states import stocked
from lerl.llm.audit.subject import Answer
from lerl.planners.llm.prompt import AnswerError, read_answer
from lerl.planners.llm.scripted import LINE
from lerl.planners.llm.traffic import Asked, Traffic
from lerl.report import metrics
from lerl.run.artifacts import ArtifactStore
from lerl.run.folder import check_run
from lerl.run.kept import SESSIONS
from lerl.run.learned_axis import settled
from lerl.run.specs import parse_agents
from lerl.run.task import Task
from lerl.run.trust import read_config

AGAIN = "evaluate the run again with: lerl evaluate RUN"
Counts = tuple[NDArray[np.float64], NDArray[np.float64]]
REMEMBERED = 20  # slates that a question tells of
CODE, MOST = re.compile(r"^State (\w+)\.", re.MULTILINE), re.compile(r"^Allow at most (\d+) of these", re.MULTILINE)


@dataclass(frozen=True)
class Recorded:
    """A run's plans.

    Attributes:
        model: who planned. reasons: the rationales of all its different questions, and of those asked in the sessions
            that the run kept, judged by what was really shown and clicked too. unread: answers to questions of prompts
            other than lerl's own, which nothing can be said about.
        measures: the cells that can be measured, by name.
    """

    model: str
    reasons: tuple[Reason, ...]
    unread: int
    measures: dict[str, Measure]


def recorded(run: Path, trust: bool = False) -> Recorded:
    """What a run recorded.

    Raises:
        RunError: there is no such run, or no chat model planned in it.
        TrafficError: its record is damaged.
    """
    check_run(run)
    config = read_config(run, trust, query_model=False)
    labels = [spec.label for spec in parse_agents(config) if spec.planner == "llm"]
    path = run / "planners" / "traffic.sqlite"
    if not labels or not path.is_file():
        raise RunError(
            f"{run} holds no record of a chat model; audit a planner with lerl audit --model PROVIDER:NAME, or a rule "
            "with lerl audit --planner NAME"
        )
    with closing(Traffic(path, read_only=True)) as traffic:
        asked = list(traffic.usable_plans())
    answers = {one.key: answer for one in asked if (answer := _answer(one)) is not None}
    task = settled(Task.load(config), ArtifactStore(run))
    sessions = _sessions(run, labels)
    reasons, unread = _reasons(answers, sessions, task)
    found = _measures(run, config, task, labels, answers, sessions, reasons)
    return Recorded(
        str(config.planner.model), tuple(reasons), len({one.key for one in asked}) - len(answers) + unread, found
    )


def _answer(asked: Asked) -> Answer | None:
    """A recorded answer; None where it is to a question of other prompts than lerl's own."""
    code, most = CODE.search(asked.user), MOST.search(asked.user)
    lines = [int(line["id"]) for line in LINE.finditer(asked.user)]
    if code is None or most is None or not lines:
        return None
    offered = np.zeros(max(lines) + 1, bool)
    offered[lines] = True
    try:
        choice = read_answer(asked.text, code[1], offered, int(most[1]))
    except AnswerError:
        return None
    return Answer("plan", -1, 0, None, asked.key, asked.system, asked.user, asked.text, "", choice, None)


def _sessions(run: Path, labels: Sequence[str]) -> pl.DataFrame | None:
    """The kept sessions of the agents that the model planned for, a row a slot."""
    path = run / f"{SESSIONS}.parquet"
    if not path.is_file():
        return None
    return (
        read_table(path, AGAIN).filter(pl.col("agent").is_in(labels)).sort("agent", "user", "replicate", "step", "slot")
    )


def _reasons(answers: dict[str, Answer], sessions: pl.DataFrame | None, task: Task) -> tuple[list[Reason], int]:
    """Each different question once, with the first kept session in which it was asked, where there is one."""
    real = {} if sessions is None else _counts(sessions, task)
    found, unread = [], 0
    for key, answer in answers.items():
        if answer.choice is None or not answer.choice.rationale:
            continue
        try:
            known = read_back(answer)
        except ValueError:
            unread += 1
            continue
        said = answer.choice.rationale
        seen = None if key not in real else claims(said, against(known, *(part.tolist() for part in real[key])))
        found.append(Reason(answer, claims(said, known), seen))
    return found, unread


def _counts(sessions: pl.DataFrame, task: Task) -> dict[str, Counts]:
    """By question, how many items of each category (C,) the last `REMEMBERED` slates before it had shown in its first
    kept session, and clicks on them."""
    member = task.axis.membership.astype(np.float64)
    found: dict[str, Counts] = {}
    for _, session in sessions.group_by("agent", "user", "replicate", maintain_order=True):
        before: list[NDArray[np.float64]] = []
        for _, slate in session.group_by("step", maintain_order=True):
            shown, clicked = np.sum(before[-REMEMBERED:], axis=0) if before else np.zeros((2, member.shape[1]))
            found.setdefault(str(slate["query"][0]), (shown, clicked))
            there = slate.drop_nulls("item")
            own = member[there["item"].to_numpy()]
            before.append(np.stack([own.sum(axis=0), there["click"].to_numpy() @ own]))
    return found


def _measures(
    run: Path,
    config: Config,
    task: Task,
    labels: Sequence[str],
    answers: dict[str, Answer],
    sessions: pl.DataFrame | None,
    reasons: Sequence[Reason],
) -> dict[str, Measure]:
    found = faithful(reasons)
    if sessions is not None and len(sessions):
        found |= _intent(sessions, task, answers)
    shown = run / "items.parquet"
    if shown.is_file():
        items = read_table(shown, AGAIN).filter(pl.col("agent").is_in(labels[:1]))
        found |= _exposure(items, task, config.seed)
    return found


def _intent(sessions: pl.DataFrame, task: Task, answers: dict[str, Answer]) -> dict[str, Measure]:
    """How plans of kept sessions agree with the true taste that the user began with."""
    plans = sessions.group_by("agent", "user", "replicate", "step", maintain_order=True).first()
    users = plans["user"].unique(maintain_order=True).to_numpy()
    taste = dict(zip(users.tolist(), stocked(task, users), strict=True))
    choices = ((answers.get(query), user) for query, user in plans.select("query", "user").iter_rows())
    aligned = [alignment(own.choice, taste[user]) for own, user in choices if own is not None and own.choice]
    there = np.array([one for one in aligned if np.isfinite(one)])
    if not len(there):
        return {}
    said = f"rank correlation of {len(there):,} plans with the true taste {there.mean():.2f} (at random 0.00)"
    return {"implicit intent": Measure(float(there.mean()), said)}


def _exposure(items: pl.DataFrame, task: Task, seed: int) -> dict[str, Measure]:
    """Gini and coverage of an agent's items, beside as many drawn at random."""
    size = len(task.population.catalog)
    counts = np.zeros(size)
    np.add.at(counts, items["item"].to_numpy(), items["count"].to_numpy())
    many = int(counts.sum())
    if not many:
        return {}
    drawn = np.random.default_rng(seed).multinomial(many, np.full(size, 1 / size))
    shown, random = ((metrics.gini(part), metrics.catalog_coverage(part)) for part in (counts, drawn))
    return of_items(*shown, *random, many)
