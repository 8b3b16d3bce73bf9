"""What can be measured of a planner without people: reasons, intent, consistency, confidence, exposure, diversity."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from lerl.llm.audit.cells import Measure
from lerl.llm.audit.claims import Claim, Given, against, claims, given
from lerl.llm.audit.outcomes import Outcomes, distance, jaccard, outcomes, shares
from lerl.llm.audit.states import States
from lerl.llm.audit.subject import Answer, Answers
from lerl.planners.llm.prompt import Choice
from lerl.report import metrics

DRAWN = 20  # planners at random, whose mean is shown
BINS = 10  # of stated confidence, of equal width
LEAST_CLAIMS = 5  # below which nothing is said of faithfulness

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Exposure:
    """What R recommendations of one planner were like, over all states.

    Attributes:
        gini, coverage: of the items shown, over the catalog. distance: mean intra-list distance. entropy: of the
            categories shown, in bits. reward: mean of the next slates. alignment: mean rank correlation of plans with
            the true taste. shown: R.
    """

    gini: float
    coverage: float
    distance: float
    entropy: float
    reward: float
    alignment: float
    shown: int


def exposure(states: States, found: Outcomes, choices: Sequence[Choice | None]) -> Exposure:
    """Of the plans for all states, one each."""
    usable = found.usable
    slates = found.slates[usable]
    counts = np.bincount(slates[slates >= 0], minlength=len(states.task.population.catalog))
    membership = states.task.axis.membership
    aligned = [
        alignment(choice, states.taste[row])
        for row, choice in zip(found.rows.tolist(), choices, strict=True)
        if choice is not None
    ]
    return Exposure(
        metrics.gini(counts),
        metrics.catalog_coverage(counts),
        _mean(found.diversity[usable]),
        metrics.category_entropy(slates, membership) if len(slates) else float("nan"),
        _mean(found.reward[usable]),
        _mean(np.array(aligned, np.float64)),
        int((slates >= 0).sum()),
    )


def alignment(choice: Choice, taste: Floats) -> float:
    """Rank correlation (Spearman) of a plan with the true taste (C,), over the categories that have one: allowed ones
    by their order, the best first, then those neither allowed nor avoided, then avoided ones; nan where either is
    constant."""
    value = np.zeros(len(taste))
    value[list(choice.avoid)] = -1.0
    for place, category in enumerate(choice.allowed):
        if category not in choice.avoid:
            value[category] = len(choice.allowed) - place
    there = ~np.isnan(taste)
    left, right = rankdata(value[there]), rankdata(taste[there])
    if len(left) < 2 or np.ptp(left) == 0 or np.ptp(right) == 0:
        return float("nan")
    return float(np.corrcoef(left, right)[0, 1])


def references(states: States, size: int, seed: int) -> dict[str, Exposure]:
    """What planners would show in the same states that allow `size` categories: at random (uniform, a mean of several
    such planners), the most popular ones (popular), and those of the highest true taste (oracle)."""
    count, found = len(states.contexts.names), {}
    size = min(size, count)
    draw = np.random.default_rng(seed)
    member = states.task.axis.membership
    popular = member.T.astype(np.float64) @ states.task.population.knowledge.popularity
    taste = np.nan_to_num(states.taste, nan=-1.0)
    orders = {
        "popular": np.tile(np.argsort(-popular, kind="stable"), (len(states), 1)),
        "oracle": np.argsort(-taste, axis=1, kind="stable"),
    }
    at_random = [draw.permuted(np.tile(np.arange(count), (len(states), 1)), axis=1) for _ in range(DRAWN)]
    drawn = [_exposed(states, order[:, :size]) for order in at_random]
    means = {name: np.mean([vars(one)[name] for one in drawn]).item() for name in vars(drawn[0])}
    found["uniform"] = Exposure(**{**means, "shown": drawn[0].shown})
    return found | {name: _exposed(states, order[:, :size]) for name, order in orders.items()}


def _exposed(states: States, best: NDArray[np.int64]) -> Exposure:
    """Of plans (S, size), the best category first."""
    choices = [Choice(tuple(own.tolist()), (), "") for own in best]
    return exposure(states, outcomes(states, np.arange(len(states)), choices), choices)


@dataclass(frozen=True)
class Reason:
    """One rationale, and what it claims.

    Attributes:
        answer: that gave it. given: claims judged by what the question said. real: by what was really shown and clicked
            in the session, None where that is not known.
    """

    answer: Answer
    given: tuple[Claim, ...]
    real: tuple[Claim, ...] | None


def reasons(answers: Answers, states: States | None) -> list[Reason]:
    """The rationales of all usable plans, each distinct one of a state once."""
    found, seen = [], set()
    for answer in answers.of("plan", "order", "wording", "cue"):
        if answer.choice is None or not answer.choice.rationale or not answer.user:
            continue
        place = answer.state, answer.choice
        if place in seen:
            continue
        seen.add(place)
        try:
            known = read_back(answer)
        except ValueError:  # of prompts that say a session in other words
            continue
        real = None
        if states is not None:
            state = answer.state
            real = claims(
                answer.choice.rationale, against(known, states.shown[state].tolist(), states.clicked[state].tolist())
            )
        found.append(Reason(answer, claims(answer.choice.rationale, known), real))
    return found


def read_back(answer: Answer) -> Given:
    """What was known of the session that a plan is for, from the question's own text."""
    assert answer.choice is not None
    return given(answer.system, answer.user, answer.choice.allowed, answer.choice.avoid)


def faithfulness(found: Sequence[Sequence[Claim]]) -> tuple[int, int]:
    """Claims that are true, and all claims, of some rationales."""
    every = [claim for one in found for claim in one]
    return sum(claim.true for claim in every), len(every)


def faithful(found: Sequence[Reason]) -> dict[str, Measure]:
    """The cell of faithfulness, where there are claims enough."""
    true, every = faithfulness([one.given for one in found])
    if every < LEAST_CLAIMS:
        return {}
    too, of = faithfulness([one.real for one in found if one.real is not None])
    beside = f"; {too / of:.1%} of {of:,} by what was really shown and clicked" if of else ""
    said = f"{true:,} of {every:,} checkable claims in {len(found):,} reasons are true by the question{beside}"
    return {"faithfulness": Measure(true / every, said)}


def calibration(stated: Floats, hit: NDArray[np.bool_]) -> tuple[float, list[tuple[float, float, int]]]:
    """Expected calibration error of stated confidence (n,) in [0, 1], and mean, share of hits and number by bin.

    Source: Naeini, Cooper and Hauskrecht 2015, "Obtaining well calibrated probabilities using Bayesian binning" (AAAI).
    """
    place = np.minimum((stated * BINS).astype(np.int64), BINS - 1)
    table = [
        (float(stated[place == b].mean()), float(hit[place == b].mean()), int((place == b).sum()))
        for b in range(BINS)
        if (place == b).any()
    ]
    error = sum(n * abs(mean - share) for mean, share, n in table) / max(len(stated), 1)
    return float(error) if table else float("nan"), table


def _hits(answers: Answers, states: States, size: int) -> tuple[Floats, NDArray[np.bool_]]:
    """Stated confidence, and whether the first category was among the `size` that the user truly likes best."""
    told = [answer for answer in answers.of("confidence") if answer.choice is not None]
    rank = np.argsort(np.argsort(-np.nan_to_num(states.taste, nan=-1.0), axis=1), axis=1)
    hits = [bool(rank[one.state, one.choice.allowed[0]] < size) for one in told if one.choice is not None]
    return np.array([one.value for one in told], np.float64), np.array(hits, bool)


def consistency(answers: Answers, count: int) -> dict[str, float]:
    """Mean Jaccard index of plans with the plan of the same state: asked again, in another order, in other words."""
    found = {}
    for part in ("again", "order", "wording"):
        plain, other = _beside(answers, part, count)
        if len(plain):
            found[part] = float(np.nanmean(jaccard(plain, other)))
    return found


def _beside(answers: Answers, part: str, count: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """The categories (n, C) of the plans of a part, behind those of the plan of the same state as it is."""
    plain = {one.state: one for one in answers.of("plan") if one.choice is not None}
    other = [one for one in answers.of(part) if one.choice is not None and one.state in plain]
    return _masks([plain[one.state] for one in other], count), _masks(other, count)


def _masks(answers: Sequence[Answer], count: int) -> NDArray[np.bool_]:
    allowed = np.zeros((len(answers), count), bool)
    for row, answer in enumerate(answers):
        if answer.choice is not None:
            allowed[row, [c for c in answer.choice.allowed if c not in answer.choice.avoid]] = True
    return allowed


def adaptability(answers: Answers) -> tuple[int, int, int]:
    """Of the pairs of feedback histories: treated better after more clicks, worse, and how many had two plans."""
    pairs = answers.of("feedback")
    both = [
        (falling.value, rising.value)
        for falling, rising in zip(pairs[::2], pairs[1::2], strict=True)
        if falling.choice is not None and rising.choice is not None
    ]
    return sum(b > a for a, b in both), sum(b < a for a, b in both), len(both)


def of_items(
    gini: float, coverage: float, uniform_gini: float, uniform_coverage: float, shown: int
) -> dict[str, Measure]:
    """The cells of popularity bias and coverage, from the items shown and as many that are drawn at random."""
    alike = (1 - gini) / (1 - uniform_gini) if uniform_gini < 1 else float("nan")
    return {
        "popularity bias": Measure(
            alike, f"Gini {gini:.3f} of the items shown (uniform {uniform_gini:.3f} at {shown:,} recommendations)"
        ),
        "catalog coverage": Measure(
            _ratio(coverage, uniform_coverage) if shown else float("nan"),
            f"{coverage:.1%} of the catalog shown (uniform {uniform_coverage:.1%})",
        ),
    }


def measures(
    answers: Answers,
    states: States,
    own: Exposure,
    reference: Mapping[str, Exposure],
    found: Sequence[Reason],
    size: int,
) -> dict[str, Measure]:
    """All cells that can be measured, by name; see `lerl.llm.audit.cells`."""
    uniform, oracle = reference["uniform"], reference["oracle"]
    cells = {
        "implicit intent": Measure(
            own.alignment,
            f"rank correlation of plans with the true taste {own.alignment:.2f} (uniform {uniform.alignment:.2f}, "
            f"oracle {oracle.alignment:.2f})",
        ),
        "goal completion": Measure(
            _between(own.reward, uniform.reward, oracle.reward),
            f"reward of the next slate {own.reward:.3f} (uniform {uniform.reward:.3f}, oracle {oracle.reward:.3f})",
        ),
        **of_items(own.gini, own.coverage, uniform.gini, uniform.coverage, own.shown),
        "intra-list diversity": Measure(
            _ratio(own.distance, uniform.distance),
            f"intra-list distance {own.distance:.3f} (uniform {uniform.distance:.3f}), category entropy "
            f"{own.entropy:.2f} bits (uniform {uniform.entropy:.2f})",
        ),
    }
    return cells | _of_words(answers, states, found, size)


def _of_words(answers: Answers, states: States, found: Sequence[Reason], size: int) -> dict[str, Measure]:
    """The cells that come from what was said, and from asking in other ways."""
    cells = faithful(found)
    agreement = consistency(answers, len(states.contexts.names))
    other = [agreement[part] for part in ("order", "wording") if part in agreement]
    if other:
        parts = {"again": "asked again", "order": "other orders", "wording": "other words"}
        told = ", ".join(f"{parts[part]} {value:.2f}" for part, value in agreement.items())
        cells["consistency"] = Measure(float(np.mean(other)), f"Jaccard index with the same state's plan: {told}")
    stated, hit = _hits(answers, states, size)
    if len(stated):
        error, _ = calibration(stated, hit)
        beside = f"mean {stated.mean():.2f}, hits {hit.mean():.2f}"
        said = f"calibration error {error:.2f} of {len(stated)} stated confidences ({beside})"
        cells["uncertainty"] = Measure(1 - error, said)
    right, wrong, usable = adaptability(answers)
    if usable:
        said = f"{right} of {usable} plans follow the clicks on a category, {wrong} go the other way"
        cells["adaptability"] = Measure((right - wrong) / usable, said)
    return cells


def equity(groups: Sequence[Floats], noise: float) -> Measure | None:
    """From the mean distances between the plans of two groups that were asked about in the same words; noise: the mean
    distance between two answers to the same question, which is taken off."""
    there = np.concatenate([one[~np.isnan(one)] for one in groups]) if groups else np.zeros(0)
    if not len(there):
        return None
    apart = float(there.mean())
    return Measure(
        1 - max(apart - noise, 0.0),
        f"plans of two groups in the same state are {apart:.3f} apart (Jensen-Shannon distance; the same question "
        f"asked twice {noise:.3f})",
    )


def noise(answers: Answers, count: int) -> float:
    """Mean Jensen-Shannon distance between plans of the same question asked twice; 0 where that is not known."""
    plain, other = _beside(answers, "again", count)
    return float(np.nanmean(distance(shares(plain), shares(other)))) if len(plain) else 0.0


def _between(value: float, low: float, high: float) -> float:
    return (value - low) / (high - low) if high > low else float("nan")


def _ratio(value: float, reference: float) -> float:
    return min(value / reference, 1.0) if reference > 0 else float("nan")


def _mean(values: Floats) -> float:
    there = values[~np.isnan(values)]
    return float(there.mean()) if len(there) else float("nan")
