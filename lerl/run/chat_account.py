"""The chat model of a run: queried for all agents through one guard, and counted by phase."""

import json
from contextlib import closing
from pathlib import Path
from typing import Any

from lerl.envs.files import write_whole
from lerl.planners.config import PlannerConfig
from lerl.planners.llm.distilled import DistilledPlanner
from lerl.planners.llm.guard import Guard
from lerl.planners.llm.planner import LLMPlanner
from lerl.planners.llm.prompt import Prompts


class ChatAccount:
    """Opens the guard when it is first needed; without one nothing is counted.

    Args:
        config: the planner's. path: of the record of all questions and answers.
    """

    def __init__(self, config: PlannerConfig, path: Path) -> None:
        self._config, self._path = config, path
        self._guard: Guard | None = None

    @property
    def guard(self) -> Guard:
        """Queries the chat model."""
        if self._guard is None:
            self._guard = Guard(self._config, Prompts(self._config.prompts).digest, self._path)
        return self._guard

    def enter(self, phase: str, planner: Any) -> None:
        """Name the phase that the run is in; a chat model's failures and calls are counted by phase."""
        if self._guard is not None:
            self._guard.phase = phase if isinstance(planner, LLMPlanner | DistilledPlanner) else ""

    def count(self, user_steps: int) -> None:
        """Count user-steps that a chat model, or what was learned from one, planned for."""
        if self._guard is not None and self._guard.phase:
            self._guard.count("user_steps", user_steps)

    def evaluate_anew(self) -> None:
        """Query a chat model again where it gave no usable answer in an earlier evaluation."""
        if self._guard is not None:
            self._guard.traffic.forget("evaluate ")

    def recount(self) -> None:
        """Count what a chat model plans in this phase from nothing, since its sessions are simulated again."""
        if self._guard is not None and self._guard.phase:
            self._guard.traffic.recount(self._guard.phase)

    def record(self, logger: Any) -> None:
        """Show what a chat model costs beside the learning curves."""
        if self._guard is not None and self._guard.phase:
            record_traffic(logger, self._guard.report())

    def close(self) -> None:
        """Write what the chat model cost, and let go of its endpoint and files."""
        if self._guard is not None:
            guard, self._guard = self._guard, None
            with closing(guard):
                report = json.dumps(guard.report(), indent=1)
            write_whole(self._path.with_suffix(".json"), report)


def record_traffic(logger: Any, report: dict[str, Any]) -> None:
    """Give a guard's report to a learner's logger."""
    for name, value in report.items():
        if isinstance(value, int | float):
            logger.record(f"planner/{name}", value)
    logger.record("planner/fallbacks", sum(report["fallbacks"].values()))
