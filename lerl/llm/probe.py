"""Whether a chat model's plans react to feedback: pairs of histories that differ in the clicks on one category only.

In one history of a pair a category is shown in four slates and clicked less and less, in the other more and more: where
the one has f clicks on six items, the other has 6 - f, which are more in all. The user, the items and all other
feedback are the same.
"""

import json
import tempfile
import warnings
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit

from lerl.envs.catalog import Axis
from lerl.envs.text import quoted
from lerl.planners.base import PlanContexts
from lerl.planners.config import PlannerConfig
from lerl.planners.llm.guard import Guard
from lerl.planners.llm.planner import LLMPlanner
from lerl.planners.llm.prompt import Choice, Prompts
from lerl.planners.llm.traffic import Asked

NAMES = (
    ("Drama", "Comedy", "Thriller", "Action", "Romance", "Documentary", "Animation", "Horror"),
    ("History", "Cooking", "Travel", "Poetry", "Crime", "Fantasy", "Biography", "Science"),
    ("Jazz", "Rock", "Classical", "Hip-Hop", "Folk", "Electronic", "Country", "Metal"),
    ("Politics", "Sport", "Business", "Health", "Culture", "Technology", "Weather", "Local news"),
)
SIZE = 4  # categories that a plan may allow, of eight
SHOWN = 6  # items of a category in a slate
FALLING = ((5, 3, 1, 0), (4, 2, 1, 0), (3, 2, 1, 0))  # clicks; the rising history has the rest of the six
CHANCES = (0.5, 0.6, 0.7, 0.8)  # of a click on an item of the category
OTHERS = np.linspace(-3.0, 0.0, len(NAMES[0]) - 1)  # log-odds of a click in the other categories
UNUSABLE = (
    "it answers, but not with a plan as the JSON schema wants it; take another model, or, where this one thinks "
    "before it answers, give more --answer-tokens and a longer --timeout"
)
REMEDIES = {
    "http": "see whether --base-url is the endpoint's, and what that takes",
    "http 400": "see whether --model is right, and takes --temperature and --answer-tokens as they are",
    "http 3": "give --base-url the address that it redirects to, if that is one that your key may go to",
    "http 401": "see whether the key in the environment is the endpoint's (OPENAI_API_KEY for openai:NAME)",
    "http 402": "the account behind the key has nothing left to pay with",
    "http 403": "see whether the key in the environment may use --model",
    "http 404": "see whether --model is the endpoint's name for it, and --base-url its address",
    "http 407": "a proxy wants a user and a password: give HTTP_PROXY or HTTPS_PROXY as http://USER:PASSWORD@HOST:PORT",
    "http 413": "its questions are too long for the endpoint, or for a proxy in between",
    "http 429": "the endpoint is busy, or its quota is spent; give a smaller --concurrency, or try again later",
    "http 5": "the fault is the endpoint's; see its log, or try again later",
    "connection": "see whether the endpoint is up, and --base-url its address",
    "compressed": "see whether a proxy in between compresses answers, and turn that off",
    "timeout": "give a longer --timeout",
    "oversized": "take another model or endpoint: its answers are larger than a plan can be",
    "only thoughts": "it thinks before it answers: give more --answer-tokens and a longer --timeout",
    "no answer": "see whether --base-url is the address of an endpoint that speaks the protocol of --model",
}
"""What to do about a cause, or about one that begins so."""


class ProbeError(ValueError):
    """A model that gave no answer; the message says why."""


@dataclass(frozen=True)
class Probed:
    """What came of a probe.

    Attributes:
        model: its name. pairs: how many were sent. usable: pairs of which both answers could be used.
        right: pairs whose plan treats the category better after rising than after falling feedback. wrong: worse.
        unusable: answers that could not be used, by cause. example: one of them, empty where there is none.
        share, low, high: right among the usable, with a 95 % interval (Clopper and Pearson). wrong_share: wrong among
            them.
        sign_low: lower end of the 95 % interval of right among right and wrong, above 0.5 where the model reacts.
        calls, prompt_tokens, completion_tokens: that it took.
        adapted: what was changed in requests for the endpoint to take them.
    """

    model: str
    pairs: int
    usable: int
    right: int
    wrong: int
    unusable: dict[str, int]
    example: str
    share: float
    low: float
    high: float
    wrong_share: float
    sign_low: float
    calls: int
    prompt_tokens: int
    completion_tokens: int
    adapted: tuple[str, ...] = ()

    @property
    def reacts(self) -> bool:
        """Whether it reacts the right way more often than the wrong way, by an exact sign test at 5 %."""
        return self.sign_low > 0.5


def probe(settings: PlannerConfig, pairs: int, seed: int) -> Probed:
    """Ask a model about pairs of histories, as a run does.

    Args:
        settings: of the model; size, detail and candidates are the probe's own. pairs: how many. seed: of the users.

    Raises:
        ChatError: the settings name no usable model.
        ProbeError: no answer could be used.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "traffic.sqlite"
        with closing(Guard(settings, Prompts(settings.prompts).digest, path)) as guard:
            guard.phase = "probe"
            full = replace(settings, size=SIZE, detail="full", candidates=None)
            planner = LLMPlanner(SIZE, seed, full, guard)
            draw = np.random.default_rng(seed)
            made = [pair(number, draw) for number in range(pairs)]
            questions = [question for contexts, _ in made for question in planner.questions(contexts)]
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of a rule that plans in the model's place: here nothing does
                answers = guard.ask(questions)
            report = guard.report() | {"adapted": guard.adapted}
    treated = [
        None if answer.cause else treatment(question.check(answer.text), made[number // 2][1])
        for number, (question, answer) in enumerate(zip(questions, answers, strict=True))
    ]
    causes = Counter(answer.cause for answer in answers if answer.cause)
    if causes.total() == len(answers):
        counted = ", ".join(f"{count} {fault}" for fault, count in report["faults"].items())
        often = max(report["faults"], key=report["faults"].get, default=answers[0].cause)
        of_it = [answer for answer in answers if answer.cause == often] or answers
        raise ProbeError(
            f"{settings.model} gave no usable answer to any of {len(answers)} questions ({counted})"
            f"{_said(of_it)}; {_remedy(often)}"
        )
    example = next((answer.text for answer in answers if answer.cause and answer.text), "")
    return _judged(settings.model or "", treated, causes, report, example)


def _said(answers: Sequence[Asked]) -> str:
    """An answer that could not be used, or what an endpoint said of an error; empty where nothing came."""
    text = next((answer.text for answer in answers if answer.text), "")
    return f", such as {quoted(text, 200)}" if text else ""


def _remedy(cause: str) -> str:
    """What to do where no answer could be used, by the cause of one."""
    kinds = (cause, cause[: len("http 5")], cause.partition(" ")[0])
    return next((REMEDIES[kind] for kind in kinds if kind in REMEDIES), UNUSABLE)


def _judged(
    model: str, treated: Sequence[Any], causes: Counter[str], report: dict[str, Any], example: str = ""
) -> Probed:
    from scipy.stats import binomtest

    both = [(a, b) for a, b in zip(treated[::2], treated[1::2], strict=True) if a is not None and b is not None]
    right, wrong = sum(rising > falling for falling, rising in both), sum(rising < falling for falling, rising in both)
    share = binomtest(right, len(both)).proportion_ci() if both else None
    signs = binomtest(right, right + wrong).proportion_ci() if right + wrong else None
    return Probed(
        model,
        len(treated) // 2,
        len(both),
        right,
        wrong,
        dict(sorted(causes.items())),
        example,
        right / max(len(both), 1),
        float(share.low) if share else 0.0,
        float(share.high) if share else 1.0,
        wrong / max(len(both), 1),
        float(signs.low) if signs else 0.0,
        report["calls"],
        report["prompt_tokens"],
        report["completion_tokens"],
        tuple(report.get("adapted", ())),
    )


def treatment(choice: Choice, category: int) -> tuple[int, int]:
    """How a plan treats a category, the better the larger: its place among the allowed, neither, or avoided."""
    if category in choice.avoid:
        return 0, 0
    return (2, -choice.allowed.index(category)) if category in choice.allowed else (1, 0)


def pair(number: int, draw: np.random.Generator) -> tuple[PlanContexts, int]:
    """Two sessions of one user after four slates, falling and rising, and the category that they are about.

    Half of each slate is of the category, the other half of another one each time, half of which is clicked.
    """
    names = NAMES[number % len(NAMES)]
    count, slates = len(names), len(FALLING[0])
    category, *others = draw.permutation(count).tolist()
    chance = np.empty(count)
    chance[category] = CHANCES[number // len(NAMES) % len(CHANCES)]
    chance[others] = expit(draw.permutation(OTHERS))
    each = slates * SHOWN  # items of each category
    items = np.array(
        [[group * each + slate * SHOWN + slot for group in (category, others[slate]) for slot in range(SHOWN)]
         for slate in range(slates)]
    )  # fmt: skip
    falling = np.array(FALLING[number % len(FALLING)])
    clicks = np.stack([falling, SHOWN - falling])  # (2, slates)
    feedback = np.zeros((2, slates, 2, SHOWN), np.float32)
    feedback[:, :, 0] = np.arange(SHOWN) < clicks[:, :, None]
    feedback[:, :, 1] = np.arange(SHOWN) < SHOWN // 2
    member = np.repeat(np.eye(count, dtype=bool), each, axis=0)
    shown, answers = items.ravel(), feedback.reshape(2, -1)
    counts = np.repeat(member[shown].sum(axis=0)[None], 2, axis=0)
    mean = np.where(counts > 0, answers @ member[shown] / np.maximum(counts, 1), -1.0)
    contexts = PlanContexts(
        axis=Axis(names, member),
        slate_size=2 * SHOWN,
        session_key=np.arange(2, dtype=np.uint64),
        steps=np.full(2, slates),
        plans=np.full(2, slates),
        predicted_ctr=np.repeat(chance[None], 2, axis=0).astype(np.float32),
        counts=counts.astype(np.float32),
        feedback=mean.astype(np.float32),
        recent_items=np.repeat(shown[None], 2, axis=0).astype(np.int32),
        recent_feedback=answers,
        recent_estimates=np.repeat((member[shown] @ chance)[None], 2, axis=0).astype(np.float32),
    )
    return contexts, category


def as_json(found: Probed) -> str:
    """All of it, for programs."""
    return json.dumps(asdict(found) | {"reacts": found.reacts}, indent=1)


def rows(found: Probed) -> list[tuple[str, str]]:
    """What to print."""
    interval = f" [{found.low:.2f}, {found.high:.2f}]" if found.usable else ""
    causes = ", ".join(f"{count} {cause}" for cause, count in found.unusable.items()) or "none"
    return [
        ("model", found.model),
        ("pairs", f"{found.pairs}, of which {found.usable} with two usable answers"),
        ("reacting", f"{found.share:.2f}{interval}, {found.right} pairs"),
        ("the wrong way", f"{found.wrong_share:.2f}, {found.wrong} pairs"),
        ("unusable answers", causes),
        *([("such as", quoted(found.example, 200))] if found.example else []),
        *([("asked with", "; ".join(found.adapted))] if found.adapted else []),
        ("asked", f"{found.calls} calls, {found.prompt_tokens + found.completion_tokens:,} tokens"),
        ("verdict", "reacts: its plans follow feedback" if found.reacts else NO),
    ]


NO = "does not react: nothing shows that its plans follow feedback, so expect no better ones than without it"
