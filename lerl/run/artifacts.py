"""The files of a run's fitted agents: where they are, how they are written, and how they are read."""

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.policies import BasePolicy

from lerl.agents.belief.agent import Prices
from lerl.agents.belief.model import UserModel, check_model
from lerl.agents.belief.planned import NAME as ABOVE_BELIEF
from lerl.agents.composite.agent import ROWS as COMPOSITE
from lerl.agents.composite.agent import Outfits
from lerl.agents.config import TrainConfig
from lerl.agents.learners.encoders import CategoryEncoder
from lerl.agents.learners.registry import load_policy, save_policy
from lerl.agents.next_item.base import NextItem
from lerl.agents.next_item.registry import IN_SESSIONS, session_row
from lerl.config.schema import AUTO
from lerl.envs.files import write_whole
from lerl.envs.texts import catalog_texts
from lerl.files import reading, resume_command
from lerl.planners.base import Planner, check_state
from lerl.planners.llm.planner import LLMPlanner
from lerl.run.folder import Checkpoint
from lerl.run.specs import BELIEF, RETURN, AgentSpec
from lerl.run.task import Task

CURVE = {"agent": str, "steps": int, "T_int": float, "R_cum": float, "R_sin": float, "sessions": int}
"""What a point of a learning curve holds."""
Point = dict[str, Any]


def planner_name(planner: str | None) -> str:
    """A planner's name in files and tables: for a class of the user's own without its module, "flat" for none."""
    return "flat" if planner is None else planner.rpartition(":")[2]


def taught_name(planner: str, believes: bool) -> str:
    """The name of what a planner learned, which above a belief is something else."""
    return f"{planner_name(planner)}+{ABOVE_BELIEF}" if believes else planner_name(planner)


def policy_name(spec: AgentSpec) -> str:
    """A policy's name in files and tables; agents that differ only in re-ranking share one policy."""
    return f"{planner_name(spec.planner)}+{spec.learner}{RETURN if spec.returns else ''}"


class ArtifactStore:
    """The fitted parts in a run's folder, each file written whole or not at all.

    policies/POLICY.pt and POLICY.curve.json: weights, and the learning curve; policies/sasrec.pt and the like: those of
    a recommender of the next item; policies/tiger.codes.npz and the like: the codes that it names items by.
    belief/model.npz: what was learned of people and items, and the user-steps that took; belief/early.npz: the same
    before the last round of sessions, for those who need steps of their own after it; belief/predictions.md: how well
    it predicted sessions before it learned from them; belief/curve.json: its learning curve.
    composite/MODEL.npz and MODEL.json: a model of whole slates, and its learning curve.
    planners/PLANNER.npz: what a planner learned, and the user-steps that took; PLANNER+belief.npz: above a belief.
    rows/AGENT.json: the weight of maximal marginal relevance that was chosen for an agent, or its prices of boredom;
    rows/auto.json: what `auto` chose.
    checkpoints/NAME.pt: what training goes on from. logs/POLICY: TensorBoard's.

    Args:
        folder: the run's. how: to go on once a damaged part was removed; by resuming the run where empty.
    """

    def __init__(self, folder: Path, how: str = "") -> None:
        self.folder = folder
        self.how = how or f"go on with: {resume_command(folder)}"

    def policy_path(self, spec: AgentSpec) -> Path:
        """The file of an agent's policy."""
        return self.folder / "policies" / f"{policy_name(spec)}.pt"

    def curve_path(self, spec: AgentSpec) -> Path:
        """The file of its learning curve."""
        return self.policy_path(spec).with_suffix(".curve.json")

    def planner_path(self, planner: str, believes: bool = False) -> Path:
        """The file of what a planner learned, above a belief or not."""
        return self.folder / "planners" / f"{taught_name(planner, believes)}.npz"

    def diversity_path(self, spec: AgentSpec) -> Path:
        """The file of a re-ranked agent's weight."""
        return self.folder / "rows" / f"{spec.label}.json"  # as lerl 0.1.0 named it

    def next_item_path(self, name: str) -> Path:
        """The file of a network that ranks the next item, by the recommender's name."""
        return self.folder / "policies" / f"{name}.pt"

    def next_item_files(self, name: str) -> tuple[Path, ...]:
        """That file, and what has to lie beside it."""
        return IN_SESSIONS[name].files(self.next_item_path(name))

    def has_next_item(self, name: str) -> bool:
        """Whether all of that is there."""
        return all(path.is_file() for path in self.next_item_files(name))

    def composite_path(self, name: str) -> Path:
        """The file of a model of wholes, by its name."""
        return self.folder / "composite" / f"{name}.npz"

    def prices_path(self, spec: AgentSpec) -> Path:
        """The file of an agent's prices of boredom."""
        return self.folder / "rows" / f"{spec.label}.json"

    @property
    def belief_path(self) -> Path:
        """The file of what was learned of people and items."""
        return self.folder / "belief" / "model.npz"

    @property
    def belief_curve_path(self) -> Path:
        """The file of the learning curve of what was learned of people and items."""
        return self.folder / "belief" / "curve.json"

    @property
    def early_belief_path(self) -> Path:
        """The file of what had been learned of them before the last round of sessions."""
        return self.folder / "belief" / "early.npz"

    def has_belief(self, early: bool) -> bool:
        """Whether what was learned of people and items is there, with what had been learned early where that counts."""
        return self.belief_path.is_file() and (not early or self.early_belief_path.is_file())

    @property
    def choice_path(self) -> Path:
        """The file of what `auto` chose."""
        return self.folder / "rows" / f"{AUTO}.json"

    @property
    def traffic_path(self) -> Path:
        """The file of the queries to a chat model and its answers."""
        return self.folder / "planners" / "traffic.sqlite"

    def logs_path(self, spec: AgentSpec) -> Path:
        """The folder of a policy's TensorBoard logs."""
        return self.folder / "logs" / policy_name(spec)

    def has_policy(self, spec: AgentSpec) -> bool:
        """Whether an agent's policy is there, with its curve."""
        return self.policy_path(spec).is_file() and self.curve_path(spec).is_file()

    def lacks(self, spec: AgentSpec, planner_kept: bool) -> bool:
        """Whether some file that an agent needs is not there: it was not fitted yet, or the file was removed since.

        Args:
            spec: the agent. planner_kept: whether its planner keeps what it learned in a file.
        """
        needed = [self.policy_path(spec), self.curve_path(spec)] if spec.learner else []
        needed += self.next_item_files(spec.next_item) if spec.next_item else []
        needed += [self.composite_path(spec.composite)] if spec.composite else []
        needed += [self.diversity_path(spec)] if spec.diverse else []
        needed += [self.prices_path(spec)] if spec.priced else []
        needed += [self.planner_path(spec.planner, spec.believes)] if spec.planner is not None and planner_kept else []
        return not all(path.is_file() for path in needed)

    def save_policy(self, spec: AgentSpec, policy: torch.nn.Module, curve: Sequence[Point]) -> None:
        """Keep a policy that is trained to its end, and its learning curve."""
        write_whole(self.curve_path(spec), json.dumps(list(curve)))
        save_policy(policy, self.policy_path(spec))

    def load_policy(self, spec: AgentSpec, encoder: CategoryEncoder, train: TrainConfig) -> BasePolicy:
        """An agent's policy; encoder and settings are those that it was trained with.

        Raises:
            RunError: it is missing or damaged.
        """
        with reading(self.policy_path(spec), self.how):
            return load_policy(self.policy_path(spec), str(spec.learner), encoder, train)

    def curves(self, specs: Sequence[AgentSpec]) -> list[Point]:
        """The learning curves of fitted agents, each policy's once.

        Raises:
            RunError: one of them is missing or damaged.
        """
        paths = dict.fromkeys(self.curve_path(spec) for spec in specs if spec.learner)
        belief = self.belief_curve_path  # which runs of lerl 0.1.0 have not
        own = [belief] if belief.is_file() and any(spec.baseline == BELIEF for spec in specs) else []
        own += [self.composite_path(spec.label).with_suffix(".json") for spec in specs if spec.label in COMPOSITE]
        points = [point for path in (*paths, *own) for point in self._curve(path)]
        return list({(point["agent"], point["steps"]): point for point in points}.values())

    def _curve(self, path: Path) -> list[Point]:
        with reading(path, self.how):
            points = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(points, list):
                raise TypeError("no list of points")
            return [{name: kind(point[name]) for name, kind in CURVE.items()} for point in points]

    def save_planner(self, name: str, planner: Planner, steps: int, believes: bool = False) -> None:
        """Keep what a planner learned, above a belief or not, and the user-steps that took."""
        path = self.planner_path(name, believes)
        if isinstance(planner, LLMPlanner):
            write_whole(path.with_name(f"{taught_name('pool', believes)}.json"), planner.pool.dump())
        stream = io.BytesIO()
        np.savez(stream, steps=steps, **check_state(planner.state(), planner))  # type: ignore[arg-type]
        write_whole(path, stream.getvalue())

    def restore_planner(self, name: str, planner: Planner, believes: bool = False) -> int:
        """Give a new planner what was kept of it; the user-steps that learning took.

        Raises:
            RunError: it is missing or damaged.
        """
        path = self.planner_path(name, believes)
        with reading(path, self.how), np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as kept:
            state = {key: kept[key] for key in kept.files if key != "steps"}
            if ":" not in name and not all(np.isfinite(array).all() for array in state.values()):
                raise ValueError("it holds what is no finite number")
            planner.restore(state)
            return int(kept["steps"])

    def save_belief(self, model: UserModel, steps: int, *, early: bool = False, check: str = "") -> None:
        """Keep what was learned, in all or early, the user-steps that took, and how well it predicted."""
        if check:
            write_whole(self.belief_path.with_name("predictions.md"), check)
        stream = io.BytesIO()
        np.savez(stream, steps=steps, **model._asdict())
        write_whole(self.early_belief_path if early else self.belief_path, stream.getvalue())

    def save_belief_curve(self, curve: Sequence[Point]) -> None:
        """Keep the learning curve of what was learned of people and items."""
        write_whole(self.belief_curve_path, json.dumps(list(curve)))

    def load_belief(self, items: int, dim: int, early: bool = False) -> UserModel:
        """What was learned of people and items.

        Args:
            items: in the catalog. dim: numbers of a taste. early: what had been learned before the last round.

        Raises:
            RunError: it is missing or damaged.
        """
        path = self.early_belief_path if early else self.belief_path
        with reading(path, self.how), np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as kept:
            return check_model({name: kept[name] for name in UserModel._fields}, items, dim)

    def belief_steps(self) -> int:
        """User-steps that learning people and items took.

        Raises:
            RunError: what was learned is missing or damaged.
        """
        with reading(self.belief_path, self.how), np.load(self.belief_path, allow_pickle=False) as kept:
            return int(kept["steps"])

    def save_composite(self, name: str, outfits: Outfits, steps: int, curve: Sequence[Point]) -> None:
        """Keep a model of wholes, what taste says of people, the user-steps that took, and its learning curve."""
        stream = io.BytesIO()
        np.savez(stream, steps=steps, **outfits.as_arrays())
        write_whole(self.composite_path(name).with_suffix(".json"), json.dumps(list(curve)))
        write_whole(self.composite_path(name), stream.getvalue())

    def load_composite(self, name: str) -> Outfits:
        """A model of wholes, and what taste says of people.

        Raises:
            RunError: it is missing or damaged.
        """
        path = self.composite_path(name)
        with reading(path, self.how), np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as kept:
            return Outfits.of(kept)

    def composite_steps(self, name: str) -> int:
        """User-steps that a model of wholes was learned from.

        Raises:
            RunError: it is missing or damaged.
        """
        path = self.composite_path(name)
        with reading(path, self.how), np.load(path, allow_pickle=False) as kept:
            return int(kept["steps"])

    def save_diversity(self, spec: AgentSpec, weight: float, tried: dict[float, float]) -> None:
        """Keep the weight of a re-ranked agent, and the mean R_cum of all that were tried."""
        write_whole(self.diversity_path(spec), json.dumps({"weight": weight, "tried": tried}))

    def load_diversity(self, spec: AgentSpec) -> float:
        """The weight of a re-ranked agent.

        Raises:
            RunError: it is missing or damaged.
        """
        path = self.diversity_path(spec)
        with reading(path, self.how):
            weight = float(json.loads(path.read_text(encoding="utf-8"))["weight"])
            if not 0 <= weight < np.inf:
                raise ValueError("its weight is no number of at least 0")
            return weight

    def save_prices(self, spec: AgentSpec, chosen: Mapping[str, Any]) -> None:
        """Keep the prices of boredom that were chosen for an agent, see `lerl.run.fit_prices.Chosen`."""
        write_whole(self.prices_path(spec), json.dumps(chosen, indent=1))

    def load_prices(self, spec: AgentSpec) -> tuple[Prices, int]:
        """An agent's prices of boredom, and the user-steps that choosing them took.

        Raises:
            RunError: they are missing or damaged.
        """
        path = self.prices_path(spec)
        with reading(path, self.how):
            kept = json.loads(path.read_text(encoding="utf-8"))
            first, last = map(float, kept["prices"])
            if not all(0 <= price < np.inf for price in (first, last)):
                raise ValueError("its prices are no numbers of at least 0")
            return Prices(first, last), int(kept["steps"])

    def save_choice(self, choice: Mapping[str, Any]) -> None:
        """Keep what `auto` chose, see `lerl.run.choose.Choice`."""
        write_whole(self.choice_path, json.dumps(choice, indent=1))

    def load_choice(self, specs: Sequence[AgentSpec]) -> tuple[AgentSpec, int]:
        """Which of the candidates `auto` chose, and the user-steps that took.

        Raises:
            RunError: it is missing or damaged.
        """
        with reading(self.choice_path, self.how):
            kept = json.loads(self.choice_path.read_text(encoding="utf-8"))
            return {spec.label: spec for spec in specs}[kept["chosen"]], int(kept["steps"])

    def new_next_item(self, name: str, task: Task) -> NextItem:
        """A recommender of the next item that has learned nothing yet, for a task's catalog."""
        catalog, train = task.population.catalog, task.config.train
        row = session_row(name, len(catalog), train.hidden, train.learning_rate)
        if row.reads_texts:
            row.know(catalog_texts(catalog).columns)
        return row

    def save_next_item(self, name: str, row: NextItem) -> None:
        """Keep what a recommender of the next item has learned."""
        row.save(self.next_item_path(name))

    def load_next_item(self, name: str, task: Task) -> NextItem:
        """That recommender, for a task's catalog.

        Raises:
            RunError: it is missing or damaged.
        """
        with reading(self.next_item_path(name), self.how):
            row = self.new_next_item(name, task)
            row.load(self.next_item_path(name))
            return row

    def checkpoint(self, name: str, every: float) -> Checkpoint:
        """What the training of something goes on from, written every so many seconds."""
        return Checkpoint(self.folder / "checkpoints" / f"{name}.pt", every)
