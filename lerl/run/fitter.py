"""Fitting one row: what its planner learns from sessions, what its policy learns, and both kept in a folder."""

import copy
import io
import json
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from lerl.agents.base import Agent
from lerl.agents.baselines import BASELINES
from lerl.agents.hierarchical import HierarchicalAgent
from lerl.agents.learners.callback import Report
from lerl.agents.learners.checkpoint import freeze, thaw
from lerl.agents.learners.encoders import CategoryEncoder, build_encoder
from lerl.agents.learners.registry import (
    Scorer,
    load_policy,
    new_agent,
    new_model,
    new_scorer,
    new_view,
    save_policy,
)
from lerl.agents.learners.vec_env import SessionsView
from lerl.agents.sasrec import SASRecAgent, clicked, fit_sasrec, load_sasrec
from lerl.envs.files import write_whole
from lerl.envs.plugins import blamed, load_plugin
from lerl.envs.session import SessionVectorEnv
from lerl.files import reading, resume_command
from lerl.planners.base import Planner, Sessions, check_state, with_defaults
from lerl.planners.llm.distilled import DistilledPlanner
from lerl.planners.llm.guard import Guard
from lerl.planners.llm.planner import MODELS, LLMPlanner, build_model
from lerl.planners.llm.prompt import Prompts
from lerl.planners.rules import build_planner
from lerl.report.lessons import SHARE, lessons
from lerl.run.folder import Checkpoint, patient
from lerl.run.rollout import Episodes, Evaluator, sessions_of
from lerl.run.specs import SASREC, AgentSpec
from lerl.run.task import Task

MMR_WEIGHTS = (0.1, 0.3, 1.0, 3.0, 10.0)
CURVE = {"agent": str, "steps": int, "T_int": float, "R_cum": float, "R_sin": float, "sessions": int}
"""What a point of a learning curve holds."""
Point = dict[str, Any]


class DivergedError(ValueError):
    """Learning that blew up; the message says what to try."""


class Fitter:
    """Fits rows of one task and makes agents of them; what two rows share (a planner, a policy) is fitted once.

    Args:
        task: the task.
        folder: where fitted parts are kept, `planners/`, `policies/` and `rows/` under it.
        report: called with a phase, steps done, steps in all and the newest curve point, words, or None.
        how: to go on once a damaged part was removed; without it, by resuming the run in the folder.
    """

    def __init__(
        self, task: Task, folder: Path, report: Callable[[str, int, int, Point | str | None], None], how: str = ""
    ) -> None:
        self.task, self.folder, self.report = task, folder, report
        self.how = how or f"go on with: {resume_command(folder)}"
        self._taught: dict[str, tuple[Planner, int]] = {}
        self._announced: set[str] = set()
        self._evaluator: Evaluator | None = None
        self._guard: Guard | None = None

    @property
    def guard(self) -> Guard:
        """Asks the chat model, for all rows whose planner is one."""
        if self._guard is None:
            planner = self.task.config.planner
            self._guard = Guard(planner, Prompts(planner.prompts).digest, self.folder / "planners" / "traffic.sqlite")
        return self._guard

    def enter(self, phase: str, planner: Any) -> None:
        """Tell a chat model's guard what the run is at; its failures and counts are those of one phase."""
        if self._guard is not None:
            self._guard.phase = phase if isinstance(planner, LLMPlanner | DistilledPlanner) else ""

    def lived(self, user_steps: int) -> None:
        """Count user-steps that a chat model, or what was learned from one, planned for."""
        if self._guard is not None and self._guard.phase:
            self._guard.count("user_steps", user_steps)

    def evaluate_anew(self) -> None:
        """Ask a chat model again what it could not answer in an earlier evaluation."""
        if self._guard is not None:
            self._guard.traffic.forget("evaluate ")

    def recount(self) -> None:
        """Count what a chat model plans in this phase from nothing: it is lived again."""
        if self._guard is not None and self._guard.phase:
            self._guard.traffic.recount(self._guard.phase)

    def close(self) -> None:
        """Write what the chat model cost, and let go of its endpoint and files."""
        if self._guard is not None:
            guard, self._guard = self._guard, None
            with closing(guard):
                report = json.dumps(guard.report(), indent=1)
            write_whole(self.folder / "planners" / "traffic.json", report)

    @property
    def evaluator(self) -> Evaluator:
        """Training users, for whatever is tuned or drawn as a curve; evaluation users are never touched here."""
        if self._evaluator is None:
            config, population = self.task.config, self.task.population
            self._evaluator = Evaluator(population, config.env, self.task.axis, "train", config.evaluation.batch_size)
        return self._evaluator

    def fit(self, row: AgentSpec) -> None:
        """Fit what the row needs and is not there yet."""
        planner, spent = self._planner(row.planner)
        if row.learner and not (self._policy_path(row).is_file() and self._curve_path(row).is_file()):
            self._fit_policy(row, planner, spent)
        if row.baseline == SASREC and not self._sasrec_path.is_file():
            self._fit_sasrec()
        if row.diverse:
            self._tune_diversity(row)

    def lacks(self, row: AgentSpec) -> bool:
        """Whether some file that the row needs is not there: it was not fitted yet, or the file was removed since."""
        needed = [self._policy_path(row), self._curve_path(row)] if row.learner else []
        needed += [self._sasrec_path] if row.baseline == SASREC else []
        needed += [self._weight_path(row)] if row.diverse else []
        if row.planner is not None and self._keeps(self._new_planner(row.planner)):
            needed.append(self._planner_path(row.planner))
        return not all(path.is_file() for path in needed)

    def _name(self, planner: str | None) -> str:
        return "flat" if planner is None else planner.rpartition(":")[2]

    def curves(self, rows: Sequence[AgentSpec]) -> list[Point]:
        """The learning curves of all fitted rows, each policy's once."""
        paths = dict.fromkeys(self._curve_path(row) for row in rows if row.learner)
        points = [point for path in paths for point in self._curve(path)]
        return list({(point["agent"], point["steps"]): point for point in points}.values())

    def _curve(self, path: Path) -> list[Point]:
        with reading(path, self.how):
            points = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(points, list):
                raise TypeError("no list of points")
            return [{name: kind(point[name]) for name, kind in CURVE.items()} for point in points]

    def _curve_path(self, row: AgentSpec) -> Path:
        return self._policy_path(row).with_suffix(".curve.json")

    def _policy_name(self, row: AgentSpec) -> str:
        return f"{self._name(row.planner)}+{row.learner}"

    def _policy_path(self, row: AgentSpec) -> Path:
        return self.folder / "policies" / f"{self._policy_name(row)}.pt"

    def _planner_path(self, planner: str) -> Path:
        return self.folder / "planners" / f"{self._name(planner)}.npz"

    def _weight_path(self, row: AgentSpec) -> Path:
        return self.folder / "rows" / f"{row.label}.json"

    @property
    def _sasrec_path(self) -> Path:
        return self.folder / "policies" / f"{SASREC}.pt"

    def _new_planner(self, name: str) -> Any:
        settings, seed = self.task.config.planner, self.task.seed("planner")
        if name in MODELS:
            return build_model(name, settings, seed, lambda: self.guard)
        return build_planner(name, settings.size, seed)

    @property
    def _lessons(self) -> int:
        """How many sessions a planner is given to learn from; their steps are training steps."""
        config = self.task.config
        return lessons(config.planner.sessions, config.train.steps, config.env.max_steps)

    def _learns(self, planner: Any) -> bool:
        """Whether a planner has lessons."""
        return planner.learns and self._lessons > 0

    def _keeps(self, planner: Any) -> bool:
        """Whether what a planner learned is kept in a file."""
        made_of_files = isinstance(planner, LLMPlanner | DistilledPlanner)
        return planner.keeps and (made_of_files or self._learns(planner))

    def _planner(self, name: str | None) -> tuple[Planner | None, int]:
        """A planner with what it learned from training sessions, and the user-steps that took.

        One that has `state` and `restore` keeps what it learned in the run's folder; another one is taught again by
        every process, from the same sessions.
        """
        if name is None:
            return None, 0
        built = self._new_planner(name)
        if built.learns and name not in self._announced:
            self._announced.add(name)
            self._tell_lessons(self._name(name))
        if not self._keeps(built):
            if not self._learns(built):
                return built, 0
            if name not in self._taught:
                self._taught[name] = built, self._teach(built, name)
            return copy.deepcopy(self._taught[name])
        path = self._planner_path(name)
        if not path.exists():
            steps = self._teach(built, name) if self._learns(built) else 0
            if isinstance(built, LLMPlanner):
                write_whole(path.with_name("pool.json"), built.pool.dump())
            stream = io.BytesIO()
            np.savez(stream, steps=steps, **check_state(built.state(), built))  # type: ignore[arg-type]
            write_whole(path, stream.getvalue())
        with reading(path, self.how), np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as kept:
            state = {key: kept[key] for key in kept.files if key != "steps"}
            if ":" not in name and not all(np.isfinite(array).all() for array in state.values()):
                raise ValueError("it holds what is no finite number")
            built.restore(state)
            return built, int(kept["steps"])

    def _tell_lessons(self, name: str) -> None:
        """Say where a planner's lessons are fewer than was asked for."""
        wanted, given, steps = self.task.config.planner.sessions, self._lessons, self.task.config.train.steps
        if wanted and not given:
            warnings.warn(
                f"the planner {name} has no lessons and stays as it begins, since train.steps is {steps:,}; give more "
                "train.steps",
                stacklevel=2,
            )
        elif given < wanted:
            share = f"{SHARE[0]}/{SHARE[1]} of train.steps {steps:,}"
            said = f"{given:,} sessions, as planner.sessions {wanted:,} could take more than {share}"
            self.report(f"{name} planner", 0, given, said)

    def _teach(self, planner: Any, name: str) -> int:
        """Give whole sessions to a planner in lots: it explores each time with what it learned from those before."""
        heard: list[Sessions] = []
        steps = 0
        self.enter(f"learn {self._name(name)}", planner)
        rounds = planner.rounds
        for number in range(rounds):
            played = self._explore(planner, number, max(self._lessons // rounds, 1))
            heard.append(sessions_of(played, self.task.population, self.task.axis))
            steps += int(played.lengths.sum())
            self.lived(int(played.lengths.sum()))
            planner.session_ended(_joined(heard))
            self.report(f"{self._name(name)} planner", number + 1, rounds, None)
        return steps

    def _explore(self, planner: Planner | None, number: int, count: int) -> Episodes:
        seed = self.task.seed("planner sessions", number)
        users = np.random.default_rng(seed).choice(self.evaluator.users, count)
        return self.evaluator.play(self._agent(planner, None, 0.0, "explore"), users, 1, seed)

    def _agent(self, planner: Planner | None, scorer: Scorer | None, diversity: float, label: str) -> HierarchicalAgent:
        count = self.task.config.evaluation.batch_size
        return new_agent(self.task.hierarchy(label, count, planner, diversity, attentive=scorer is not None), scorer)

    def _fit_policy(self, row: AgentSpec, planner: Planner | None, spent: int) -> None:
        train, name = self.task.config.train, self._policy_name(row)
        model, view, encoder = self.learner(row, planner)
        checkpoint = Checkpoint(self.folder / "checkpoints" / f"{name}.pt", train.checkpoint)
        steps = max(train.steps - spent, 0)
        if not steps and train.steps:
            warnings.warn(
                f"{name}: its planner's lessons took {spent:,} of {train.steps:,} steps, so its policy stays as it "
                "starts; give more train.steps, or fewer planner.sessions",
                stacklevel=2,
            )
        marks = [round(steps * part / train.evaluations) for part in range(1, train.evaluations)]
        curve: list[Point] = []
        counted = 0

        def point(learner: Any) -> Point:
            curve.append(self._curve_point(name, learner, planner, encoder, spent + learner.num_timesteps))
            return curve[-1]

        def before(learner: Any) -> None:
            if checkpoint.due() or interrupted():
                checkpoint.write({"curve": curve, **freeze(learner, view.snapshot())})
            if interrupted():
                raise KeyboardInterrupt

        def after(learner: Any) -> None:
            nonlocal counted
            done = learner.num_timesteps
            self.lived(done - counted)
            counted = done
            if self._guard is not None and self._guard.phase:
                record_traffic(learner.logger, self._guard.report())
            newest = point(learner) if any(curve[-1]["steps"] - spent < mark <= done for mark in marks) else None
            self.report(name, spent + done, train.steps, newest)

        self.enter(f"train {name}", planner)
        with reading(checkpoint.path, self.how):
            kept = checkpoint.read()
            if kept is not None:
                curve += kept["curve"]
                view.restore(thaw(model, kept))
        counted = model.num_timesteps
        with _finite(name, model.policy, train.learning_rate):
            if kept is None and steps:
                point(model)
            with patient() as interrupted:
                if model.num_timesteps < steps:
                    report = Report(before, after, (train.log_std, train.last_log_std))
                    model.learn(steps - model.num_timesteps, callback=report, reset_num_timesteps=kept is None)
            point(model)
        model.logger.close()
        write_whole(self._curve_path(row), json.dumps(curve))
        save_policy(model.policy, self._policy_path(row))
        checkpoint.remove()

    def learner(self, row: AgentSpec, planner: Planner | None) -> tuple[Any, SessionsView, CategoryEncoder]:
        """A learner at its start, with its users and what it sees of them."""
        config, train = self.task.config, self.task.config.train
        name, learner = self._policy_name(row), str(row.learner)
        env = SessionVectorEnv(
            self.task.population,
            train.users,
            split="train",
            config=config.env,
            axis=self.task.axis,
            autoreset_mode=AutoresetMode.DISABLED,
        )
        hierarchy = self.task.hierarchy(name, train.users, planner, attentive=True)
        encoder = build_encoder(train.encoder, hierarchy.task, planner is not None, train.history)
        view = new_view(learner, env, hierarchy, encoder, train)
        model = new_model(learner, view, train, self.task.seed("policy", name), self.folder / "logs" / name)
        view.seed(self.task.seed("train", name))  # after the learner was made: it seeds its environment with its own
        return model, view, encoder

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
        for metric in ("T_int", "R_cum", "R_sin"):
            model.logger.record(f"validation/{metric}", point[metric])
        return point

    def _validate(self, agent: Agent) -> Episodes:
        """Sessions of training users, the same ones whenever and whatever is validated."""
        seed = self.task.seed("validation")
        users: NDArray[np.int64] = np.random.default_rng(seed).choice(
            self.evaluator.users, self.task.config.train.validation
        )
        played = self.evaluator.play(agent, users, 1, seed)
        self.lived(int(played.lengths.sum()))
        return played

    def _tune_diversity(self, row: AgentSpec) -> None:
        """Choose the weight of maximal marginal relevance by cumulative reward on training users."""
        path = self._weight_path(row)
        if path.is_file():
            return
        self.enter(f"tune {row.label}", self._planner(row.planner)[0])
        tried = {}
        for number, weight in enumerate(MMR_WEIGHTS):
            agent = self._weighted(row, weight)
            tried[weight] = float(np.nansum(self._validate(agent).rewards, axis=1).mean())
            self.report(f"{row.label} weight {weight}", number + 1, len(MMR_WEIGHTS), None)
        write_whole(path, json.dumps({"weight": max(tried, key=lambda weight: tried[weight]), "tried": tried}))

    def _weighted(self, row: AgentSpec, weight: float) -> Agent:
        """A row, re-ranked with this weight."""
        if row.baseline == SASREC:
            return self._sasrec(row, weight)
        return self._agent(self._planner(row.planner)[0], self._scorer(row, False), weight, row.label)

    def _fit_sasrec(self) -> None:
        """What training users are known to have clicked makes the network; nothing is simulated for it."""
        task, train = self.task, self.task.config.train
        checkpoint = Checkpoint(self.folder / "checkpoints" / f"{SASREC}.pt", train.checkpoint)
        network = fit_sasrec(
            clicked(task.population.known(task.population.users("train"))),
            len(task.population.catalog),
            train.hidden,
            train.learning_rate,
            seed=task.seed(SASREC),
            checkpoint=checkpoint.path,
            report=lambda done, total, newest: self.report(SASREC, done, total, newest),
        )
        save_policy(network, self._sasrec_path)
        checkpoint.remove()

    def _sasrec(self, row: AgentSpec, weight: float) -> Agent:
        config, items = self.task.config, len(self.task.population.catalog)
        with reading(self._sasrec_path, self.how):
            network = load_sasrec(self._sasrec_path, items, config.train.hidden)
        return SASRecAgent(self.task.setting(row.label), config.evaluation.batch_size, network, weight)

    def _scorer(self, row: AgentSpec, deterministic: bool) -> Scorer | None:
        if row.learner is None:
            return None
        setting, train = self.task.setting(row.label), self.task.config.train
        encoder = build_encoder(train.encoder, setting, row.planner is not None, train.history)
        with reading(self._policy_path(row), self.how):
            policy = load_policy(self._policy_path(row), row.learner, encoder, train)
        return new_scorer(policy, encoder, train.start, deterministic)

    def agent(self, row: AgentSpec, deterministic: bool = False) -> Agent:
        """The fitted row as an agent; what it lives is counted under it from here on."""
        self.enter("", None)
        if row.baseline not in (None, SASREC):
            return build_agent(row, self.task)
        weight = 0.0
        if row.diverse:
            with reading(self._weight_path(row), self.how):
                weight = float(json.loads(self._weight_path(row).read_text(encoding="utf-8"))["weight"])
                if not 0 <= weight < np.inf:
                    raise ValueError("its weight is no number of at least 0")
        if row.baseline == SASREC:
            return self._sasrec(row, weight)
        planner, _ = self._planner(row.planner)
        self.enter(f"evaluate {row.label}{'@det' if deterministic else ''}", planner)
        return self._agent(planner, self._scorer(row, deterministic), weight, row.label)


def record_traffic(logger: Any, report: dict[str, Any]) -> None:
    """Show what a chat model costs beside the learning curves."""
    for name, value in report.items():
        if isinstance(value, int | float):
            logger.record(f"planner/{name}", value)
    logger.record("planner/fallbacks", sum(report["fallbacks"].values()))


@contextmanager
def _finite(name: str, policy: torch.nn.Module, learning_rate: float) -> Iterator[None]:
    """Refuse a policy whose weights are no numbers any more, at the end or where a library stumbled over them."""
    stumbled = None
    try:
        yield
    except ValueError as error:
        stumbled = error
    if not all(bool(weights.isfinite().all()) for weights in policy.parameters()):
        raise DivergedError(
            f"{name} diverged, its weights are no numbers any more; lower train.learning_rate, given {learning_rate:g}"
        ) from stumbled
    if stumbled is not None:
        raise stumbled


def build_agent(row: AgentSpec, task: Task) -> Agent:
    """An agent that needs no fitting: a baseline, or one of somebody's own.

    Raises:
        PluginError: it cannot be found, or cannot be made with a setting and a count.
    """
    name = str(row.baseline)
    setting, count = task.setting(row.label), task.config.evaluation.batch_size
    if name in BASELINES:
        return BASELINES[name](setting, count)
    made = load_plugin(name, "agents", BASELINES, ("begin", "act"), ("watch",))
    with blamed(f"agents names {name!r}, but {made.__name__}(setting, count)"):
        agent: Agent = with_defaults(made, Agent)(setting, count)
    return agent


def _joined(parts: list[Sessions]) -> Sessions:
    """Several rounds of sessions as one."""
    first = parts[0]
    arrays = (
        np.concatenate([getattr(one, name) for one in parts]) for name in ("items", "feedback", "estimates", "keys")
    )
    return Sessions(first.names, first.membership, *arrays)
