"""How steps are shared between a planner and its policy, and which rows had too few."""

import pytest

from lerl.config.parse import load
from lerl.config.recipes import find_recipe, recipes
from lerl.report.lessons import lessons, mark, marked


@pytest.mark.parametrize(
    ("sessions", "steps", "max_steps", "given"),
    [
        (1500, 200_000, 100, 1500),  # 1500 sessions of 100 steps are 150,000 of 200,000
        (1500, 20_000, 100, 150),  # 15,000 of 20,000
        (3000, 200_000, 20, 3000),
        (8, 64, 15, 3),  # 48 / 15
        (8, 100, 100, 0),  # not even two
        (8, 0, 15, 0),
        (0, 1000, 15, 0),
    ],
)
def test_lessons_take_three_quarters_of_the_steps_at_most(
    sessions: int, steps: int, max_steps: int, given: int
) -> None:
    assert lessons(sessions, steps, max_steps) == given


@pytest.mark.parametrize("name", recipes())
def test_recipes_have_the_lessons_that_they_ask_for(name: str) -> None:
    config = load(find_recipe(name))
    assert lessons(config.planner.sessions, config.train.steps, config.env.max_steps) == config.planner.sessions


def test_fewer_than_four_rollouts_are_too_few() -> None:
    assert [mark(own, 256, 8) for own in (0, 1, 8191, 8192)] == ["untrained", "too few steps", "too few steps", ""]
    assert (marked("flat+ppo", "untrained"), marked("flat+ppo", "")) == ("flat+ppo (untrained)", "flat+ppo")
