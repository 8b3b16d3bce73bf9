"""Compares real and simulated sessions: held-out users of a log, and the same users simulated."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier  # type: ignore[import-untyped, unused-ignore]
from sklearn.inspection import permutation_importance  # type: ignore[import-untyped, unused-ignore]
from sklearn.metrics import roc_auc_score  # type: ignore[import-untyped, unused-ignore]
from sklearn.model_selection import GroupKFold  # type: ignore[import-untyped, unused-ignore]

from lerl.envs.config import SimulatorConfig, Topics
from lerl.envs.fitting.dynamics import (
    Halves,
    ParameterEstimate,
    configured,
    estimate_lines,
    fit_dynamics,
    with_spread,
    with_truth,
)
from lerl.envs.fitting.exposure import Exposure, fit_exposure
from lerl.envs.fitting.replay import item_by_item, replay
from lerl.envs.fitting.statistics import Background, Sequences, Statistics, background_of, side
from lerl.envs.logs.prepared import read_prepared_log
from lerl.envs.population import Population
from lerl.envs.schema import DataError
from lerl.envs.simulator import UserSimulator
from lerl.envs.store import FIDELITY, OWN_LOGS, load_population
from lerl.report.intervals import percentiles
from lerl.report.palette import BLACK, BLUE, ORANGE, PALE
from lerl.users.events import log_positions

LEAST = 8  # interactions of a held-out user that is compared
MOST_COMPARED = 1000  # interactions of a user's second half
REPLICATES = 5  # simulations of each user
DRAWS = 1000  # of users, for intervals
MARGIN = 0.1
WINDOW = 20  # interactions of a session that the classifier is shown, fewer where users have fewer
MECHANISMS = ("boredom", "fatigue", "mood", "drift", "users")

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Statistic:
    """One statistic of real and simulated sequences.

    Attributes:
        name, side: "exposure" or "response". real, low, high: of real users, with a 95 % bootstrap interval over them.
        simulated: mean over replicates. inside: the interval. within_ten_percent: of the real value.
    """

    name: str
    side: str
    real: float
    low: float
    high: float
    simulated: float
    inside: bool
    within_ten_percent: bool


@dataclass(frozen=True)
class Classifier:
    """How well boosted trees separate simulated from real sessions, of users that they were not fitted to.

    Attributes:
        auc, low, high: with a 95 % bootstrap interval over users; 0.5 is perfect fidelity. features: the strongest
            first, with the AUC that is lost when one is shuffled.
    """

    auc: float
    low: float
    high: float
    features: dict[str, float]


@dataclass(frozen=True)
class Fidelity:
    """The report.

    Attributes:
        users: held-out users compared. statistics, classifier. estimates: fitted parameters by name, in units of one
            item shown. assumptions: what was not fitted. without: for each mechanism, how many statistics of the
            response side are inside when it is off.
    """

    users: int
    statistics: list[Statistic]
    classifier: Classifier
    estimates: dict[str, ParameterEstimate]
    assumptions: list[str]
    without: dict[str, int]

    def share(self, of: str) -> tuple[int, int]:
        """Statistics of a side that are inside their interval, and all of that side."""
        there = [found for found in self.statistics if found.side == of]
        return sum(found.inside for found in there), len(there)


@dataclass(frozen=True)
class Log:
    """A prepared folder's log in order."""

    population: Population
    halves: Halves
    background: Background

    @staticmethod
    def load(folder: Path) -> "Log":
        """Read a prepared folder.

        Raises:
            MissingDataError, DataError: there is none, it is damaged, or its log has no order.
        """
        population, log = load_population(folder, format=OWN_LOGS), read_prepared_log(folder)
        if "position" not in log.columns:
            raise DataError(
                f"{folder} was prepared by an older lerl, without the order of interactions; prepare it again"
            )
        if log["position"].null_count():
            raise DataError(
                f"the log of {folder} has no order: {log['position'].null_count():,} of {len(log):,} interactions have "
                "no time; sessions can only be fitted to logs with times"
            )
        ordered = log.sort("user", "position")
        users, items = log_positions(folder, population, ordered)
        clicks = ordered["click"].to_numpy().astype(np.float64)
        known = ordered["time"].null_count() == 0
        times = ordered["time"].to_numpy().astype(np.float64) if known else np.full(len(log), np.nan)
        every = Sequences(users, items, clicks, times)
        background = background_of(every.where(population.training[users]), population.catalog.categories.membership)
        return Log(population, Halves(every, population.training), background)


def measure(
    folder: Path, *, topics: Topics, seed: int, users: int, report: Callable[[str], object]
) -> tuple[Fidelity, dict[str, Any]]:
    """Fit on training users, simulate held-out users, and compare.

    A held-out user's taste comes from the first half of their log; statistics are those of second halves.

    Args:
        folder: prepared. topics: what users get bored of, see `SimulatorConfig`.
        seed: of all draws. users: most held-out users.
        report: called with a line on each step.

    Returns:
        The report, and what its pictures are drawn from.
    """
    log = Log.load(folder)
    every, training = log.halves.sequences, log.population.training
    exposure = fit_exposure(every.where(training[every.users]), log.background, seed, report)
    dim = log.population.truth.item_vectors.shape[1]
    fitted, model = fit_dynamics(log.population, log.halves, log.background, topics, dim=dim, seed=seed, report=report)
    chosen = _held_out(log, users, seed)
    kept = chosen[every.users] & (every.places < (every.lengths // 2)[every.users] + MOST_COMPARED)
    before, real = every.where(kept & log.halves.first), every.where(kept & ~log.halves.first)
    people = with_truth(log.population, model)
    replays = _Replays(people, topics, np.flatnonzero(chosen), exposure, before, real, seed)
    report("simulating held-out users")
    simulated = [replays.simulated(fitted.values, number) for number in range(REPLICATES)]
    statistics = compare(real, simulated, log.background, seed)
    report("a classifier tries to separate them")
    classifier = tell_apart(real, simulated[0], log.background, seed)
    without = {}
    for mechanism in MECHANISMS:
        report(f"without {mechanism}")
        others = [replays.simulated(_without(fitted.values, mechanism), number) for number in range(2)]
        found = compare(real, others, log.background, seed)
        without[mechanism] = sum(entry.inside for entry in found if entry.side == "response")
    times = "" if np.isfinite(real.times).all() else "; without times also sessions, fatigue and return"
    assumptions = [*fitted.assumptions, f"leaving and length of sessions are not in the log{times}"]
    page = {"real": real, "simulated": simulated, "background": log.background}
    return Fidelity(len(real.lengths), statistics, classifier, dict(fitted.estimates), assumptions, without), page


def _held_out(log: Log, users: int, seed: int) -> NDArray[np.bool_]:
    """(U,) at most so many held-out users with enough interactions, drawn by the seed."""
    able = np.flatnonzero(~log.population.training & (log.halves.sequences.lengths >= LEAST))
    if len(able) < 2:
        raise DataError(f"only {len(able)} held-out users have {LEAST} interactions; use a larger log")
    chosen = np.zeros(len(log.population.training), bool)
    chosen[np.random.default_rng([seed, 11]).choice(able, min(users, len(able)), replace=False)] = True
    return chosen


def _without(values: Mapping[str, float], mechanism: str) -> dict[str, float]:
    """Fitted values with a mechanism off; the level of log-odds stays."""
    off = {
        "boredom": {"boredom.weight": 0.0},
        "fatigue": {"fatigue.weight": 0.0},
        "mood": {"mood.spread": 0.0},
        "drift": {"drift.noise": 0.0, "drift.shift_probability": 0.0},
        "users": {"users.offset_spread": 0.0, "users.taste_spread": 0.0},
    }
    return {**values, **off[mechanism]}


class _Replays:
    """Held-out users simulated on sequences that are drawn like those that the log showed them."""

    def __init__(
        self,
        people: Population,
        topics: Topics,
        owners: NDArray[np.int64],
        exposure: Exposure,
        before: Sequences,
        real: Sequences,
        seed: int,
    ) -> None:
        self.people, self.owners, self.exposure, self.before, self.real = people, owners, exposure, before, real
        self.seed = seed
        self.simulator = UserSimulator(people, item_by_item(SimulatorConfig(topics=topics), MOST_COMPARED), "all")
        self._shown: dict[int, Sequences] = {}

    def simulated(self, values: Mapping[str, float], number: int) -> Sequences:
        """What the users are shown in replicate `number`, and how they react."""
        if number not in self._shown:
            self._shown[number] = self.exposure.imitate(self.before, self.real.lengths, self.seed + 7919 * number)
        shown = self._shown[number]
        people = with_spread(self.people, values, self.seed + number)
        simulator = self.simulator.changed(people, configured(self.simulator.config, values))
        return replace(shown, clicks=replay(simulator, shown, self.owners, self.seed + 1000 * number).clicks)


def compare(real: Sequences, simulated: Sequence[Sequences], background: Background, seed: int) -> list[Statistic]:
    """Each statistic of real and simulated sequences, by side."""
    found = [Statistics(one, background, seed).of() for one in simulated]
    statistics = []
    for name, (value, low, high) in Statistics(real, background, seed).intervals(DRAWS, seed).items():
        values = [float(one[name][0]) for one in found if name in one]
        if len(values) < len(found):
            continue
        mean = float(np.mean(values))
        near = abs(mean - value) <= MARGIN * abs(value)
        statistics.append(Statistic(name, side(name), value, low, high, mean, bool(low <= mean <= high), near))
    return sorted(statistics, key=lambda entry: entry.side)


FEATURES = (
    "click rate", "clicks like the last", "longest run of clicks", "trend of clicks", "different categories",
    "share of the main category", "same category as the last", "mean popularity", "spread of popularity",
    "popularity like the last", "mean item effect", "clicks follow item effects",
)  # fmt: skip


def session_features(shown: Sequences, background: Background, window: int) -> tuple[Floats, Any]:
    """(W, F) features of windows of sequences, see `FEATURES`, and the user (W,) of each."""
    count = shown.lengths // window
    starts = np.concatenate([shown.starts[u] + window * np.arange(n) for u, n in enumerate(count)]).astype(np.int64)
    places = starts[:, None] + np.arange(window)
    clicks, main = shown.clicks[places], background.main[shown.items[places]]
    known, effect = background.popularity[shown.items[places]], background.item_effects[shown.items[places]]
    counts = np.stack([(main == category).sum(axis=1) for category in range(int(background.main.max()) + 1)], axis=1)
    run = np.zeros(len(places))
    longest = np.zeros(len(places))
    for column in clicks.T:
        run = (run + 1) * column
        longest = np.maximum(longest, run)
    half = window // 2
    centred = effect - effect.mean(axis=1, keepdims=True)
    features = [
        clicks.mean(axis=1),
        (clicks[:, 1:] == clicks[:, :-1]).mean(axis=1),
        longest,
        clicks[:, half:].mean(axis=1) - clicks[:, :half].mean(axis=1),
        (counts > 0).sum(axis=1),
        counts.max(axis=1) / window,
        (main[:, 1:] == main[:, :-1]).mean(axis=1),
        known.mean(axis=1),
        known.std(axis=1),
        np.abs(np.diff(known, axis=1)).mean(axis=1),
        effect.mean(axis=1),
        (centred * clicks).mean(axis=1),
    ]
    return np.stack(features, axis=1).astype(np.float64), shown.users[starts]


def tell_apart(real: Sequences, simulated: Sequences, background: Background, seed: int) -> Classifier:
    """Train boosted trees on some users' windows, real and simulated, and judge them on the others'."""
    window = min(WINDOW, int(np.median(real.lengths)))
    sides = [session_features(shown, background, window) for shown in (real, simulated)]
    features = np.concatenate([part for part, _ in sides])
    users = np.concatenate([owner for _, owner in sides])
    label = np.repeat([0, 1], [len(part) for part, _ in sides])
    guess, lost, folds = np.zeros(len(label)), np.zeros(features.shape[1]), min(5, len(np.unique(users)))
    if folds < 2:
        raise DataError("too few held-out users to tell them apart from simulated ones; use more of them")
    for train, test in GroupKFold(folds).split(features, label, users):
        trees = HistGradientBoostingClassifier(max_iter=100, learning_rate=0.06, random_state=seed)
        trees.fit(features[train], label[train])
        guess[test] = trees.predict_proba(features[test])[:, 1]
        found = permutation_importance(
            trees, features[test], label[test], scoring="roc_auc", n_repeats=3, random_state=seed
        )
        lost += found.importances_mean / folds
    draw = np.random.default_rng(seed)
    count, drawn = int(users.max()) + 1, []
    for _ in range(200):
        weight = draw.multinomial(count, np.full(count, 1 / count))[users]
        drawn.append(roc_auc_score(label, guess, sample_weight=weight))
    low, high = percentiles(np.array(drawn))
    strongest = {FEATURES[place]: float(lost[place]) for place in np.argsort(-lost)[:5]}
    return Classifier(float(roc_auc_score(label, guess)), float(low), float(high), strongest)


def as_json(found: Fidelity) -> str:
    """All of it, for programs."""
    return json.dumps(asdict(found), indent=1)


def lines(found: Fidelity) -> list[str]:
    """What to print."""
    longest = max(len(entry.name) for entry in found.statistics)
    said = [f"{found.users:,} held-out users, second halves; 95 % intervals over users of the log", ""]
    for of in ("exposure", "response"):
        inside, every = found.share(of)
        said.append(f"{of}: {inside} of {every} inside")
        for entry in found.statistics:
            if entry.side == of:
                marks = ("inside " if entry.inside else "OUTSIDE") + (
                    ", within 10 %" if entry.within_ten_percent else ""
                )
                interval = f"{entry.real:8.4f} [{entry.low:8.4f}, {entry.high:8.4f}]"
                said.append(f"  {entry.name:<{longest}} {interval} simulated {entry.simulated:8.4f}  {marks}")
    classifier = found.classifier
    said += [
        "",
        f"classifier AUC {classifier.auc:.3f} [{classifier.low:.3f}, {classifier.high:.3f}], 0.5 is perfect; by "
        + ", ".join(f"{name} {lost:.3f}" for name, lost in classifier.features.items()),
        "",
        "fitted, in units of one item shown:",
    ]
    said += estimate_lines(found.estimates)
    inside, every = found.share("response")
    said += ["", f"response statistics inside with all mechanisms {inside} of {every}, without"]
    said += [f"  {name:<10} {count}" for name, count in found.without.items()]
    return [*said, "", "assumed: " + "; ".join(found.assumptions)]


def draw(found: Fidelity, page: Mapping[str, Any], name: str, folder: Path) -> list[Path]:
    """Draw the page of pictures into a folder, as PNG and SVG, and say which files were written."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from lerl.report.style import STYLE, save

    sides = [[entry for entry in found.statistics if entry.side == of] for of in ("exposure", "response")]
    with matplotlib.rc_context(STYLE):
        height = 0.19 * sum(map(len, sides)) + 2.4
        figure = Figure(figsize=(9.2, height), layout="constrained")
        FigureCanvasAgg(figure)
        panels = figure.subplots(2, 2, width_ratios=(1.5, 1), height_ratios=[len(side) + 3 for side in sides])
        for axes, of, statistics in zip(panels[:, 0], ("what is shown", "how users respond"), sides, strict=True):
            _deviations(axes, statistics, of)
        _popularity(panels[0, 1], page["real"], page["simulated"][0], page["background"].items)
        _rates(panels[1, 1], page["real"], page["simulated"][0])
        classifier, inside = found.classifier, sum(entry.inside for entry in found.statistics)
        figure.suptitle(
            f"{name}: {inside} of {len(found.statistics)} statistics of simulated users lie in the 95 % interval of "
            f"{found.users:,} held-out users\nA classifier separates the two with AUC {classifier.auc:.2f} "
            f"[{classifier.low:.2f}, {classifier.high:.2f}]; 0.5 is chance",
            fontsize=8.5,
            x=0.01,
            ha="left",
        )
        return save(figure, folder / FIDELITY)


_FARTHEST = 4.0  # half intervals; what is farther is drawn as an arrow at the edge


def _deviations(axes: Any, statistics: Sequence[Statistic], of: str) -> None:
    """Simulated statistics in units of half the real interval, which is the grey band, nearest first."""
    away = {entry.name: _away(entry) for entry in statistics}
    ordered = sorted(statistics, key=lambda entry: abs(away[entry.name]))
    axes.axvspan(-1, 1, color=PALE, lw=0)
    axes.axvline(0, color="white", lw=0.8)
    for place, entry in enumerate(ordered):
        far = abs(away[entry.name]) > _FARTHEST
        marker = "o" if not far else ">" if away[entry.name] > 0 else "<"
        colour = BLUE if entry.inside else ORANGE
        axes.plot(np.clip(away[entry.name], -_FARTHEST, _FARTHEST), place, marker, color=colour, ms=4, clip_on=False)
        axes.text(_FARTHEST + 0.3, place, f"{entry.real:.3f} / {entry.simulated:.3f}", va="center", fontsize=6.5)
    axes.set_yticks(range(len(ordered)), [entry.name for entry in ordered], fontsize=6.5)
    axes.set(xlim=(-_FARTHEST, _FARTHEST), ylim=(len(ordered) - 0.5, -0.5))
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("distance from the real value, in half widths of its 95 % interval (grey)")
    inside = sum(entry.inside for entry in ordered)
    axes.set_title(f"{of}: {inside} of {len(ordered)} inside (blue); right: real / simulated", loc="left")


def _away(entry: Statistic) -> float:
    return (entry.simulated - (entry.high + entry.low) / 2) / max((entry.high - entry.low) / 2, 1e-12)


def _popularity(axes: Any, real: Sequences, simulated: Sequences, items: int) -> None:
    """Shares of interactions of items, the most popular first."""
    for shown, look in _both(real, simulated):
        shares = np.sort(np.bincount(shown.items, minlength=items))[::-1] / len(shown)
        axes.plot(np.arange(1, items + 1) / items, np.cumsum(shares), lw=1.2, **look)
    axes.set(xlabel="share of items, most popular first", ylabel="share of interactions", xlim=(0, 1), ylim=(0, 1))
    axes.legend(frameon=False, fontsize=7, loc="lower right")
    axes.set_title("popularity", loc="left")


def _rates(axes: Any, real: Sequences, simulated: Sequences) -> None:
    """How users differ in how often they click."""
    bins = np.linspace(0, 1, 21)
    for shown, look in _both(real, simulated):
        rates = np.bincount(shown.users, weights=shown.clicks) / shown.lengths
        axes.stairs(np.histogram(rates, bins)[0] / len(rates), bins, lw=1.2, **look)
    axes.set(xlabel="share of clicks of a user", ylabel="share of users", xlim=(0, 1))
    axes.set_title("how often users click", loc="left")


def _both(real: Sequences, simulated: Sequences) -> list[tuple[Sequences, dict[str, str]]]:
    return [(real, {"color": BLACK, "label": "real"}), (simulated, {"color": BLUE, "label": "simulated"})]
