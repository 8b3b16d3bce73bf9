"""A scripted expert in a chat model's place, as planner.model scripted:expert: it reads nothing but the question.

It shows how good a planner is that follows the prompt to the letter, and that all around a chat model works, without
an endpoint and at no cost. It says nothing of what a real model would plan.
"""

import json
import math
import re

BONUS, PRICE, WEIGHT, MARGIN = 0.6, 3.0, 0.5, 0.3  # of the boredom-aware rule
CTR_WORDS = ("best", "good", "fair", "poor")
TIREDNESS_OF = {"none": 0.0, "light": 0.5, "medium": 1.0, "heavy": 2.0}
EXPOSURE_OF = {"none": 0.0, "light": 0.7, "medium": 1.5, "heavy": 3.0}
LINE = re.compile(
    r"^(?P<id>\d+): liking (?P<liking>\d+%|\w+), exposure (?P<exposure>[\w.]+)"
    r"(, tiredness (leaves (?P<left>\d+)%, give or take (?P<off>\d+)%|(?P<tired>\w+), liking is (?P<sure>\w+)))?"
    r"(, shown (?P<shown>\d+), clicked (?P<clicked>\d+), promised (?P<promised>[\d.]+))?$",
    re.MULTILINE,
)


def expert(messages: list[dict[str, str]]) -> str:
    """The boredom-aware rule (UCB, no draws), from the text of a question; of a session, a short reflection.

    Args:
        messages: each {"role": ..., "content": ...}, as a `ChatModel` is given them.

    Raises:
        ValueError: the question is not worded as lerl's own prompts are.
    """
    text = next(message["content"] for message in messages if message["role"] == "user")
    if re.search(r"^The session lasted", text, re.MULTILINE):
        length = _found(r"lasted (\d+)", text)
        return json.dumps({"reflection": f"Lasted {length} slates; rotate categories before they tire."})
    code, size = _found(r"^State (\w+)\.", text), _found(r"Allow at most (\d+)", text)
    scored = []
    for line in LINE.finditer(text):
        exposure = EXPOSURE_OF[line["exposure"]] if line["exposure"] in EXPOSURE_OF else float(line["exposure"])
        value, tired = _liking(line["liking"]), WEIGHT * exposure
        if line["tired"] is not None:
            tired, value = TIREDNESS_OF[line["tired"]], value + BONUS * (line["sure"] == "unsure")
        elif line["left"] is not None:
            chance = 1 / (1 + math.exp(-value))
            tired = value - _liking(f"{line['left']}%")
            value += BONUS * int(line["off"]) / 100 / (chance * (1 - chance))
        elif line["shown"] is not None:
            shown, clicked, predicted = int(line["shown"]), int(line["clicked"]), float(line["promised"])
            rate = predicted / shown
            information = 4.0 + shown * rate * (1 - rate)
            expected = predicted - WEIGHT * exposure * shown * rate * (1 - rate) / 2  # half as tired on average as now
            value += (clicked - expected) / information + BONUS / math.sqrt(information)
        else:
            value += BONUS / 2.0
        scored.append((-(value - PRICE * tired), int(line["id"]), tired))
    scored.sort()
    allowed = scored[: int(size)]
    rested = sum(tired for _, _, tired in allowed) / len(allowed)
    avoid = [number for _, number, tired in scored[len(allowed) :] if tired > rested + MARGIN]
    plan = {"state": code, "rationale": "liked and rested", "allowed": [number for _, number, _ in allowed]}
    return json.dumps(plan | {"avoid": avoid})


def _liking(word: str) -> float:
    """Log-odds that a word or a percentage stands for."""
    if word in CTR_WORDS:
        return -float(CTR_WORDS.index(word))
    chance = min(max(int(word[:-1]) / 100, 0.001), 0.999)
    return math.log(chance / (1 - chance))


def _found(pattern: str, text: str) -> str:
    match = re.search(pattern, text, re.MULTILINE)  # instructions may stand before it
    if match is None:
        raise ValueError("the scripted expert reads questions of no prompts but lerl's own; leave out planner.prompts")
    return match[1]
