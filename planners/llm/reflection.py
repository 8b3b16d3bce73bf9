"""What is learned from finished sessions in words: a pool of reflections, and the critic that writes them."""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from lerl.envs.text import plain
from lerl.planners.base import Sessions
from lerl.planners.llm.prompt import ANSWER, AnswerError, line_schema, read_object

CAPACITY, SAMPLED, ALPHA = 200, 3, 0.1  # N_r, N_s and alpha of arXiv 2601.19585
MOST_WORDS = 19
SHOWN_SLATES = 40  # of a session that a critic is shown

SCHEMA: dict[str, Any] = {
    "title": "reflection",
    "description": "One lesson of a session.",
    "type": "object",
    "properties": {"reflection": line_schema(160)},
    "required": ["reflection"],
    "additionalProperties": False,
}


@dataclass(frozen=True)
class Pool:
    """Reflections, each with the total reward of its own session; a new version whenever some are added.

    Attributes:
        texts: oldest first. rewards: of the session that each was written on. version: counts additions.
    """

    texts: tuple[str, ...] = ()
    rewards: tuple[float, ...] = ()
    version: int = 0

    def added(self, texts: list[str], rewards: list[float]) -> "Pool":
        """The pool with these behind, the oldest dropped beyond `CAPACITY`."""
        if not texts:
            return self
        return Pool((*self.texts, *texts)[-CAPACITY:], (*self.rewards, *rewards)[-CAPACITY:], self.version + 1)

    def sample(self, seed: int) -> tuple[str, ...]:
        """`SAMPLED` different reflections, the same for one version and seed.

        They are drawn one after the other without replacement, each with a chance proportional to
        exp(ALPHA * reward) among those left: the largest of log-weights with Gumbel noise (Kool, van Hoof and Welling,
        "Stochastic beams and where to find them", ICML 2019), so that no exponential of a reward is ever taken.
        """
        noise = np.random.default_rng([seed, self.version]).gumbel(size=len(self.texts))
        order = np.argsort(-(ALPHA * np.array(self.rewards) + noise), kind="stable")
        return tuple(self.texts[number] for number in order[:SAMPLED].tolist())

    def dump(self) -> str:
        """As JSON."""
        entries = [
            {"reflection": text, "reward": reward} for text, reward in zip(self.texts, self.rewards, strict=True)
        ]
        return json.dumps({"version": self.version, "reflections": entries}, ensure_ascii=False, indent=1)

    @staticmethod
    def parse(text: str) -> "Pool":
        """A pool from what `dump` wrote.

        Raises:
            ValueError: it is something else.
        """
        try:
            held = json.loads(text)
            entries = [(str(entry["reflection"]), float(entry["reward"])) for entry in held["reflections"]]
            version = int(held["version"])
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
            raise ValueError(f"no pool of reflections ({type(error).__name__}: {error})") from None
        if version < 0 or not np.isfinite([reward for _, reward in entries]).all():
            raise ValueError("no pool of reflections: its version is negative or a reward is not finite")
        kept = entries[-CAPACITY:]
        return Pool(tuple(first_words(entry) for entry, _ in kept), tuple(reward for _, reward in kept), version)


def first_words(text: str) -> str:
    """The first words of a text, fewer than twenty, on one line."""
    return plain(" ".join(plain(text, ANSWER).split()[:MOST_WORDS]), 400)


def read_reflection(text: str) -> str:
    """What a critic's answer says.

    Raises:
        AnswerError: it cannot be used; the message says why.
    """
    said = read_object(text[:ANSWER]).get("reflection")
    line = first_words(said) if isinstance(said, str) else ""
    if not line:
        raise AnswerError("empty", "reflection must be a line of text")
    return line


def session_rewards(sessions: Sessions) -> np.ndarray:
    """(N,) total reward of each session: its slates' mean feedback, summed; an empty slot counts as no click."""
    return np.where(sessions.items >= 0, sessions.feedback, 0.0).mean(axis=2).sum(axis=1, dtype=np.float64)


def session_text(sessions: Sessions, row: int) -> str:
    """One session for a critic: its slates' categories with clicks, its length and its reward."""
    going = (sessions.items[row] >= 0).any(axis=1)
    items, feedback = sessions.items[row][going], sessions.feedback[row][going]
    length = int(going.sum())
    lines = []
    for slate, answers in zip(items[-SHOWN_SLATES:], feedback[-SHOWN_SLATES:], strict=True):
        there = slate >= 0
        member = sessions.membership[slate[there]]
        shown, clicks = member.sum(axis=0), answers[there] @ member
        lines.append(", ".join(f"{c}: {clicks[c]:g} of {shown[c]}" for c in np.flatnonzero(shown).tolist()))
    reward = session_rewards(sessions)[row]
    head = f"The session lasted {length} slates; its reward was {reward:.1f}."
    return "\n".join([head, "Its slates, the last at the end (id: clicked of shown):", *lines])
