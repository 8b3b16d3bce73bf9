"""What happens around a learner's rollouts: reports, and exploration that shrinks."""

from collections.abc import Callable
from typing import Any

from stable_baselines3.common.callbacks import BaseCallback

from lerl.agents.learners.registry import set_spread


class Report(BaseCallback):
    """Calls back around every rollout, and lets exploration shrink as training goes on.

    Args:
        before: called with the model before every rollout, when all that training depends on is at rest.
        after: called with the model after every rollout.
        log_std: logarithm of the action's standard deviation at the start and at the end, linear in between.
    """

    def __init__(
        self, before: Callable[[Any], None], after: Callable[[Any], None], log_std: tuple[float, float]
    ) -> None:
        super().__init__()
        self._before, self._after, self._log_std = before, after, log_std

    def _on_rollout_start(self) -> None:
        self._before(self.model)
        left = self.model._current_progress_remaining
        first, last = self._log_std
        set_spread(self.model, left * first + (1 - left) * last)

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        self._after(self.model)
