"""What a chat model is asked before a plan, and what of its answer is believed.

A question has a part that is the same for everybody (the instructions, the categories, the reflections), which comes
first so that endpoints can reuse it, and the state of one session. States are rounded, so that those that look alike
are one question; `detail` says how far.
"""

import hashlib
import json
import math
import os
import re
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lerl.envs.files import refuse_endless
from lerl.envs.text import plain, quoted
from lerl.planners.base import PlanContexts
from lerl.planners.satiation import Satiation, tiredness

TEXTS = Path(__file__).resolve().parent / "prompts"
FILES = {"plan.txt": ("slate_size", "size", "categories", "reflections"), "reflect.txt": ("categories",)}
HISTORY_SLATES = 5  # of the history, as in the source method
ANSWER = 20_000  # characters of an answer that are looked at
EXPOSURES = np.array([0.0, 0.7, 1.5, 3.0])  # slates of a category behind each word below
EXPOSURE_WORDS = ("none", "light", "medium", "heavy")
TIRED = np.array([0.0, 0.5, 1.0, 2.0])  # log-odds that boredom costs, as the same words
UNSURE = 0.5  # log-odds; a standard deviation from which on an estimate is called unsure
CTR_WORDS = ("best", "good", "fair", "poor")  # a step is one of log-odds below the user's best category

BEGINNING = re.compile(
    r"<(?:\w+:)?(?:think|thinking|thoughts?|reasoning)>|\[THINK\]|\u25c1think\u25b7|<\|START_THINKING\|>"
    r"|(?:<\|start\|>assistant)?<\|channel\|>analysis",
    re.IGNORECASE,
)
END = re.compile(
    r"</(?:\w+:)?(?:think|thinking|thoughts?|reasoning)>|\[/THINK\]|\u25c1/think\u25b7|<\|END_THINKING\|>"
    r"|<\|channel\|>final[^{]{0,99}<\|message\|>",
    re.IGNORECASE,
)

AVOIDED = 20  # most categories that a model is let name in avoid, of those that a plan leaves over
LINE = 120  # characters of a rationale that a model is let write


def line_schema(length: int) -> dict[str, Any]:
    """JSON schema of a text on one line, of at most so many characters; small models would never end it otherwise."""
    return {"type": "string", "pattern": rf'^[^"\\\n]{{1,{length}}}$'}


def plan_schema(categories: int, size: int) -> dict[str, Any]:
    """JSON schema of an answer, the same for a whole run; `read_answer` checks all that it says and more.

    Args:
        categories: how many there are. size: most that may be allowed.
    """
    ids = {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": categories - 1}}
    parts = {
        "state": {"type": "string", "pattern": "^[0-9a-f]{6}$"},
        "rationale": line_schema(LINE),
        "allowed": ids | {"minItems": 1, "maxItems": size},
        "avoid": ids | {"maxItems": max(min(categories - size, AVOIDED), 0)},
    }
    return {
        "title": "plan",
        "description": "Which categories to show next.",
        "type": "object",
        "properties": parts,
        "required": list(parts),
        "additionalProperties": False,
    }


class PromptError(ValueError):
    """A prompt file that cannot be used; the message names it and says what to do."""


class AnswerError(ValueError):
    """An answer that is no plan.

    Attributes:
        cause: one or two words, for counting.
    """

    def __init__(self, cause: str, message: str) -> None:
        super().__init__(message)
        self.cause = cause


class Prompts:
    """The texts of the questions, lerl's own or those of a user's folder.

    Args:
        folder: holds plan.txt and reflect.txt, either of which may be missing; none for lerl's own.

    Attributes:
        digest: SHA-256 of the texts in use, 16 hexadecimal digits.

    Raises:
        PromptError: the folder holds neither, or a text lacks a part that has to be filled in.
    """

    def __init__(self, folder: str | None = None) -> None:
        self.texts = {name: _text(name, folder) for name in FILES}
        if folder is not None and not any(_own(name, folder) for name in FILES):
            raise PromptError(
                f"planner.prompts is {folder}, which holds none of {', '.join(FILES)}; copy them from {TEXTS}"
            )
        self.digest = hashlib.sha256("\0".join(self.texts.values()).encode()).hexdigest()[:16]

    def plan(self, names: tuple[str, ...], slate_size: int, size: int, reflections: tuple[str, ...]) -> str:
        """The part of a question that is the same for everybody."""
        lines = "\n".join(f"- {quoted(text, 200)}" for text in reflections) or "- none yet"
        parts = {"slate_size": slate_size, "size": size, "categories": listed(names), "reflections": lines}
        return Template(self.texts["plan.txt"]).substitute(parts)

    def reflect(self, names: tuple[str, ...]) -> str:
        """What a critic is given before a session."""
        return Template(self.texts["reflect.txt"]).substitute(categories=listed(names))


def _own(name: str, folder: str) -> bool:
    return os.path.lexists(Path(folder) / name)


def _text(name: str, folder: str | None) -> str:
    path = Path(folder) / name if folder is not None and _own(name, folder) else TEXTS / name
    try:
        refuse_endless(path)
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PromptError(f"{path} cannot be read: {error}") from error
    template = Template(text)
    given = set(template.get_identifiers()) if template.is_valid() else set()
    if not template.is_valid() or not {"categories"} <= given <= set(FILES[name]):
        allowed = ", ".join(f"${part}" for part in FILES[name])
        raise PromptError(f"{path} must hold $categories, may hold {allowed}, and needs $$ for a dollar sign")
    return text


def listed(names: tuple[str, ...]) -> str:
    """Categories by id, one a line."""
    return "\n".join(f"{number}: {quoted(name)}" for number, name in enumerate(names))


@dataclass(frozen=True)
class States:
    """What a question says of B sessions, rounded.

    Attributes:
        predicted_ctr: (B, C) percent. exposure: (B, C), in slates. Both are numbers of words where detail is coarse.
        shown, clicked, predicted: (B, C), of the last 20 slates; None where detail is coarse.
        history: (B) lines on the last slates, oldest first; empty where detail is coarse.
        candidates: (B, C) bool, categories that may be allowed.
        size: most categories of a plan.
        believed: (2, B, C), percent of clicks that boredom leaves, and by how many percent the CTR may be off; where
            detail is coarse numbers of words, and whether it is unsure. None above agents without a belief.
    """

    predicted_ctr: NDArray[np.int64]
    exposure: NDArray[np.float64]
    shown: NDArray[np.int64] | None
    clicked: NDArray[np.int64] | None
    predicted: NDArray[np.float64] | None
    history: tuple[tuple[str, ...], ...]
    candidates: NDArray[np.bool_]
    size: int
    believed: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.predicted_ctr)

    @cached_property
    def keys(self) -> list[bytes]:
        """What distinguishes states, one for each session."""
        numbers = [self.predicted_ctr, np.rint(10 * self.exposure)]
        if self.shown is not None and self.clicked is not None and self.predicted is not None:
            there = self.shown > 0
            numbers += [self.shown, np.where(there, self.clicked, 0), np.where(there, np.rint(10 * self.predicted), 0)]
        numbers += [] if self.believed is None else [*self.believed]
        given = [np.where(self.candidates, part, 0) for part in numbers]  # of the others a question says nothing
        rows = np.concatenate([self.candidates, *given], axis=1).astype(np.int32)
        lines = self.history or ((),) * len(self)
        return [row.tobytes() + "\n".join(line).encode() for row, line in zip(rows, lines, strict=True)]

    def text(self, row: int) -> str:
        """The question on one session, without its code."""
        lines = [self._line(row, category) for category in np.flatnonzero(self.candidates[row]).tolist()]
        if self.history:
            past = self.history[row] or ("nothing yet",)
            lines += ["The last slates, oldest first (id: clicked of shown):", *past]
        return "\n".join([*lines, f"Allow at most {self.size} of these."])

    def _line(self, row: int, category: int) -> str:
        # The words of questions, "liking" and "promised" with them, stay as they are: recorded answers and caches are
        # kept under a hash of the whole question.
        predicted_ctr, exposure = self.predicted_ctr[row, category], self.exposure[row, category]
        if self.shown is None or self.clicked is None or self.predicted is None:
            line = f"{category}: liking {CTR_WORDS[predicted_ctr]}, exposure {EXPOSURE_WORDS[int(exposure)]}"
            if self.believed is None:
                return line
            tired, unsure = self.believed[:, row, category]
            return f"{line}, tiredness {EXPOSURE_WORDS[tired]}, liking is {'unsure' if unsure else 'sure'}"
        line = f"{category}: liking {predicted_ctr}%, exposure {exposure:.1f}"
        if self.believed is not None:
            left, off = self.believed[:, row, category]
            line = f"{line}, tiredness leaves {left}%, give or take {off}%"
        if not self.shown[row, category]:
            return line
        return (
            f"{line}, shown {self.shown[row, category]}, clicked {self.clicked[row, category]}, "
            f"promised {self.predicted[row, category]:.1f}"
        )


def look(contexts: PlanContexts, size: int, detail: str, candidates: int | None) -> States:
    """What questions may say of sessions.

    Args:
        contexts: the sessions. size: most categories of a plan.
        detail: "full", or "coarse" for CTR, beside the user's best, and exposure in four words each, nothing else.
        candidates: how many categories are offered, those of highest predicted CTR and of the last slates; None for
        all.
    """
    exposure = tiredness(contexts, _plain(len(contexts.names)))[0]
    chance = np.clip(contexts.predicted_ctr.astype(np.float64), 0.001, 0.999)
    offered = _candidates(contexts, exposure, max(candidates, size) if candidates is not None else None)
    if detail == "coarse":
        odds = np.where(offered, np.log(chance / (1 - chance)), -np.inf)
        below = np.clip(odds.max(axis=1, keepdims=True) - odds, 0, len(CTR_WORDS) - 1)
        words = np.abs(exposure[:, :, None] - EXPOSURES).argmin(axis=2)
        rounded, believed = np.rint(below).astype(np.int64), _believed(contexts, chance, coarse=True)
        return States(rounded, words.astype(np.float64), None, None, None, (), offered, size, believed)
    shown, clicked, predicted = _lately(contexts)
    return States(
        np.rint(100 * chance).astype(np.int64),
        np.round(exposure, 1),
        np.rint(shown).astype(np.int64),
        np.rint(clicked).astype(np.int64),
        np.round(predicted, 1),
        _history(contexts),
        offered,
        size,
        _believed(contexts, chance, coarse=False),
    )


def _believed(contexts: PlanContexts, chance: NDArray[np.float64], coarse: bool) -> NDArray[np.int64] | None:
    """What is believed of categories, as `States` has it; chance: (B, C), of a click before boredom."""
    tired, spread = contexts.tiredness, contexts.uncertainty
    if tired is None or spread is None:
        return None
    if coarse:
        words = np.abs(tired[:, :, None] - TIRED).argmin(axis=2)
        return np.stack([words, spread >= UNSURE]).astype(np.int64)
    odds = chance / (1 - chance) * np.exp(-tired.astype(np.float64))
    return np.rint(100 * np.stack([odds / (1 + odds), spread * chance * (1 - chance)])).astype(np.int64)


def _plain(categories: int) -> Satiation:
    """Under which tiredness is exposure itself, fading over 8 steps."""
    return Satiation(0.0, 1.0, np.eye(categories), math.exp(-1 / 8.0))


def _candidates(contexts: PlanContexts, exposure: NDArray[np.float64], count: int | None) -> NDArray[np.bool_]:
    """Categories that have something left; of those the `count` of highest predicted CTR, and those shown of late."""
    left = contexts.predicted_ctr > 0
    left[~left.any(axis=1)] = True
    if count is None or count >= left.shape[1]:
        return left
    rank = np.argsort(np.argsort(-np.where(left, contexts.predicted_ctr, -1.0), axis=1, kind="stable"), axis=1)
    return left & ((rank < count) | (exposure > 0.5))


def _lately(contexts: PlanContexts) -> NDArray[np.float64]:
    """(3, B, C) items shown of each category in the slates remembered, clicks on them, and clicks predicted of them."""
    there = contexts.recent_items >= 0
    member = contexts.recent_categories.astype(np.float64)
    sums = [there, np.where(there, contexts.recent_feedback, 0.0), np.where(there, contexts.recent_estimates, 0.0)]
    return np.stack([np.einsum("bh,bhc->bc", part.astype(np.float64), member) for part in sums])


def _history(contexts: PlanContexts) -> tuple[tuple[str, ...], ...]:
    """For each session, a line on each of the last slates."""
    last = slice(-HISTORY_SLATES * contexts.slate_size, None)
    member, feedback = contexts.recent_categories[:, last], contexts.recent_feedback[:, last]
    slates = (len(contexts), member.shape[1] // contexts.slate_size, contexts.slate_size)
    shown = member.reshape(*slates, -1).sum(axis=2)
    clicks = np.einsum("bsk,bskc->bsc", feedback.reshape(slates), member.reshape(*slates, -1).astype(np.float32))
    places = np.nonzero(shown)
    lines: list[dict[int, list[str]]] = [{} for _ in range(len(contexts))]
    for row, slate, c, count, clicked in zip(
        *(part.tolist() for part in (*places, shown[places], clicks[places])), strict=True
    ):
        lines[row].setdefault(slate, []).append(f"{c}: {clicked:g} of {count}")
    return tuple(tuple(map(", ".join, of.values())) for of in lines)


@dataclass(frozen=True)
class Choice:
    """An answer that can be used: category ids, the best first, and one line of reasons."""

    allowed: tuple[int, ...]
    avoid: tuple[int, ...]
    rationale: str


def read_answer(text: str, code: str, candidates: NDArray[np.bool_], size: int) -> Choice:
    """What an answer says.

    Args:
        text: as the model wrote it. code: of the state it was asked about.
        candidates: (C,) bool, which categories were offered. size: most that may be allowed.

    Raises:
        AnswerError: it cannot be used; the message says why, in words for the model.
    """
    answer = read_object(text)
    state = answer.get("state")
    if not isinstance(state, str) or state.strip().lower() != code:
        raise AnswerError("other state", f"state must be {code!r}, copied from the question")
    allowed, avoid = (_ids(answer, part, candidates) for part in ("allowed", "avoid"))
    if not allowed:
        raise AnswerError("empty", "allowed must name at least one category")
    if len(allowed) > size:
        raise AnswerError("too many", f"allowed must name at most {size} categories, given {len(allowed)}")
    if set(allowed) <= set(avoid):
        raise AnswerError("empty", "every allowed category is avoided; allow one that is not")
    rationale = answer.get("rationale")
    reason = plain(rationale, 200) if isinstance(rationale, str) else ""
    return Choice(allowed, avoid, reason)


def read_object(text: str) -> dict[str, Any]:
    """The JSON object that an answer is, or that is the only one in it, behind thoughts or between words.

    Raises:
        AnswerError: it holds none, or more than one.
    """
    if len(text) > ANSWER:
        raise AnswerError("too long", f"the answer must have at most {ANSWER:,} characters, given {len(text):,}")
    said = text.strip().lstrip("\ufeff")
    # Of thoughts some servers leave out the beginning; one of them, or a rationale, may speak of their end.
    behind = [END.split(said, 1)[-1], END.split(said)[-1]]
    for part in (said, *behind):
        with suppress(ValueError, RecursionError):
            return _unwrapped(json.loads(part))
    if BEGINNING.match(behind[-1].strip()):
        raise AnswerError("only thoughts", "the answer must not end before its thoughts do")
    for part in behind:
        with suppress(ValueError, RecursionError):
            return _unwrapped(json.loads(part[part.find("{") : part.rfind("}") + 1]))
    raise AnswerError("not JSON", f"the answer must be one JSON object and nothing else ({_wrong(said)})")


def _wrong(text: str) -> str:
    """Why a text is no JSON object, in words for the model."""
    try:
        return f"it is a JSON {type(json.loads(text)).__name__}"
    except (ValueError, RecursionError) as error:
        return str(error)


def _unwrapped(answer: Any) -> dict[str, Any]:
    """An object, also as the only entry of a list or of another object, or as JSON in a text of JSON."""
    if isinstance(answer, str):
        answer = json.loads(answer)
    if isinstance(answer, list) and len(answer) == 1:
        answer = answer[0]
    if isinstance(answer, dict) and len(answer) == 1:
        (inner,) = answer.values()
        answer = inner if isinstance(inner, dict) else answer
    if not isinstance(answer, dict):
        raise ValueError("no object")
    return answer


def _ids(answer: dict[str, Any], part: str, candidates: NDArray[np.bool_]) -> tuple[int, ...]:
    given = answer.get(part)
    ids = [_id(entry) for entry in given] if isinstance(given, list) else [None]
    known = [entry for entry in ids if entry is not None]
    if len(known) < len(ids):
        raise AnswerError("wrong type", f"{part} must be a list of category ids, whole numbers")
    wrong = [entry for entry in known if not 0 <= entry < len(candidates) or not candidates[entry]]
    if wrong:
        raise AnswerError("unknown id", f"{part} names {wrong[0]}, which is none of the ids in the question")
    return tuple(dict.fromkeys(known))


def _id(entry: Any) -> int | None:
    """A whole number, also as "5", 5.0 or "5.0"; None where it is none."""
    if isinstance(entry, str) and re.fullmatch(r"\s*[0-9]{1,9}(?:\.0+)?\s*", entry, re.ASCII):
        return int(float(entry))
    if type(entry) is float and entry.is_integer():
        return int(entry)
    return entry if type(entry) is int else None
