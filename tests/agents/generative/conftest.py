"""A small world whose words say what comes next, and whose ids do not."""

import numpy as np
import pytest

from lerl.envs.sequences import Choices, Lists

ITEMS = 40


@pytest.fixture(scope="session")
def walk() -> Choices:
    """Users who go on from any of the five items of a kind to any of the next kind's; there are eight kinds."""
    draw, order = np.random.default_rng(0), np.random.default_rng(1).permutation(ITEMS)
    kinds = [(draw.integers(8) + np.arange(draw.integers(4, 8))) % 8 for _ in range(100)]
    lists = [order[5 * kind + draw.integers(0, 5, len(kind))] for kind in kinds]
    titles = [""] * ITEMS
    for place, item in enumerate(order):
        titles[item] = f"kind{place // 5} sort{place // 5} tone{place % 5}"
    ids = tuple(map(str, range(100)))
    return Choices(ids, ids[:ITEMS], Lists.of(lists), texts={"title": tuple(titles), "id": ids[:ITEMS]})
