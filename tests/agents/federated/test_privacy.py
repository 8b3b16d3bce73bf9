"""The accounted epsilon against closed forms, and uploads that are cut and noisy."""

import math

import numpy as np
import pytest

from lerl.agents.federated.messages import Upload
from lerl.agents.federated.privacy import epsilon, private


@pytest.mark.parametrize(("noise", "rounds"), [(1.0, 1), (4.0, 1), (10.0, 100), (50.0, 100), (20.0, 1000)])
def test_epsilon_is_that_of_concentrated_privacy(noise: float, rounds: int) -> None:
    """The least over all orders has a closed form: rho + 2 sqrt(rho log(1/delta)), rho = rounds / (2 noise^2)."""
    delta, rho = 1e-5, rounds / (2 * noise**2)
    exact = rho + 2 * math.sqrt(rho * math.log(1 / delta))
    assert exact <= epsilon(noise, rounds, delta) <= 1.01 * exact


def test_a_known_value() -> None:
    """Noise of 1, one round, delta 1e-5: 5.30 (0.5 + 2 sqrt(0.5 * 11.513)); the analytic Gaussian's is lower, 4.38."""
    assert epsilon(1.0, 1, 1e-5) == pytest.approx(5.30, abs=0.01)


def test_no_noise_is_no_privacy_and_no_rounds_cost_nothing() -> None:
    assert epsilon(0.0, 3, 1e-5) == math.inf
    assert epsilon(1.0, 0, 1e-5) == 0.0
    with pytest.raises(ValueError, match="delta"):
        epsilon(1.0, 1, 0.0)


def test_an_upload_is_cut_with_its_counts_and_the_sum_has_the_noise_that_was_asked_for() -> None:
    sent = Upload(np.full((40, 5), 3.0, np.float32), np.full(40, 4.0, np.float32))
    cut = private(sent, 2.0, 0.0, 10, np.random.default_rng(0))
    assert np.sqrt((cut.codebooks**2).sum() + (cut.counts**2).sum()) == pytest.approx(2.0, rel=1e-5)
    small = private(sent, 1e6, 0.0, 10, np.random.default_rng(0))
    assert (small.codebooks == sent.codebooks).all()
    total = sum(private(sent, 2.0, 3.0, 50, np.random.default_rng(n)).codebooks for n in range(50))
    assert (total - 50 * cut.codebooks).std() == pytest.approx(6.0, rel=0.15)
