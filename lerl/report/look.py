"""How agents look in every picture: short names, colours by kind, and which one the others are compared with."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lerl.agents.belief.agent import NAME as BELIEF
from lerl.config.schema import AUTO
from lerl.report.bootstrap import Summary, by_reward
from lerl.report.lessons import UNTRAINED
from lerl.report.load import Results, check_reference
from lerl.report.palette import BLACK, BLUE, GREY, ORANGE
from lerl.report.tables import said_of

LONGEST_NAME = 24
"""Letters of a name that a picture has room for; a letter of East Asia counts as two."""


@dataclass(frozen=True)
class Look:
    """How agents look: their names and colours, and which one the others are compared with."""

    names: Mapping[str, str]
    colours: Mapping[str, str]
    reference: str

    def key(self, colours: set[str]) -> str:
        """What these colours mean, in words."""
        meanings = {
            ORANGE: f"orange {self.names[self.reference]}",
            BLACK: "black privileged, which reads the hidden state",
            BLUE: "blue other agents that learned",
            GREY: "grey agents that did not learn",
        }
        return f"Colours: {', '.join(meaning for colour, meaning in meanings.items() if colour in colours)}."


def look_of(results: Results, summary: Summary, reference: str | None = None) -> Look:
    """The look of some results; without a reference it is the first agent with a planner that learned, else the first
    that learned, else the best.

    Raises:
        RunError: there is no agent `reference`.
    """
    order = by_reward(summary)
    learned = learned_agents(results, order)
    chosen = _reference(results.agents, learned, order) if reference is None else reference
    check_reference(chosen, results.agents)
    colours = {agent: BLUE if agent in learned else GREY for agent in order} | {"privileged": BLACK, chosen: ORANGE}
    return Look({agent: said_of(agent, results.untrained, short(agent)) for agent in order}, colours, chosen)


def learned_agents(results: Results, agents: Sequence[str]) -> set[str]:
    """Those of the agents that learned from training sessions."""
    trained = set(results.curves["agent"].unique().to_list())
    trained -= {agent for agent, found in results.untrained.items() if found["mark"] == UNTRAINED}
    trained |= {BELIEF, f"{BELIEF}@return", AUTO} if (results.config.get("train") or {}).get("steps") != 0 else set()
    return {agent for agent in agents if "+".join(agent.removesuffix("@det").split("+")[:2]) in trained}


def _reference(agents: Sequence[str], learned: set[str], order: Sequence[str]) -> str:
    candidates = [agent for agent in agents if agent in learned]
    hierarchical = [agent for agent in candidates if "+" in agent and not agent.startswith("flat+")]
    return [*hierarchical, *candidates, *order][0]


def short(name: str) -> str:
    """An agent's name at a length that leaves room for the picture: my_package.my_module:MyAgent is MyAgent."""
    return shortened(name.rsplit(":", 1)[-1])


def shortened(text: str) -> str:
    """A text, cut where it is longer than `LONGEST_NAME`."""
    if width(text) <= LONGEST_NAME:
        return text
    while width(text) >= LONGEST_NAME:
        text = text[:-1]
    return f"{text}…"


def width(text: str) -> float:
    """How many letters wide a text is; those of East Asia are two wide, some Latin ones more than one."""
    return sum(2 if unicodedata.east_asian_width(x) in "WF" else 1.5 if x in "mwMW@" else 1 for x in text)
