"""All threads against one, by the clock: users, retrieval, slates by belief, judging."""

import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import gymnasium
import numpy as np
from numba import njit

from lerl.agents.baselines import BASELINES
from lerl.agents.belief.agent import BeliefAgent
from lerl.bench.belief import AgentCase, belief_greedy, user_model
from lerl.bench.timing import Spread, Timing
from lerl.config.schema import Config, DataConfig, EvaluationConfig, SyntheticConfig
from lerl.envs.config import SimulatorConfig
from lerl.envs.threads import each, limit
from lerl.planners.rules import build_planner
from lerl.run.agent_factory import planned_belief_agent
from lerl.run.rollout import Evaluator
from lerl.run.task import Task

Work = Callable[[], float]
"""Does some work, and says how much."""

GOAL, SAME = 1.8, 0.95  # times the speed of one thread, on two cores, of many users and of few


def rows(count: int, repeats: int, report: Callable[[str], None], stepping: Any, retrieval: Any) -> Iterator[Timing]:
    """The rows of so many threads.

    Args:
        count: threads. repeats: of both sides. report: called with a line before each row.
        stepping: see `lerl.bench.cases.stepping`. retrieval: see `lerl.bench.cases.RetrievalCase`.
    """
    goal = GOAL if count == 2 else None
    for users, slate, steps in ((256, 1, 800), (256, 6, 100), (10_000, 1, 20), (10_000, 6, 8), (100_000, 1, 3)):
        name = f"{users:,} users, vector view, slates of {slate}"
        report(f"threads, {name}")
        env: Any = gymnasium.make_vec("lerl/Synthetic-v0", num_envs=users, slate_size=slate)
        target = goal if users > 256 else SAME
        yield _row(f"threads_users_{users}_{slate}", name, "user-steps/s", stepping(env, steps), count, repeats, target)
    report("threads, retrieval")
    case = retrieval(2000, 10_000)
    work = case.often(case.ours)
    yield _row("threads_retrieval", "top 6, 10,000 users, 2,000 items", "users/s", work, count, repeats, goal)
    report("threads, belief+greedy")
    work = AgentCase(2000, 1000, belief_greedy).act
    yield _row("threads_belief", "belief+greedy, 1,000 sessions, 2,000 items", "slates/s", work, count, repeats, goal)
    for agent, slots in (("random", 10_000), ("boredom+belief", 1000), ("privileged", 500)):
        report(f"threads, judging {agent}")
        name = f"judging {agent}, {slots:,} sessions side by side, 1,000 items"
        yield _row(f"threads_{agent}", name, "slates/s", judging(agent, slots), count, repeats, goal)


def _row(name: str, what: str, unit: str, work: Work, count: int, repeats: int, target: float | None) -> Timing:
    """All threads and one by turns, and beside them what the cores gave to a loop of nothing but sums."""
    speeds: dict[int, list[float]] = {1: [], count: []}
    cores, spent = [], time.process_time()
    for number in range(repeats + 1):
        loops = {}
        for threads in (count, 1):
            with limit(threads):
                done, seconds = _clocked(work)
                loops[threads] = _clocked(_sums)[1]
            if number:
                speeds[threads].append(done / seconds)
        cores.append(loops[1] / loops[count])
    ratios = [mine / theirs for mine, theirs in zip(speeds[count], speeds[1], strict=True)]
    best = max(speeds[count]) / max(speeds[1])
    return Timing(
        name, f"{what}, {count} threads, by the clock", "one thread", unit, Spread.of(speeds[count]),
        Spread.of(speeds[1]), Spread.of(ratios), target, cpu_seconds=time.process_time() - spent,
        note=f"the best of each {best:.2f}; the cores gave {count} threads {statistics.median(cores[1:]):.2f} times "
        f"what they gave one, {max(cores[1:]):.2f} at best",
    )  # fmt: skip


def _clocked(work: Work) -> tuple[float, float]:
    begun = time.perf_counter()
    done = work()
    return done, max(time.perf_counter() - begun, 1e-9)


def _sums() -> float:
    return float(sum(each(lambda block: _add(50_000 * (block.stop - block.start)), 64, 1)))


@njit(cache=True, nogil=True)
def _add(times):  # type: ignore[no-untyped-def]
    total = 0.5
    for _ in range(times):
        total += 0.1 * total * (1.0 - total)
    return total


def judging(agent: str, slots: int) -> Work:
    """Plays a session of an agent in each of so many slots; how many slates that were."""
    config = Config(
        agents=["random"],
        data=DataConfig(synthetic=SyntheticConfig(users=1000, items=1000, categories=20, dim=16)),
        env=SimulatorConfig(slate_size=6, max_steps=12 if agent == "privileged" else 60),
        evaluation=EvaluationConfig(batch_size=slots),
    )
    task = Task.load(config)
    evaluator = Evaluator(task.population, config.env, task.axis, "train", slots)
    users, spec = np.resize(evaluator.users, slots), task.task_spec(agent)

    def made() -> Any:
        if agent in BASELINES:
            return BASELINES[agent](spec, slots)
        planner = build_planner("boredom", 3, task.seed("planner"))
        return planned_belief_agent(task, agent, planner, BeliefAgent(spec, slots, user_model(task)))

    return lambda: float(evaluator.play(made(), users, 1, seed=0).lengths.sum())
