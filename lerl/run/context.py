"""What fitting agents needs: the task, its store, its chat model, and training users to simulate."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lerl.agents.base import Agent
from lerl.report.metrics import session_totals
from lerl.run.artifacts import ArtifactStore, Point
from lerl.run.chat_account import ChatAccount
from lerl.run.rollout import Episodes, Evaluator
from lerl.run.task import Task

Report = Callable[[str, int, int, Point | str | None], None]
"""Called with a phase, steps done, steps in all and the newest curve point, words, or None."""
Watch = Callable[[str, int, Episodes], None]
"""Called with the name of a learning curve, steps learned from, and the sessions behind a new point."""


class FitContext:
    """What all fitting of one task shares.

    Args:
        task: the task. store: where fitted parts are kept. report: called as work goes on.
        traffic: file of the questions to a chat model; the store's where None.

    Attributes:
        chat: the run's chat model, opened when an agent needs it. watch: called at each point of a learning curve;
            what it raises ends the fitting.
    """

    def __init__(self, task: Task, store: ArtifactStore, report: Report, traffic: Path | None = None) -> None:
        self.task, self.store, self.report = task, store, report
        self.chat = ChatAccount(task.config.planner, traffic or store.traffic_path)
        self.watch: Watch | None = None
        self._evaluator: Evaluator | None = None

    def settle(self, task: Task) -> None:
        """Go on with a task whose axis has been learned since."""
        self.task, self._evaluator = task, None

    @property
    def evaluator(self) -> Evaluator:
        """Training users, for whatever is tuned or drawn as a curve; evaluation users are never touched here."""
        if self._evaluator is None:
            config = self.task.config
            self._evaluator = Evaluator(
                self.task.population, config.env, self.task.axis, "train", config.evaluation.batch_size
            )
        return self._evaluator

    def curve_point(self, name: str, steps: int, agent: Agent) -> Point:
        """A point of the learning curve of an agent, by its name there, that has learned from so many user-steps."""
        played = self.validate(agent)
        if self.watch is not None:
            self.watch(name, steps, played)
        totals = session_totals(played.rewards)
        return {
            "agent": name,
            "steps": steps,
            "T_int": float(played.lengths.mean()),
            "R_cum": float(totals.mean()),
            "R_sin": float((totals / played.lengths).mean()),
            "sessions": len(totals),
        }

    def validate(self, agent: Agent) -> Episodes:
        """Sessions of training users, the same ones whenever and whatever is validated."""
        seed = self.task.seed("validation")
        users: NDArray[np.int64] = np.random.default_rng(seed).choice(
            self.evaluator.users, self.task.config.train.validation
        )
        played = self.evaluator.play(agent, users, 1, seed)
        self.chat.count(int(played.lengths.sum()))
        return played
