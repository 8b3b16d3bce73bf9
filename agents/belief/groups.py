"""Groups of items by whose repetition people leave, revised from when they left: items' chances of each group.

The gradient of the likelihood of leaving and staying goes through the chance that a slate repeats a group, by Adam
(Kingma and Ba 2015); items are drawn towards the groups of their neighbours, since most are seldom shown.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from lerl.agents.adam import Adam
from lerl.agents.belief.filter import TrainingSessions
from lerl.agents.belief.repetition import Rule
from lerl.agents.belief.topics import near_centres
from lerl.agents.transformer import deterministic

EPOCHS, BATCH = 20, 250  # passes over the sessions, and sessions in a step
RATE = 0.1
LEAST = 0.01  # smaller chances are left out
Floats = NDArray[np.float32]


def refit_groups(
    groups: Floats, units: Floats, rule: Rule, weights: NDArray[np.float64], sessions: TrainingSessions, seed: int
) -> Floats:
    """Chances (I, G) of groups of greater posterior probability than `groups`.

    Args:
        units: (I, d), directions of the items. rule: which slates repeat a group.
        weights: (4,), log-odds of leaving: a constant, per step, per repetition so far, and where a slate repeats.
        seed: of the order of the sessions.
    """
    with deterministic(seed % 2**32):
        return _climb(groups, units, rule, weights, sessions, seed)


def _climb(
    groups: Floats, units: Floats, rule: Rule, weights: NDArray[np.float64], sessions: TrainingSessions, seed: int
) -> Floats:
    logits = torch.tensor(np.log(groups + 1e-3), dtype=torch.float32, requires_grad=True)
    own = torch.tensor(weights, dtype=torch.float32, requires_grad=True)
    adam, rng = Adam([logits, own], RATE, betas=(0.9, 0.99)), np.random.default_rng(seed)
    count = len(sessions.homes)
    for _ in range(EPOCHS):
        before = torch.softmax(logits, dim=1).detach().double().numpy()
        near = torch.from_numpy(near_centres(units.astype(np.float64), before)).float()
        for rows in np.array_split(rng.permutation(count), max(count // BATCH, 1)):
            items, leaves, there = padded(sessions.take(np.sort(rows)))
            shares = torch.softmax(logits, dim=1)
            repeated = slates_repeat(torch.cat([shares, torch.zeros(1, shares.shape[1])]), rule, items)
            steps = torch.arange(1, items.shape[1] + 1).expand(repeated.shape)
            z = own[0] + own[1] * steps + own[2] * repeated.cumsum(1) + own[3] * repeated
            fit = (leaves * z - torch.nn.functional.softplus(z))[there].sum()
            prior = (shares * (near - shares.clamp_min(1e-9).log())).sum() * len(rows) / count
            adam.zero_grad()
            (-(fit + prior)).backward()  # type: ignore[no-untyped-call]
            adam.step()
    found = torch.softmax(logits, dim=1).detach().numpy()
    found[(found < LEAST) & (found < found.max(axis=1, keepdims=True))] = 0.0
    return np.ascontiguousarray(found / found.sum(axis=1, keepdims=True), np.float32)


def padded(sessions: TrainingSessions) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Items (N, T, k), -1 beyond the end; whether people left after a slate (N, T), and which slates there are."""
    lengths = np.diff(sessions.starts)
    there = np.arange(lengths.max()) < lengths[:, None]
    items = np.full((*there.shape, sessions.items.shape[1]), -1, np.int64)
    items[there] = sessions.items
    leaves = np.zeros(there.shape, np.float32)
    leaves[np.arange(len(lengths)), lengths - 1] = sessions.left
    return torch.from_numpy(items), torch.from_numpy(leaves), torch.from_numpy(there)


def slates_repeat(shares: torch.Tensor, rule: Rule, items: torch.Tensor) -> torch.Tensor:
    """The chance (N, T) that each slate repeats a group, as `lerl.agents.belief.repetition.repeats` has it."""
    own = shares[items]  # (N, T, k, G); the last row of shares is that of no item
    count, longest, k, groups = own.shape
    if rule.aligned:
        held = torch.cat([torch.zeros_like(own[:, :1]), own[:, :-1]], dim=1)
    else:
        sums = torch.cat([torch.zeros(count, 1, groups), own.reshape(count, -1, groups).cumsum(1)], dim=1)
        begin = torch.arange(longest) * k
        first = (begin - rule.slots + (k if rule.within else 0)).clamp_min(0)
        end = begin[:, None] + (torch.arange(k) if rule.within else torch.zeros(k, dtype=torch.long))
        held = sums[:, end] - sums[:, first][:, :, None]
    again = (own * (held - rule.most + 1).clamp(0, 1)).sum(-1).clamp_max(1)
    clean: torch.Tensor = (1 - again).prod(-1)
    return 1 - clean
