"""Fitting one row: what its planner learns from sessions, what its policy learns, and both kept in a folder."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from lerl.agents.base import Agent
from lerl.agents.baselines import BASELINES
from lerl.agents.encoders import CategoryEncoder, build_encoder
from lerl.agents.hierarchical import HierarchicalAgent, Hierarchy
from lerl.agents.learners import Scorer, load_policy, new_agent, new_model, new_scorer, new_view, save_policy
from lerl.agents.report import Report
from lerl.envs.plugins import load_plugin
from lerl.envs.session import SessionVectorEnv
from lerl.planners.base import Planner, Sessions
from lerl.planners.rules import build_planner
from lerl.rollout import Played, Stage, sessions_of
from lerl.rows import Row, Task

MMR_WEIGHTS = (0.1, 0.3, 1.0, 3.0, 10.0)
Point = dict[str, Any]


class Fitter:
    """Fits rows of one task and makes agents of them; what two rows share (a planner, a policy) is fitted once.

    Args:
        task: the task.
        folder: where fitted parts are kept, `planners/`, `policies/` and `rows/` under it.
        report: called with a phase, steps done, steps in all and the newest curve point or None.
    """

    def __init__(self, task: Task, folder: Path, report: Callable[[str, int, int, Point | None], None]) -> None:
        self.task, self.folder, self.report = task, folder, report
        self.curves: list[Point] = []
        self._stage: Stage | None = None

    @property
    def stage(self) -> Stage:
        """Training users, for whatever is tuned or drawn as a curve; evaluation users are never touched here."""
        if self._stage is None:
            config, population = self.task.config, self.task.population
            self._stage = Stage(population, config.env, self.task.axis, "train", config.evaluation.batch_size)
        return self._stage

    def fit(self, row: Row) -> None:
        """Fit what the row needs and is not there yet."""
        spent = self._fit_planner(row.planner) if row.planner else 0
        if row.learner and not self._policy_path(row).exists():
            self._fit_policy(row, spent)
        if row.diverse:
            self._tune_diversity(row)

    def _name(self, planner: str | None) -> str:
        return "flat" if planner is None else planner.rpartition(":")[2]

    def _policy_name(self, row: Row) -> str:
        return f"{self._name(row.planner)}+{row.learner}"

    def _policy_path(self, row: Row) -> Path:
        return self.folder / "policies" / f"{self._policy_name(row)}.pt"

    def _planner_path(self, planner: str) -> Path:
        return self.folder / "planners" / f"{self._name(planner)}.npz"

    def _build_planner(self, planner: str | None) -> Planner | None:
        if planner is None:
            return None
        built = build_planner(planner, self.task.config.planner.size, self.task.seed("planner"))
        path = self._planner_path(planner)
        if path.exists() and hasattr(built, "restore"):
            with np.load(path, allow_pickle=False) as kept:
                built.restore({key: kept[key] for key in kept.files if key != "steps"})
        return built

    def _fit_planner(self, name: str) -> int:
        """Give whole sessions to a planner that wants them; the user-steps that took."""
        path, config = self._planner_path(name), self.task.config
        planner: Any = self._build_planner(name)
        if path.exists():
            with np.load(path, allow_pickle=False) as kept:
                return int(kept["steps"])
        if not hasattr(planner, "session_ended") or not config.planner.sessions:
            return 0
        rounds: list[Sessions] = []
        steps = 0
        for number in range(2):
            played = self._explore(planner, number, config.planner.sessions // 2)
            rounds.append(sessions_of(played, self.task.population, self.task.axis))
            steps += int(played.lengths.sum())
            planner.session_ended(_joined(rounds))
            self.report(f"{self._name(name)} planner", number + 1, 2, None)
        path.parent.mkdir(parents=True, exist_ok=True)
        state = planner.state() if hasattr(planner, "state") else {}
        partial = path.with_suffix(".partial.npz")
        np.savez(partial, steps=steps, **state)
        partial.replace(path)
        return steps

    def _explore(self, planner: Planner | None, number: int, count: int) -> Played:
        seed = self.task.seed("planner sessions", number)
        users = np.random.default_rng(seed).choice(self.stage.users, count)
        return self.stage.play(self._agent(planner, None, 0.0, "explore"), users, 1, seed)

    def _agent(self, planner: Planner | None, scorer: Scorer | None, diversity: float, label: str) -> HierarchicalAgent:
        config = self.task.config
        hierarchy = Hierarchy(
            self.task.setting(label),
            config.evaluation.batch_size,
            planner,
            config.planner.replan_every,
            diversity,
            attentive=scorer is not None,
        )
        return new_agent(hierarchy, scorer)

    def _fit_policy(self, row: Row, spent: int) -> None:
        config = self.task.config
        train, name, learner = config.train, self._policy_name(row), str(row.learner)
        planner = self._build_planner(row.planner)
        env = SessionVectorEnv(
            self.task.population,
            train.users,
            split="train",
            config=config.env,
            axis=self.task.axis,
            autoreset_mode=AutoresetMode.DISABLED,
        )
        setting = self.task.setting(name)
        hierarchy = Hierarchy(setting, train.users, planner, config.planner.replan_every, attentive=True)
        encoder = build_encoder(train.encoder, setting, planner is not None, train.history)
        view = new_view(learner, env, hierarchy, encoder, train)
        view.seed(self.task.seed("train", name))
        model = new_model(learner, view, train, self.task.seed("policy", name), self.folder / "logs" / name)
        path = self._policy_path(row)
        path.parent.mkdir(parents=True, exist_ok=True)
        steps = max(train.steps - spent, 0)
        due = [spent + round(steps * part / train.evaluations) for part in range(train.evaluations + 1)]

        def after(model: Any, done: int) -> None:
            point = None
            if spent + done >= due[0]:
                while due and spent + done >= due[0]:
                    due.pop(0)
                due.append(1 << 62)
                point = self._curve_point(name, model, planner, encoder, spent + done)
                save_policy(model.policy, path)
            self.report(name, spent + done, train.steps, point)

        if steps:
            self._curve_point(name, model, planner, encoder, spent)
            due.pop(0)
            model.learn(steps, callback=Report(after, (train.log_std, train.last_log_std)))
        save_policy(model.policy, path)
        self._curve_point(name, model, planner, encoder, spent + model.num_timesteps)
        model.logger.close()

    def _curve_point(
        self, name: str, model: Any, planner: Planner | None, encoder: CategoryEncoder, steps: int
    ) -> Point:
        scorer = new_scorer(model.policy, encoder, self.task.config.train.start, deterministic=False)
        played = self._validate(self._agent(planner, scorer, 0.0, name))
        totals = np.nansum(played.rewards, axis=1)
        point: Point = {
            "agent": name,
            "steps": steps,
            "T_int": float(played.lengths.mean()),
            "R_cum": float(totals.mean()),
            "R_sin": float((totals / played.lengths).mean()),
            "sessions": len(totals),
        }
        self.curves = [other for other in self.curves if (other["agent"], other["steps"]) != (name, steps)] + [point]
        for metric in ("T_int", "R_cum", "R_sin"):
            model.logger.record(f"validation/{metric}", point[metric])
        return point

    def _validate(self, agent: Agent) -> Played:
        """Sessions of training users, the same ones whenever and whatever is validated."""
        seed = self.task.seed("validation")
        users: NDArray[np.int64] = np.random.default_rng(seed).choice(
            self.stage.users, self.task.config.train.validation
        )
        return self.stage.play(agent, users, 1, seed)

    def _tune_diversity(self, row: Row) -> None:
        """Choose the weight of maximal marginal relevance by cumulative reward on training users."""
        path = self.folder / "rows" / f"{row.label}.json"
        if path.exists():
            return
        tried = {}
        for number, weight in enumerate(MMR_WEIGHTS):
            agent = self._agent(None, self._scorer(row, False), weight, row.label)
            tried[weight] = float(np.nansum(self._validate(agent).rewards, axis=1).mean())
            self.report(f"{row.label} weight {weight}", number + 1, len(MMR_WEIGHTS), None)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"weight": max(tried, key=lambda weight: tried[weight]), "tried": tried}))

    def _scorer(self, row: Row, deterministic: bool) -> Scorer | None:
        if row.learner is None:
            return None
        setting, train = self.task.setting(row.label), self.task.config.train
        encoder = build_encoder(train.encoder, setting, row.planner is not None, train.history)
        policy = load_policy(self._policy_path(row), row.learner, encoder, train)
        return new_scorer(policy, encoder, train.start, deterministic)

    def agent(self, row: Row, deterministic: bool = False) -> Agent:
        """The fitted row as an agent."""
        if row.baseline is not None:
            known = BASELINES.get(row.baseline)
            made = known or load_plugin(row.baseline, "agents", BASELINES, ("begin", "act"))
            built: Agent = made(self.task.setting(row.label), self.task.config.evaluation.batch_size)
            return built
        weight = 0.0
        if row.diverse:
            weight = float(json.loads((self.folder / "rows" / f"{row.label}.json").read_text())["weight"])
        return self._agent(self._build_planner(row.planner), self._scorer(row, deterministic), weight, row.label)


def _joined(rounds: list[Sessions]) -> Sessions:
    """Several lots of sessions as one."""
    first = rounds[0]
    parts = (np.concatenate([getattr(one, name) for one in rounds]) for name in ("items", "feedback", "estimates"))
    return Sessions(first.names, first.membership, *parts)
