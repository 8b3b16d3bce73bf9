"""The bounds of TD3's and DDPG's actors."""

import pytest
import torch

from lerl.agents.learners.td3 import Bounds


@pytest.mark.parametrize(
    ("action", "gradient", "passed"),
    [
        (0.0, -2.0, -1.0),  # half of the way is left on either side: halved
        (0.0, 2.0, 1.0),
        (0.6, -2.0, -0.4),  # a step against the gradient goes up, where 0.4 of 2 is left
        (0.6, 2.0, 1.6),  # down, 1.6 of 2
        (1.0, -2.0, 0.0),  # at a bound: no further, and back at full strength
        (1.0, 2.0, 2.0),
        (7.0, -2.0, 0.0),  # beyond it counts as at it
        (-7.0, -2.0, -2.0),
    ],
)
def test_gradients_shrink_towards_a_bound_and_are_whole_on_the_way_back(action: float, gradient: float, passed: float):
    actions = torch.tensor([action], requires_grad=True)
    bounded = Bounds()(actions)
    bounded.backward(torch.tensor([gradient]))
    assert bounded.item() == pytest.approx(max(-1.0, min(1.0, action)))
    assert actions.grad is not None
    assert actions.grad.item() == pytest.approx(passed)
