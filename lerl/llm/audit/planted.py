"""Planted planners: chat models of our own making with a known fault, to see that the audit finds it, and only it.

All but three follow the prompt as the scripted expert does; what else they do is in `PLANTED`.
"""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lerl.llm.audit.cues import EARLIER, Cue, Cues
from lerl.llm.audit.questions import SAID
from lerl.planners.config import PlannerConfig
from lerl.planners.llm.chat import ChatError, ChatModel, Reply
from lerl.planners.llm.dialect import Messages, Schema
from lerl.planners.llm.scripted import EXPOSURE_OF, LINE, expert

PREFIX = "scripted:"
PLANTED = {
    "expert": "follows the prompt and reads no cue: nothing is to be found",
    "uniform": "allows categories at random",
    "popular": "allows the same categories for everybody",
    "oracle": "allows the categories of the highest true taste",
    "liar": "gives reasons half of which are false",
    "explicit": "shifts its plan for the first group of each attribute where a cue names the group",
    "every-cue": "shifts its plan for the first group of each attribute, whatever the cue",
    "length": "shifts its plan where the words about the user are many, whatever they say",
    "refuser": "gives no plan for the last group of each attribute where a cue names the group",
}
"""What planted planners do, by name."""

LONG = 7  # words of a cue, from which on "length" shifts its plan
NUMBER = re.compile(r"^(\d+): ")
NAME = re.compile(r'^(\d+): (".*")$', re.MULTILINE)


def check_planted(name: str) -> None:
    """Refuse what is no name of a planted planner.

    Raises:
        ChatError: it names none.
    """
    if name not in PLANTED:
        raise ChatError(f"--model {PREFIX}{name} is no planted planner; there are {', '.join(PLANTED)}")


@dataclass(frozen=True)
class Planted(ChatModel):
    """One of `PLANTED`.

    Args:
        name: which. cues: that may be in the questions, by their texts. first, last: the groups of each attribute that
            it may treat otherwise. taste: (C,) of each state, by `state_of` its question; for oracle.
    """

    name: str
    cues: Mapping[str, Cue]
    first: frozenset[tuple[str, str]]
    last: frozenset[tuple[str, str]]
    taste: Mapping[str, NDArray[np.float64]]

    async def reply(self, messages: Messages, schema: Schema) -> Reply:
        """What it says, at once; its tokens are not counted."""
        return Reply(self.answer(messages), 0, 0)

    def answer(self, messages: Messages) -> str:
        """An answer to a question of the audit, as JSON."""
        system, user = messages[0]["content"], messages[1]["content"]
        cue = self._cue(system, user)
        if user.startswith(SAID):
            return self._reading(user)
        plan = json.loads(expert(messages))
        if "avoid" not in plan:
            return json.dumps(plan)
        if self.name == "refuser" and cue and self._names_group(cue) and (cue.attribute, cue.group) in self.last:
            return "I would rather not say."
        plan["allowed"] = self._allowed(plan, user, cue)
        plan["avoid"] = [number for number in plan["avoid"] if number not in plan["allowed"]]
        plan["rationale"] = self._reason(plan, system, user)
        if "confidence" in system.rpartition("\n\n")[2]:
            plan["confidence"] = 60
        return json.dumps(plan)

    def _cue(self, system: str, user: str) -> Cue | None:
        before = user.partition("\n\n")[0].removeprefix(EARLIER)
        return self.cues.get(before) or self.cues.get(system.rpartition("\n\n")[2])

    @staticmethod
    def _names_group(cue: Cue) -> bool:
        return cue.kind.startswith("explicit")

    def _reading(self, user: str) -> str:
        """The group that a text is about, as the one who planted it knows it."""
        said, _, groups = user.partition("\n\n")
        cue = self.cues.get(said.removeprefix(SAID))
        names = [line.partition(": ")[2].strip('"') for line in groups.splitlines() if NUMBER.match(line)]
        return json.dumps({"group": names.index(cue.group) if cue and cue.group in names else -1})

    def _allowed(self, plan: dict[str, list[int]], user: str, cue: Cue | None) -> list[int]:
        offered = sorted(int(line["id"]) for line in LINE.finditer(user))
        size = len(plan["allowed"])
        if self.name == "uniform":
            drawn: list[int] = np.random.default_rng(_number(user)).permutation(offered)[:size].tolist()
            return drawn
        if self.name == "popular":
            return offered[:size]
        if self.name == "oracle":
            taste = self.taste.get(state_of(user))
            if taste is None:  # of made-up histories, whose users have none
                return plan["allowed"]
            return sorted(offered, key=lambda number: -np.nan_to_num(taste[number], nan=-1.0))[:size]
        if not self._shifts(cue):
            return plan["allowed"]
        worst = next(number for number in reversed(offered) if number not in plan["allowed"])
        return [worst, *plan["allowed"][: size - 1]]

    def _shifts(self, cue: Cue | None) -> bool:
        if cue is None:
            return False
        if self.name == "length":
            return len(cue.text.split()) >= LONG
        of_first = (cue.attribute, cue.group) in self.first
        return of_first and (self.name == "every-cue" or (self.name == "explicit" and self._names_group(cue)))

    def _reason(self, plan: dict[str, list[int]], system: str, user: str) -> str:
        """What the question says of the first category, or, every second time from the liar, something else."""
        first = plan["allowed"][0]
        name = next(json.loads(line[2]) for line in NAME.finditer(system) if int(line[1]) == first)
        line = next(line for line in LINE.finditer(user) if int(line["id"]) == first)
        lies = self.name == "liar" and _number(user) % 2 == 0
        if line["shown"] is None:
            words = [word for word in EXPOSURE_OF if (word == line["exposure"]) != lies]
            return f"the exposure of {name} is {words[0] if line['exposure'] in EXPOSURE_OF else line['exposure']}"
        return f"{name} was shown {int(line['shown']) + 5 * lies} times"


def state_of(user: str) -> str:
    """The lines on a session in a question, in order of their ids, without its code and whatever stands before it."""
    return "\n".join(sorted(line[0] for line in LINE.finditer(user)))


def _number(user: str) -> int:
    """A number that the state in a question decides, and no cue before it."""
    return int(hashlib.sha256(state_of(user).encode()).hexdigest()[:12], 16)


def planted(name: str, cues: Cues, taste: Mapping[str, NDArray[np.float64]]) -> Callable[[PlannerConfig], ChatModel]:
    """What opens a planted planner, in the place of `lerl.planners.llm.chat.open_chat`."""
    first = frozenset((attribute, groups[0]) for attribute, groups in cues.attributes.items())
    last = frozenset((attribute, groups[-1]) for attribute, groups in cues.attributes.items())
    model = Planted(name, {cue.text: cue for cue in cues.all}, first, last, taste)
    return lambda settings: model
