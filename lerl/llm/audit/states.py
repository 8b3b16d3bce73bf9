"""The sessions that a planner is asked about: simulated ones, of which the true taste is known, stopped on the way."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lerl.agents.hierarchical import HierarchicalAgent, Hierarchy
from lerl.envs.draws import seed_from
from lerl.envs.simulator import UserSimulator
from lerl.envs.state import State
from lerl.files import RunError
from lerl.planners.base import PlanContexts, Plans
from lerl.planners.rules import build_planner
from lerl.run.rollout import Evaluator, session_seeds
from lerl.run.task import Task

SLATES = 12  # shown before a session is stopped, at most; how many is drawn for each
AT_ONCE = 1000  # plans that are tried out together
MOST_CELLS = 50_000_000  # of users times items whose chances are looked at together


@dataclass(frozen=True)
class States:
    """S sessions of evaluation users, stopped after up to `SLATES` slates, as the planner sees them and as they are.

    Attributes:
        contexts: what a planner may know of them.
        taste: (S, C) float in (0, 1), hidden: the mean true chance of a click, boredom left out, on the k best items of
            each category that were not shown yet; nan where there are fewer than one.
        shown, clicked: (S, C) float, items of each category shown in the session so far, and clicks on them.
        task, hierarchy, simulator, state: what they were simulated with, to try out plans.
    """

    contexts: PlanContexts
    taste: NDArray[np.float64]
    shown: NDArray[np.float64]
    clicked: NDArray[np.float64]
    task: Task
    hierarchy: Hierarchy
    simulator: UserSimulator
    state: State

    def __len__(self) -> int:
        return len(self.contexts)

    def slates(self, rows: NDArray[np.int64], plans: Plans) -> NDArray[np.int32]:
        """The next slates (n, k) of sessions `rows` (n,) under n plans, items by known tastes; -1 for none."""
        memory, found = self.hierarchy.memory, []
        for begin in range(0, len(rows), AT_ONCE):
            part = slice(begin, begin + AT_ONCE)
            own = rows[part]
            top, _ = memory.index.top(
                memory.tastes[own],
                plans.allowed[part],
                plans.avoid[part],
                memory.excluded[own],
                self.task.config.env.slate_size,
                memory.ends[own],
            )
            found.append(top)
        return np.concatenate(found) if found else np.zeros((0, self.task.config.env.slate_size), np.int32)

    def rewards(self, rows: NDArray[np.int64], slates: NDArray[np.int32]) -> NDArray[np.float64]:
        """(n,) what share of these next slates (n, k) the users of sessions `rows` (n,) truly click, in expectation."""
        found = []
        for begin in range(0, len(rows), AT_ONCE):
            part = slice(begin, begin + AT_ONCE)
            chance = self.simulator.chances(self.state.take(rows[part]), slates[part])
            found.append(self.simulator.expected_reward(slates[part], chance).mean(axis=1))
        return np.concatenate(found) if found else np.zeros(0)


def stopped(task: Task, count: int) -> States:
    """Sessions of `count` evaluation users, drawn by the run's seed, with categories planned by the rule
    planner.fallback and items chosen by taste; the same for every planner that is asked about them.

    Raises:
        RunError: there are not so many evaluation users.
    """
    seed = task.seed("audit")
    users = task.population.users("evaluation")
    if not 2 <= count <= len(users):
        raise RunError(f"--states must be from 2 to the {len(users):,} evaluation users, given {count:,}")
    draw = np.random.default_rng(seed)
    users = np.sort(draw.choice(users, count, replace=False))
    most = min(SLATES, task.config.env.max_steps - 1)
    last = draw.integers(0, most + 1, count)
    evaluator = Evaluator(task.population, task.config.env, task.axis, "evaluation", count)
    how = task.config.planner
    rule = build_planner(how.fallback, how.size, task.seed("planner"), "planner.fallback")
    agent = HierarchicalAgent(task.hierarchy("audit", count, rule))
    agent.watch(evaluator.env)
    state = _play(evaluator, agent, users, session_seeds(seed, users, np.zeros(count, np.int64)), last)
    return _looked_at(task, agent.hierarchy, evaluator.env.simulator, state)


def stocked(task: Task, users: NDArray[np.int64]) -> NDArray[np.float64]:
    """(n, C) `States.taste` of users (n,) before anything is shown to them."""
    simulator = UserSimulator(task.population, task.config.env, "all", task.axis)
    seeds = np.array([seed_from(task.seed("audit"), user) for user in users.tolist()], np.uint64)
    state = simulator.start(seeds, np.zeros(len(users), np.int64), users)
    return _taste(simulator, state, task.axis.membership, task.config.env.slate_size)


def _play(
    evaluator: Evaluator, agent: HierarchicalAgent, users: NDArray[np.int64], seeds: list[int], last: NDArray[np.int64]
) -> State:
    """Simulate each session until `last` (S,) slates were shown, or one fewer than the user stays for.

    The hierarchy then remembers each session as it was before that slate, as does the state that is given back.
    """
    env = evaluator.env
    rows = np.arange(len(users))
    observation, _ = env.reset(seed=seeds, options={"users": users})
    keys = np.array([seed_from("session key", one) for one in seeds], np.uint64)
    agent.begin(rows, observation, keys)
    kept, memory = env.state.take(rows), agent.hierarchy.memory.snapshot()
    there = np.ones(len(users), bool)
    for step in range(int(last.max(initial=0))):
        observation, _, terminated, truncated, _ = env.step(agent.act(observation))
        agent.hierarchy.memory.see(observation)
        ended = terminated | truncated
        there &= ~ended
        _overwrite(vars(kept), vars(env.state), there & (last > step))
        _overwrite(memory, agent.hierarchy.memory.snapshot(), there & (last > step))
        if ended.any():  # whoever left begins again, for nobody looks at that
            observation, _ = env.reset(seed=list(seeds), options={"reset_mask": ended, "users": users})
            agent.begin(np.flatnonzero(ended), observation, keys[ended])
    agent.hierarchy.memory.restore(memory)
    return kept


def _overwrite(kept: dict[str, Any], fresh: dict[str, Any], rows: NDArray[np.bool_]) -> None:
    for name, value in fresh.items():
        if isinstance(value, dict):
            _overwrite(kept[name], value, rows)
        elif isinstance(value, np.ndarray):
            kept[name][rows] = value[rows]


def _looked_at(task: Task, hierarchy: Hierarchy, simulator: UserSimulator, state: State) -> States:
    everyone = np.arange(len(state))
    contexts = hierarchy.memory.contexts(everyone)
    member = task.axis.membership.astype(np.float64)  # (I, C)
    k = task.config.env.slate_size
    there = state.shown >= 0
    counts, clicks = np.zeros((2, len(state), member.shape[1]))
    for row in everyone.tolist():
        own = member[state.shown[row][there[row]]]
        counts[row], clicks[row] = own.sum(axis=0), state.feedback[row][there[row]] @ own
    taste = _taste(simulator, state, task.axis.membership, k)
    return States(contexts, taste, counts, clicks, task, hierarchy, simulator, state)


def _taste(simulator: UserSimulator, state: State, membership: NDArray[np.bool_], k: int) -> NDArray[np.float64]:
    """See `States`."""
    items, found = len(membership), np.full((len(state), membership.shape[1]), np.nan)
    block = max(MOST_CELLS // items, 1)
    for begin in range(0, len(state), block):
        rows = np.arange(begin, min(begin + block, len(state)))
        slates = np.broadcast_to(np.arange(items, dtype=np.int32), (len(rows), items)).copy()
        chance = simulator.scores(state.take(rows), slates)
        for place, row in enumerate(rows.tolist()):
            shown = state.shown[row]
            chance[place, shown[shown >= 0]] = np.nan
            for category in range(membership.shape[1]):
                own = chance[place, membership[:, category]]
                own = own[~np.isnan(own)]
                if len(own):
                    found[row, category] = np.sort(own)[-k:].mean()
    return found
