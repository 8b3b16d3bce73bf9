"""How well models of users predict what held-out users did: tables, intervals and a picture."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numba import njit
from numpy.typing import NDArray
from rich.table import Table

from lerl.envs.draws import seed_from
from lerl.report.intervals import percentiles
from lerl.report.palette import BLUE, GREY, INK, ORANGE, PALE
from lerl.report.style import STYLE, save
from lerl.users.events import Events

DRAWS = 1000
BINS, EVENTS_PER_BIN = 15, 30
LATER_SHARE = 0.15
REFERENCE = "running means"
"""The strong baseline, which gains are over."""

Floats = NDArray[np.float64]
COLOURS = {REFERENCE: GREY, "boosted trees": BLUE}


@dataclass(frozen=True)
class ScoreEstimate:
    """A number with its 95 % interval; not a number where it is not defined."""

    value: float
    low: float
    high: float

    def text(self, digits: int, sign: bool = False) -> str:
        """The number and, in brackets, its interval."""
        one = f"{'+' if sign else ''}.{digits}f"
        return f"{self.value:{one}} [{self.low:{one}}, {self.high:{one}}]"


@dataclass(frozen=True)
class Score:
    """How well one model predicts one group of events.

    Attributes:
        model: its name.
        auc: chance that a click is ranked above another event.
        gain: of the AUC over the strong baseline's, paired.
        log_loss: mean of -log(chance given to what happened).
        log_loss_gain: by how much that is less than the strong baseline's, paired.
        calibration_error: see `calibration_error`.
    """

    model: str
    auc: ScoreEstimate
    gain: ScoreEstimate
    log_loss: ScoreEstimate
    log_loss_gain: ScoreEstimate
    calibration_error: ScoreEstimate


@dataclass(frozen=True)
class Group:
    """Some of the held-out users' events.

    Attributes:
        name: what they have in common.
        events, users, clicks: how many.
        scores: one per model; none where there are no clicks, or nothing else.
        over: the judged model's AUC over that of each baseline, paired.
    """

    name: str
    events: int
    users: int
    clicks: int
    scores: tuple[Score, ...]
    over: dict[str, ScoreEstimate]


@dataclass(frozen=True)
class Judgement:
    """What `judge` found.

    Attributes:
        model: whose fit is judged; the others are what it is compared with.
        groups: all events, later time, first-time items, and perhaps all events with their items hidden.
        curves: (2, bins) of each model, mean prediction and share of clicks in bins of equal mass, for the picture.
    """

    model: str
    groups: tuple[Group, ...]
    curves: dict[str, Floats]


def judge(
    events: Events,
    chosen: NDArray[np.bool_],
    predictions: Mapping[str, Floats],
    hidden: Mapping[str, Floats] | None = None,
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> Judgement:
    """Judge predictions of held-out users' clicks.

    Intervals are from the 2.5th to the 97.5th percentile of a bootstrap over users; the same draws serve every model,
    so that differences are paired.

    Args:
        events: of a log. chosen: (N,) bool, which of them are judged.
        predictions: (N,) chances of a click by name, the strong baseline's first and the judged model's last.
        hidden: the same where each item is predicted as one that nobody met: real first-time items are few.
        draws: of the bootstrap. seed: of its draws.

    Raises:
        ValueError: no event is judged.
    """
    if not chosen.any():
        raise ValueError("no held-out user has an interaction to judge by; use a log of more users")
    later = events.place >= np.floor((1 - LATER_SHARE) * events.lengths[events.users])
    met = np.bincount(events.items[events.to_train], minlength=len(events.categories)) > 0
    parts: list[tuple[str, NDArray[np.bool_], Mapping[str, Floats]]] = [
        ("all", chosen, predictions),
        ("later time", chosen & later, predictions),
        ("first-time items", chosen & ~met[events.items], predictions),
        *([("all, items hidden", chosen, hidden)] if hidden else []),
    ]
    groups = tuple(_judged(name, events, mask, given, draws, seed) for name, mask, given in parts)
    curves = {label: _curve(events.clicks[chosen], chances[chosen]) for label, chances in predictions.items()}
    return Judgement(list(predictions)[-1], groups, curves)


def _judged(
    name: str, events: Events, mask: NDArray[np.bool_], predictions: Mapping[str, Floats], draws: int, seed: int
) -> Group:
    users, who = np.unique(events.users[mask], return_inverse=True)
    clicks = events.clicks[mask]
    if not 0 < clicks.sum() < len(clicks):
        return Group(name, len(who), len(users), int(clicks.sum()), (), {})
    generator = np.random.default_rng(seed_from(seed, "judge", name))
    weights = generator.multinomial(len(users), np.full(len(users), 1 / len(users)), size=draws)
    sample = _Sample(clicks, who, np.vstack([np.ones(len(users), np.int64), weights]))
    measures = {model: sample.measure(chances[mask]) for model, chances in predictions.items()}
    *baselines, last = measures
    first = measures[next(iter(measures))]
    scores = tuple(_score(model, found, first) for model, found in measures.items())
    over = {other: _estimate(measures[last].auc - measures[other].auc) for other in baselines}
    return Group(name, len(who), len(users), int(clicks.sum()), scores, over)


@dataclass(frozen=True)
class _Measures:
    """Of one model on one group, (1 + draws,) each, the first of the group as it is."""

    auc: Floats
    log_loss: Floats
    calibration_error: Floats


@dataclass(frozen=True)
class _Sample:
    """Events of a group: clicks and users (n,), and how often each draw (1 + D, users) takes a user."""

    clicks: NDArray[np.bool_]
    users: NDArray[np.int64]
    weights: NDArray[np.int64]

    def measure(self, chances: Floats) -> _Measures:
        order = np.argsort(chances, kind="stable")
        auc = weighted_auc(self.clicks[order], chances[order], self.users[order], self.weights)
        surprise = -np.log(np.where(self.clicks, chances, 1 - chances).clip(1e-15))
        people = self.weights.shape[1]
        events = self.weights @ np.bincount(self.users, minlength=people)
        log_loss = self.weights @ np.bincount(self.users, surprise, people) / events
        bins = np.empty(len(order), np.int64)
        bins[order] = np.arange(len(order)) * _bins(len(order)) // len(order)
        n, s, p = (
            self.weights @ _table(self.users, bins, values, people)
            for values in (np.ones(len(order)), self.clicks.astype(float), chances)
        )  # (1 + D, bins) each: events, clicks, predictions
        once, drawn = calibration_error(n[:1], s[:1], p[:1]), calibration_error(n[1:], s[1:], p[1:], noise=2.0)
        errors = np.concatenate([once, drawn])
        return _Measures(auc, log_loss, errors)


def calibration_error(counts: Floats, clicks: Floats, predicted: Floats, noise: float = 1.0) -> Floats:
    """Root mean squared calibration error, debiased: what the noise of the shares of clicks adds to it is taken away.

    sqrt(max(0, sum over bins b of n_b / n * ((s_b - p_b)^2 - noise * s_b (1 - s_b) / (n_b - 1)))), s_b being the share
    of clicks in bin b and p_b the mean prediction, for bins of equal mass (Kumar, Liang and Ma 2019, Verified
    uncertainty calibration, section 4). A bootstrap draws from shares that are noisy already: there the noise is in it
    twice.

    Args:
        counts: (..., bins), events. clicks: of them. predicted: sums of their predictions.
        noise: 1, or 2 for draws of a bootstrap.
    """
    there = np.maximum(counts, 1)
    share, mean = clicks / there, predicted / there
    squared = (share - mean) ** 2 - noise * share * (1 - share) / np.maximum(counts - 1, 1)
    total = (counts * squared).sum(axis=-1) / np.maximum(counts.sum(axis=-1), 1)
    return np.asarray(np.sqrt(np.maximum(total, 0.0)))


def _bins(events: int) -> int:
    """15 bins, or fewer where they would hold fewer than 30 events each."""
    return max(1, min(BINS, events // EVENTS_PER_BIN))


def _table(users: NDArray[np.int64], bins: NDArray[np.int64], values: Floats, people: int) -> Floats:
    """(people, BINS): sums of values (n,)."""
    return np.bincount(users * BINS + bins, values, people * BINS).reshape(people, BINS).astype(np.float64)


@njit(cache=True)
def weighted_auc(clicks, chances, users, weights):  # type: ignore[no-untyped-def]
    """(D,): chance that a click is ranked above another event, ties counting half; chances (n,) ascend.

    The same as scikit-learn's `roc_auc_score` with weights, which sorts again for each draw and takes 60 times as long.
    """
    found = np.full(len(weights), np.nan)
    for d in range(len(weights)):
        weight = weights[d]
        below = total = wins = 0.0
        first = 0
        while first < len(chances):
            end, clicked, other = first, 0.0, 0.0
            while end < len(chances) and chances[end] == chances[first]:
                if clicks[end]:
                    clicked += weight[users[end]]
                else:
                    other += weight[users[end]]
                end += 1
            wins += clicked * (below + 0.5 * other)
            below, total, first = below + other, total + clicked, end
        if total > 0 and below > 0:
            found[d] = wins / (total * below)
    return found


def _score(name: str, own: _Measures, reference: _Measures) -> Score:
    return Score(
        name,
        _estimate(own.auc),
        _estimate(own.auc - reference.auc),
        _estimate(own.log_loss),
        _estimate(reference.log_loss - own.log_loss),
        _estimate(own.calibration_error),
    )


def _estimate(values: Floats) -> ScoreEstimate:
    drawn = values[1:][np.isfinite(values[1:])]
    if not len(drawn):
        return ScoreEstimate(float(values[0]), math.nan, math.nan)
    low, high = percentiles(drawn)
    return ScoreEstimate(float(values[0]), float(low), float(high))


def _curve(clicks: NDArray[np.bool_], chances: Floats) -> Floats:
    parts = np.array_split(np.argsort(chances, kind="stable"), _bins(len(clicks)))
    return np.array([[chances[part].mean() for part in parts], [clicks[part].mean() for part in parts]])


def table(found: Judgement) -> Table:
    """The judgement for a terminal."""
    made = Table(title_justify="left", caption_justify="left", caption=_caption(found))
    for heading in ("events of held-out users", "model"):
        made.add_column(heading, no_wrap=True)
    for heading in ("AUC", f"over {REFERENCE}", "log loss", "calibration error"):
        made.add_column(heading, justify="right", no_wrap=True)
    for group in found.groups:
        label = f"{group.name}: {group.events:,} of {group.users:,}"
        for score in group.scores:
            gain = "" if score.model == REFERENCE else score.gain.text(4, sign=True)
            numbers = score.auc.text(4), gain, score.log_loss.text(4), score.calibration_error.text(4)
            made.add_row(label, score.model, *numbers)
            label = ""
        if not group.scores:
            made.add_row(label, "too few clicks, or too few other events")
        made.add_section()
    return made


def _caption(found: Judgement) -> str:
    lines = [
        f"AUC of {found.model}, {group.name}: "
        + ", ".join(f"{gain.text(4, sign=True)} over {other}" for other, gain in group.over.items())
        for group in found.groups
        if group.over
    ]
    return "\n".join([*lines, "In brackets 95 % intervals from a bootstrap over users."])


def as_json(found: Judgement, more: Mapping[str, object]) -> str:
    """All of it, for programs."""
    curves = {
        name: {"predicted": curve[0].tolist(), "clicked": curve[1].tolist()} for name, curve in found.curves.items()
    }
    whole = {**more, **asdict(found), "curves": curves}
    return json.dumps(_plain(whole), indent=1)


def _plain(value: object) -> object:
    """What is not a number becomes null, which JSON knows."""
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def draw(found: Judgement, title: str, stem: Path) -> list[Path]:
    """Draw how often what was predicted happened, as PNG and SVG, and say which files were written."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(3.6, 3.4), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        top = min(1.0, 1.08 * max(float(curve.max()) for curve in found.curves.values()))
        axes.plot([0, top], [0, top], color=PALE, lw=1, zorder=0)
        for name, curve in found.curves.items():
            axes.plot(*curve, marker="o", ms=3, lw=1, color=COLOURS.get(name, ORANGE), label=_label(found, name))
        axes.set(xlim=(0, top), ylim=(0, top), xlabel="predicted chance of a click", ylabel="share of clicks")
        axes.legend(frameon=False, fontsize=6.5, loc="upper left", title="calibration error", title_fontsize=6.5)
        axes.set_title(title, loc="left", color=INK)
        return save(figure, stem)


def _label(found: Judgement, name: str) -> str:
    errors: Sequence[Score] = [score for score in found.groups[0].scores if score.model == name]
    return f"{name}: {errors[0].calibration_error.text(4)}" if errors else name
