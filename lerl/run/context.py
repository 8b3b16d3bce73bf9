"""What fitting agents needs: the task, its store, its chat model, and training users to simulate."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lerl.agents.base import Agent
from lerl.run.artifacts import ArtifactStore, Point
from lerl.run.chat_account import ChatAccount
from lerl.run.rollout import Episodes, Evaluator
from lerl.run.task import Task

Report = Callable[[str, int, int, Point | str | None], None]
"""Called with a phase, steps done, steps in all and the newest curve point, words, or None."""


class FitContext:
    """What all fitting of one task shares.

    Args:
        task: the task. store: where fitted parts are kept. report: called as work goes on.
        traffic: file of the questions to a chat model; the store's where None.

    Attributes:
        chat: the run's chat model, opened when an agent needs it.
    """

    def __init__(self, task: Task, store: ArtifactStore, report: Report, traffic: Path | None = None) -> None:
        self.task, self.store, self.report = task, store, report
        self.chat = ChatAccount(task.config.planner, traffic or store.traffic_path)
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

    def validate(self, agent: Agent) -> Episodes:
        """Sessions of training users, the same ones whenever and whatever is validated."""
        seed = self.task.seed("validation")
        users: NDArray[np.int64] = np.random.default_rng(seed).choice(
            self.evaluator.users, self.task.config.train.validation
        )
        played = self.evaluator.play(agent, users, 1, seed)
        self.chat.count(int(played.lengths.sum()))
        return played
