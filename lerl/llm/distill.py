"""A small network in the place of a run's chat model, trained on the plans that the run recorded."""

from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

import numpy as np

from lerl.envs.draws import seed_from
from lerl.files import RunError
from lerl.planners.llm.distilled import Distillation, recorded, save, train_network
from lerl.planners.llm.traffic import Traffic, causes_text, fallbacks
from lerl.report.intervals import percentiles
from lerl.run.folder import check_run
from lerl.run.locks import locked
from lerl.run.specs import parse_agents
from lerl.run.trust import read_config

DRAWS = 2000


@dataclass(frozen=True)
class Distilled:
    """What came of it.

    Attributes:
        path: the network. lesson: how it was trained. low, high: of the 95 % interval of its agreement.
    """

    path: Path
    lesson: Distillation
    low: float
    high: float


def distill(run: Path, trust: bool = False) -> Distilled:
    """Train the network and write planners/distilled.npz into the run's folder, whole or not at all.

    Args:
        run: its folder. trust: whether what it wants is allowed, see `lerl.run.trust.read_config`.

    Raises:
        RunError: there is no such run, it recorded no plans, another process is at work there, or its own planner is a
            network.
        DistilledError: there are too few plans, or the record is of different catalogs.
    """
    check_run(run)
    config = read_config(run, trust, query_model=False)
    if any(spec.planner == "distilled" for spec in parse_agents(config)):
        raise RunError(
            f"{run} keeps the network that planned for its own agents under planners/distilled.npz; distill the run "
            f"that it came from, {config.planner.distilled}"
        )
    path = run / "planners" / "traffic.sqlite"
    if not path.is_file():
        raise _nothing_recorded(run)
    with locked(run):
        with closing(Traffic(path, read_only=True)) as traffic:
            if next(traffic.plans(), None) is None:
                raise _nothing_recorded(run, traffic)
            pairs = recorded(traffic)
        weights, lesson = train_network(*pairs, seed_from(config.seed, "distil"))
        save(weights, run / "planners" / "distilled.npz")
    return Distilled(run / "planners" / "distilled.npz", lesson, *_interval(lesson))


def _nothing_recorded(run: Path, traffic: Traffic | None = None) -> RunError:
    counts: Counter[str] = Counter()
    for phase, counted in traffic.counts().items() if traffic is not None else ():
        counts.update({} if phase.startswith("evaluate") else counted)
    causes = fallbacks(counts)
    if causes:
        return RunError(
            f"{run} recorded no plans of a chat model outside of its evaluation: all were planner.fallback's "
            f"({causes_text(causes)}); see lerl plan --run {quote(str(run))} for the reason, fix it, and train "
            "again in another folder"
        )
    return RunError(
        f"{run} recorded no plans of a chat model; train it with an agent such as llm+greedy: lerl train RECIPE "
        "--planner.name llm --planner.model PROVIDER:NAME"
    )


def _interval(lesson: Distillation) -> tuple[float, float]:
    """From the 2.5th to the 97.5th percentile of a bootstrap over held-out plans."""
    draws = np.random.default_rng(0).integers(lesson.held_out, size=(DRAWS, lesson.held_out))
    shares = lesson.agreed[draws].sum(axis=1) / lesson.allowed[draws].sum(axis=1)
    low, high = percentiles(shares)
    return float(low), float(high)


def rows(found: Distilled) -> list[tuple[str, str]]:
    """What to print."""
    lesson = found.lesson
    return [
        ("recorded plans", f"{lesson.pairs:,}, {lesson.held_out:,} of them held out"),
        ("agreement", f"{lesson.agreement:.3f} [{found.low:.3f}, {found.high:.3f}] of what held-out plans allow"),
        ("by chance", f"{lesson.chance:.3f} by allowing what is allowed most often, whoever the user is"),
        ("written to", str(found.path)),
    ]


def next_command(run: Path) -> str:
    """How to use the network."""
    return f"lerl train RECIPE --planner.name distilled --planner.distilled {quote(str(run))}"
