"""What a chat model's plans are worth above trained policies, with intervals over seeds; `make bench-plans` runs it.

Trained networks differ between processors, so nothing here is a bound that a change must meet.
"""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import t

from lerl.planners.llm.distilled import recorded, save, train_network
from lerl.run.fit_planner import explore
from lerl.run.specs import parse_agent
from tests.lerl.llm.worth import Worth, fitter
from tests.planners.llm.chat_server import ChatServer

SEEDS = 5


@pytest.fixture(scope="module")
def server() -> Iterator[ChatServer]:
    with ChatServer() as running:
        yield running


def told(what: str, values: list[float]) -> None:
    """Print a mean with the 95 % t-interval over seeds."""
    half = t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5
    mean = float(np.mean(values))
    print(f"\n{what}: {mean:.3f} [{mean - half:.3f}, {mean + half:.3f}] over {len(values)} seeds")


def test_plans_above_trained_policies(server: ChatServer, tmp_path: Path):
    found: dict[str, list[float]] = {"coarse": [], "full": [], "distilled": []}
    calls: dict[str, list[float]] = {"coarse": [], "distilled": []}
    for seed in range(SEEDS):
        folder = tmp_path / str(seed)
        with closing(fitter(folder / "coarse", server.url, seed=seed)) as coarse:
            spec = parse_agent("llm+ppo", "llm")
            coarse.fit(spec)
            worth = Worth(coarse, coarse.factory.scorer(spec))
            calls["coarse"].append(coarse.context.chat.guard.report()["calls_per_1000_user_steps"])
            coarse.context.chat.guard.phase = "worth"
            found["coarse"].append(worth.retained(worth.reward(coarse.planners.get("llm").planner)))
        with closing(fitter(folder / "full", server.url, seed=seed, detail="full")) as full:
            few = Worth(coarse, worth.scorer, replicates=2)
            found["full"].append(few.retained(few.reward(full.planners.get("llm").planner)))
        with closing(fitter(folder / "recorded", server.url, seed=seed, detail="full")) as teacher:
            played = explore(teacher.planners.get("llm").planner, 0, 25, teacher.context)
            weights, _ = train_network(*recorded(teacher.context.chat.guard.traffic), seed)
            spent, steps = teacher.context.chat.guard.report()["calls"], int(played.lengths.sum())
        save(weights, folder / "recorded" / "planners" / "distilled.npz")
        settings = {"distilled": str(folder / "recorded"), "refresh": 30, "sessions": 200, "detail": "full"}
        with closing(fitter(folder / "student", server.url, 60_000, seed, **settings)) as student:
            student.fit(parse_agent("distilled+ppo", "distilled"))
            report = student.context.chat.guard.report()
            calls["distilled"].append(1000 * (spent + report["calls"]) / (steps + report["user_steps"]))
            found["distilled"].append(worth.retained(worth.reward(student.planners.get("distilled").planner)))
    for name, values in found.items():
        told(f"{name}, share of the rule's advantage over random plans retained", values)
    for name, values in calls.items():
        told(f"{name}, calls per 1,000 user-steps of training", values)
