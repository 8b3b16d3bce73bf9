"""What an agent of one's own needs, and what it gets."""

import inspect
import re
import textwrap
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from lerl.agents.base import Agent, TaskSpec
from lerl.agents.baselines import RandomAgent
from lerl.agents.next_item.agent import NextItemAgent
from lerl.agents.privileged import PrivilegedAgent
from lerl.envs.session import SessionVectorEnv
from lerl.planners.base import with_defaults


def test_the_example_of_the_contract_acts(
    task: TaskSpec, make_env: Callable[..., SessionVectorEnv], play: Callable[..., Any]
):
    """60 items: the last three, then the three before them."""
    card = inspect.cleandoc(str(Agent.__doc__))
    example = re.search(r"^    class Newest.*?(?=^\S)", card, re.DOTALL | re.MULTILINE)
    assert example is not None
    made: dict[str, Any] = {"Agent": Agent, "np": np}
    exec(textwrap.dedent(example[0]), made)
    slates, _ = play(make_env(2, leave={"rule": "never"}), made["Newest"](task, 2), steps=2)
    assert slates.tolist() == [[[59, 58, 57]] * 2, [[56, 55, 54]] * 2]


def test_an_agent_without_act_cannot_be_made():
    with pytest.raises(TypeError, match=r"abstract.*act"):
        Agent()  # type: ignore[abstract]


def test_what_agents_say_of_themselves(task: TaskSpec):
    assert (RandomAgent(task, 2).recalls, RandomAgent(task, 2).attends) == (False, False)
    assert (PrivilegedAgent(task, 2).recalls, PrivilegedAgent(task, 2).attends) == (False, True)
    assert NextItemAgent.recall is not Agent.recall


def test_a_class_that_only_begins_and_acts_has_the_defaults_of_an_agent(task: TaskSpec):
    class Still:
        def __init__(self, task: TaskSpec, count: int) -> None:
            self.slates = np.zeros((count, task.slate_size), np.int32)

        def begin(self, rows: Any, observation: Any, keys: Any) -> None:
            """Nothing to remember."""

        def act(self, observation: Any) -> Any:
            return self.slates

    agent = with_defaults(Still, Agent)(task, 2)
    agent.attend(np.ones(2, bool))
    agent.recall(np.arange(2), [])
    assert (type(agent).__name__, agent.recalls, agent.attends, agent.widened) == ("Still", False, False, None)
