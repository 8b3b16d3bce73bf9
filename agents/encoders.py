"""From a session's memory and plan to the numbers that a network sees."""

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from lerl.agents.base import Setting
from lerl.agents.hierarchical import Hierarchy

FAST, SLOW = math.exp(-1 / 3.0), math.exp(-1 / 10.0)
PER_CATEGORY = 5


class CategoryEncoder:
    """Features per category of the axis, and of the session as a whole; the same for every row, plans apart.

    Per category: promised log-odds of its best items left; exposure fading over 3 and over 10 steps; what its feedback
    was beyond what was promised; its share of the last slate; with a planner also whether it is allowed and whether
    avoided. Of the session: the taste, the sum of surprises times item vectors (the slope of the likelihood
    in the taste), mean feedback and mean surprise of late, time left, age of the plan.

    Args:
        setting: the task.
        planned: whether features of a plan are part.
    """

    def __init__(self, setting: Setting, planned: bool) -> None:
        self.setting, self.planned = setting, planned
        self.scale = np.maximum(setting.knowledge.item_vectors.std(axis=0), 1e-6)
        categories, dim = len(setting.axis.names), setting.knowledge.item_vectors.shape[1]
        self.size = (PER_CATEGORY + 2 * planned) * categories + 2 * dim + 3 + planned

    def encode(self, hierarchy: Hierarchy) -> NDArray[np.float32]:
        """Features (B, size) of the sessions in a hierarchy's slots."""
        contexts, memory = hierarchy.contexts, hierarchy.memory
        if contexts is None:
            raise ValueError("the hierarchy must be attentive for an encoder to see its sessions")
        k = self.setting.slate_size
        sums, surprise, late = _summarise(
            contexts.recent_items,
            contexts.recent_feedback,
            contexts.recent_estimates,
            memory.groups,
            len(contexts.names),
            self.setting.knowledge.item_vectors,
            k,
        )
        liking = np.clip(contexts.liking, 0.01, 0.99)
        parts = [
            np.log(liking / (1 - liking)),
            sums[:, 0],
            sums[:, 1] / 3,
            2 * sums[:, 2] / (1 + sums[:, 3]),
            2 * sums[:, 4],
            memory.tastes * self.scale,
            0.3 * surprise / self.scale,
            late,
            (1 - contexts.steps / self.setting.max_steps)[:, None],
        ]
        if self.planned:
            age = (memory.steps - hierarchy.planned_at)[:, None] / hierarchy.replan_every
            parts += [hierarchy.allowed, hierarchy.avoid, age]
        return np.concatenate(parts, axis=1, dtype=np.float32)


@njit(cache=True)
def _summarise(items, feedback, estimates, groups, categories, vectors, k):  # type: ignore[no-untyped-def]
    """Per category (B, 5, C): exposure fast, slow, surprise and its count, last slate; (B, D) surprise; (B, 2) late."""
    users, slots = items.shape
    sums = np.zeros((users, 5, categories), np.float32)
    surprise = np.zeros((users, vectors.shape[1]), np.float32)
    late = np.zeros((users, 2), np.float32)
    for b in range(users):
        weights = 1e-6
        for slot in range(slots):
            item = items[b, slot]
            if item < 0:
                continue
            age = (slots - 1 - slot) // k
            fast, slow = FAST**age, SLOW**age
            gap = feedback[b, slot] - estimates[b, slot]
            weights += fast
            late[b, 0] += fast * feedback[b, slot]
            late[b, 1] += fast * gap
            for j in range(vectors.shape[1]):
                surprise[b, j] += slow * gap * vectors[item, j]
            for m in range(groups.shape[1]):
                group = groups[item, m]
                if group >= 0:
                    sums[b, 0, group] += fast / k
                    sums[b, 1, group] += slow / k
                    sums[b, 2, group] += slow * gap
                    sums[b, 3, group] += slow
                    if age == 0:
                        sums[b, 4, group] += 1.0 / k
        late[b] /= weights
    return sums, surprise, late
