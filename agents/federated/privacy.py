"""Clipped and noisy uploads, and the privacy that they give."""

import math

import numpy as np

from lerl.agents.federated.messages import Upload

ORDERS = tuple(1 + step / 10 for step in range(1, 100)) + tuple(range(11, 513))
"""Orders of the Renyi divergence that are tried."""


def epsilon(noise: float, rounds: int, delta: float) -> float:
    """The epsilon of rounds of the Gaussian mechanism, each client in all of them: (epsilon, delta)-private.

    A round has the Renyi divergence order / (2 noise^2) (Mironov, "Renyi differential privacy", CSF 2017, table II),
    rounds add up (proposition 1), and the smallest epsilon over orders is taken (proposition 3).

    Args:
        noise: standard deviation of the noise in the sum of a round, in units of the clip. rounds: 0 or more.
        delta: above 0, below 1.

    Raises:
        ValueError: a number is out of range.
    """
    if not (0 < delta < 1 and noise >= 0 and rounds >= 0):
        raise ValueError(f"noise and rounds must be 0 or more and delta from 0 to 1, given {noise}, {rounds}, {delta}")
    if not rounds:
        return 0.0
    if not noise:
        return math.inf
    return min(rounds * order / (2 * noise**2) + math.log(1 / delta) / (order - 1) for order in ORDERS)


def share_of_noise(clip: float, noise: float, clients: int) -> float:
    """Standard deviation of the noise in each number of an upload; see `private`."""
    return noise * clip / math.sqrt(clients)


def private(upload: Upload, clip: float, noise: float, clients: int, rng: np.random.Generator) -> Upload:
    """An upload, codebooks and counts as one vector, cut to a length and with its share of the sum's noise.

    Args:
        clip: the length, above 0. noise: standard deviation in the sum of all clients' uploads, in units of clip.
        clients: how many send. rng: what noise is drawn from; to protect, it must be one that nobody can set up again.
    """
    whole = np.concatenate([upload.codebooks.ravel(), upload.counts]).astype(np.float64)
    whole *= min(1.0, clip / max(float(np.linalg.norm(whole)), 1e-12))
    if noise:
        whole += rng.normal(0.0, share_of_noise(clip, noise, clients), len(whole))
    numbers, size = whole.astype(np.float32), upload.codebooks.size
    return Upload(numbers[:size].reshape(upload.codebooks.shape), numbers[size:])
