"""What a planner is given, made by hand."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import settings

from lerl.envs.catalog import Axis
from lerl.planners.base import PlanContexts

MakeContexts = Callable[..., PlanContexts]

# Compiling takes longer than Hypothesis lets an example take; a failure should come back when the test is run again.
settings.register_profile("lerl", deadline=None, derandomize=True)
settings.load_profile("lerl")


@pytest.fixture(scope="session")
def contexts() -> MakeContexts:
    """Contexts of len(liking) sessions; item c is the only one of category c unless a membership is given."""

    def make(
        predicted_ctr: Any,
        *,
        steps: Any = 0,
        plans: Any = 0,
        keys: Any = None,
        slate_size: int = 1,
        membership: Any = None,
        items: Any = None,
        feedback: Any = None,
        estimates: Any = None,
        tiredness: Any = None,
        uncertainty: Any = None,
    ) -> PlanContexts:
        predicted_ctr = np.array(predicted_ctr, np.float32)
        count, categories = predicted_ctr.shape
        recent = np.full((count, slate_size), -1) if items is None else np.array(items)
        return PlanContexts(
            axis=Axis(
                tuple(f"category {number}" for number in range(categories)),
                np.eye(categories, dtype=bool) if membership is None else np.array(membership, bool),
            ),
            slate_size=slate_size,
            session_key=np.arange(count, dtype=np.uint64) if keys is None else np.array(keys, np.uint64),
            steps=np.broadcast_to(np.array(steps, np.int64), count).copy(),
            plans=np.broadcast_to(np.array(plans, np.int64), count).copy(),
            predicted_ctr=predicted_ctr,
            counts=np.zeros((count, categories), np.float32),
            feedback=np.full((count, categories), -1, np.float32),
            recent_items=recent.astype(np.int32),
            recent_feedback=np.full(recent.shape, -1, np.float32)
            if feedback is None
            else np.array(feedback, np.float32),
            recent_estimates=np.full(recent.shape, 0.5, np.float32)
            if estimates is None
            else np.array(estimates, np.float32),
            tiredness=None if tiredness is None else np.array(tiredness, np.float32),
            uncertainty=None if uncertainty is None else np.array(uncertainty, np.float32),
        )

    return make
