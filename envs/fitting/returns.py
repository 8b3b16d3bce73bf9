"""How long until people come back, fitted to the sessions of a log: the settings of `lerl.envs.sessions.config.Gap`.

The likelihood is that of a Weibull model of accelerated failure time with a log-normal frailty of each person; whoever
had not come back when the log ended counts as a gap of at least so long (right-censored). The frailty is integrated out
by adaptive Gauss-Hermite quadrature (Pinheiro and Bates, Journal of Computational and Graphical Statistics 1995),
around each person's most likely value: of people with hundreds of sessions a fixed grid would see nothing. Given it,
a person's likelihood needs only two sums, so that SciPy fits 70,000 gaps in seconds. Intervals are percentiles of a
bootstrap over users.
"""

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize  # type: ignore[import-untyped, unused-ignore]

from lerl.envs.files import write_whole
from lerl.envs.fitting.kept import FORMAT, fitted_file
from lerl.envs.fitting.log_sessions import LogSessions
from lerl.envs.schema import DataError
from lerl.envs.sessions.config import MOST_DAILY, Churn, Gap, Habit, Memory, Return
from lerl.envs.sessions.rhythm import LONGEST, TURN, WEEK, clock, product_part, slope, unclock, weekly_part
from lerl.envs.store import RETURNS_FILE

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

NODES = 15
NEWTON = 60
CURVED = 1e-4
"""Step of the differences that give the curvature."""
NEAR_STEPS, SMALL = 20, 0.02
SHORTEST_WAIT = 0.5 / 86_400
"""Days; times are whole seconds, and the density of a wait of 0 is infinite."""
DOUBLING = math.log(2.0)
WEIGHTS = ("session", "memory", "habit")
NAMES = ("typical", "shape", "person", "daily", *WEIGHTS)
"""Of `Gap`, in the order of the fit's parameters; the logarithms of the first two are fitted."""
WEEKLY = "weekly"
"""Of `Gap` too, and fitted last, where it is."""
FEWEST_WEEKS = 3
"""In a log, to tell the days of the week from those of the log."""
START = (0.0, -0.2, 0.5, 0.2, 0.0, 0.0, 0.0)
BOUNDS = ((-20.0, 12.0), (math.log(0.05), math.log(20.0)), (0.0, 10.0), (0.0, MOST_DAILY), *[(-20.0, 20.0)] * 3)

HABITS = tuple(Habit(rate=rate, fades=fades) for rate in (0.2, 0.5) for fades in (1.0, 2.0, 4.0, 7.0, 14.0, 30.0))
"""What is tried for how habits grow and fade."""


@dataclass(frozen=True)
class Estimate:
    """One fitted parameter of `Gap`. value: the estimate. low, high: ends of its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class FittedGaps:
    """A fit.

    Attributes:
        estimates: of NAMES, of further columns by their names, and of "weekly" where that was fitted.
        peak: the busiest hour, as a share of a day in UTC, from 0 to 1; where "weekly" was fitted the busiest hour of
            the busiest day, from 0 to 7, in days since the beginning of a Thursday, as 1970 began.
        log_likelihood: of all gaps, at the estimates. gaps, ended: how many, and of how many the end was seen.
        shortest: days, `Gap.shortest`. habit: how the habit was computed.
    """

    estimates: Mapping[str, Estimate]
    habit: Habit
    peak: float
    log_likelihood: float
    gaps: int
    ended: int
    shortest: float

    @property
    def gap(self) -> Gap:
        """The settings that simulate it."""
        fitted = {name: self.estimates[name].value for name in (*NAMES, WEEKLY) if name in self.estimates}
        return Gap(**fitted, shortest=self.shortest)


def busiest(starts: Floats) -> float:
    """The hour that most sessions begin about: the direction of the mean of hours on a circle, as a share of a day."""
    angle = np.angle(np.exp(1j * TURN * starts).mean()) / TURN
    return float(angle % 1.0)


def busiest_day(starts: Floats) -> float:
    """The busiest hour of the day that most sessions begin about, in days since the week began, from 0 to 7."""
    hour, angle = busiest(starts), np.angle(np.exp(1j * TURN / WEEK * starts).mean()) * WEEK / TURN
    return float((np.round(angle - hour) + hour) % WEEK)


def fit_gaps(
    sessions: LogSessions,
    *,
    quality: Floats | None = None,
    more: Mapping[str, Floats] | None = None,
    memory: Memory | None = None,
    habit: Habit | None = None,
    weekly: bool = False,
    draws: int = 0,
    seed: int = 0,
    report: Callable[[int, int], object] | None = None,
) -> FittedGaps:
    """Fit `Gap` to sessions by maximum likelihood.

    Args:
        sessions: of a log.
        quality: (S,) instead of the sessions' own.
        more: further columns (S,), each with a weight as `Gap.session` is; none where None.
        memory, habit: their rates are not fitted here; as the settings have them where None.
        weekly: whether the day of the week is in the model.
        draws: of users, for intervals; with 0 they are infinitely narrow.
        seed: of those draws.
        report: called with how many draws of how many are done.

    Returns:
        Estimates of NAMES, then of the further columns, then of the week.

    Raises:
        DataError: the week is in the model, and the log is shorter than three of them.
    """
    if weekly and sessions.last - sessions.starts.min() < FEWEST_WEEKS * WEEK:
        raise DataError(
            f"the log is {sessions.last - sessions.starts.min():.1f} days long, and {FEWEST_WEEKS} weeks are needed to "
            "tell the days of the week from those of the log: leave out --weekly, or give a longer log"
        )
    quality, more = sessions.quality if quality is None else quality, more or {}
    habit = habit or Habit()
    remembered, used = sessions.states(quality, memory or Memory(), habit)
    columns = np.stack([quality - 0.5, remembered - 0.5, used, *more.values()], axis=1)
    peak = busiest_day(sessions.starts) if weekly else busiest(sessions.starts)
    problem = _Likelihood.of(sessions, columns, peak, weekly)
    extra = len(more)
    start, bounds = np.array([*START, *[0.0] * extra]), [*BOUNDS, *[(-20.0, 20.0)] * extra]
    if weekly:
        start, bounds = np.append(start, START[3]), [*bounds, BOUNDS[3]]
    point, total = _maximum(problem, start, bounds, np.ones(problem.people))
    drawn, inverse = np.empty((draws, len(point))), _inverse_curvature(problem, point) if draws else np.zeros((0, 0))
    rng = np.random.default_rng([seed, 13])
    for draw in range(draws):
        weights = rng.multinomial(problem.people, np.full(problem.people, 1.0 / problem.people)).astype(np.float64)
        drawn[draw] = _near(problem, point, inverse, bounds, weights)
        if report is not None:
            report(draw + 1, draws)
    low, high = np.percentile(drawn, [2.5, 97.5], axis=0) if draws else (point, point)
    natural = np.array([point, low, high])
    natural[:, :2] = np.exp(natural[:, :2])
    names = [*NAMES, *more, *[WEEKLY] * weekly]
    estimates = {name: Estimate(*column) for name, column in zip(names, natural.T.tolist(), strict=True)}
    ended = int(sessions.returned.sum())
    return FittedGaps(estimates, habit, peak, total, len(sessions), ended, sessions.pause)


def likeliest_habit(sessions: LogSessions, report: Callable[[int, int], object] | None = None) -> Habit:
    """The one of HABITS with the highest likelihood; `report` as in `fit_gaps`."""
    found = []
    for number, habit in enumerate(HABITS):
        found.append(fit_gaps(sessions, habit=habit).log_likelihood)
        if report is not None:
            report(number + 1, len(HABITS))
    return HABITS[int(np.argmax(found))]


def _maximum(
    problem: "_Likelihood", start: Floats, bounds: list[tuple[float, float]], weights: Floats
) -> tuple[Floats, float]:
    """The parameters (P,) with the highest log likelihood, and that; people count by `weights` (U,)."""
    scale = max(float(weights @ np.bincount(problem.users, minlength=problem.people)), 1.0)

    def loss(point: Floats) -> tuple[float, Floats]:
        value, gradient = problem.at(point, weights)
        return -value / scale, -gradient / scale

    found = minimize(
        loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"ftol": 1e-11, "gtol": 1e-6, "maxiter": 500}
    )
    return found.x, -float(found.fun) * scale


def _inverse_curvature(problem: "_Likelihood", point: Floats) -> Floats:
    """(P, P), of minus the log likelihood at its maximum, by differences of the gradient."""
    ones, steps = np.ones(problem.people), CURVED * np.eye(len(point))
    rows = [problem.at(point + step, ones)[1] - problem.at(point - step, ones)[1] for step in steps]
    curvature = -0.5 * (np.stack(rows) + np.stack(rows).T) / (2 * CURVED)
    return np.asarray(np.linalg.pinv(curvature, hermitian=True), np.float64)


def _near(
    problem: "_Likelihood", point: Floats, inverse: Floats, bounds: list[tuple[float, float]], weights: Floats
) -> Floats:
    """The maximum (P,) of a bootstrap sample: Newton steps from the whole sample's, with the whole sample's curvature.

    They are the k-step bootstrap of Andrews (Econometrica 2002), taken until the steps are small beside the standard
    errors. Where they are not, or leave the bounds, the maximum is searched for as the first one was.
    """
    low, high = np.array(bounds).T
    errors, found = np.sqrt(np.maximum(np.diag(inverse), 1e-18)), point
    for _ in range(NEAR_STEPS):
        step = inverse @ problem.at(found, weights)[1]
        found = found + step
        if not ((found > low) & (found < high)).all():
            break
        if np.abs(step / errors).max() < SMALL:
            return found
    return _maximum(problem, point, bounds, weights)[0]


class _Likelihood(NamedTuple):
    """What the likelihood of S gaps of `people` people is made of.

    users (S,) from 0; ended (S,) 0 or 1; columns (S, K); begun, until (S,) days from the busiest hour, when the wait
    began and when it ended, or the log did; weekly, whether the last parameter is that of the week.
    """

    people: int
    users: Ints
    ended: Floats
    columns: Floats
    begun: Floats
    until: Floats
    weekly: bool

    @staticmethod
    def of(sessions: LogSessions, columns: Floats, peak: float, weekly: bool = False) -> "_Likelihood":
        """Of sessions and the columns (S, K) whose weights are fitted; waits that the log ended before do not count."""
        begun = sessions.ends + sessions.pause - peak
        until = np.maximum(sessions.ends + sessions.gaps - peak, begun + SHORTEST_WAIT)
        rows = sessions.returned | (sessions.gaps > sessions.pause)
        ended = sessions.returned.astype(np.float64)[rows]
        return _Likelihood(
            len(sessions.levels), sessions.users[rows], ended, columns[rows], begun[rows], until[rows], weekly
        )  # fmt: skip

    def at(self, point: Floats, weights: Floats) -> tuple[float, Floats]:
        """The log likelihood at parameters (P,), and its gradient (P,)."""
        typical, (person, daily), end = point[0], point[2:4], len(point) - self.weekly
        betas, week = point[4:end], float(point[end]) if self.weekly else 0.0
        shape, ended, people = math.exp(point[1]), self.ended, self.people
        turns = (np.sin(TURN * self.until) - np.sin(TURN * self.begun)) / TURN
        waits = self.until - self.begun + daily * turns
        if self.weekly:
            grown = weekly_part(self.until, daily) - weekly_part(self.begun, daily)
            waits = waits + week * grown
            turns = turns + week * (product_part(self.until) - product_part(self.begun))
        waits = np.maximum(waits, 1e-12)
        away = np.log(waits) - typical + self.columns @ betas
        hazards = DOUBLING * np.exp(np.minimum(shape * away, 500.0))
        counts = np.asarray(np.bincount(self.users, ended, people), np.float64)
        sums = np.asarray(np.bincount(self.users, hazards, people), np.float64)
        found = _integrate(counts, sums, shape * person)
        rates = slope(self.until, daily, week)
        own = weights[self.users]
        each = ended * (math.log(shape * DOUBLING) + shape * away - np.log(waits) + np.log(rates))
        value = float(own @ each + weights @ found.logs)

        pull = own * (ended - found.multiplied[self.users] * hazards)  # by shape * away
        by_spread = float(weights @ found.by_spread)
        by_shape = float(own @ ended) / shape + float(pull @ away) + by_spread * person
        of_wait = shape * pull - own * ended
        hours, seen = np.cos(TURN * self.until), own * ended
        of_daily = float(of_wait @ (turns / waits) + seen @ (hours / slope(self.until, daily)))
        gradient = np.array([-shape * pull.sum(), shape * by_shape, shape * by_spread, of_daily])
        gradient = np.concatenate([gradient, shape * (pull @ self.columns)])
        if not self.weekly:
            return value, gradient
        days = np.cos(TURN / WEEK * self.until)
        of_weekly = float(of_wait @ (grown / waits) + seen @ (days / (1.0 + week * days)))
        return value, np.append(gradient, of_weekly)


class _Integrals(NamedTuple):
    """Over a person's standard normal z: logs (U,) of the integral of exp(counts * c * z - sums * exp(c * z)), its
    means of exp(c * z) (U,), and its derivatives by c (U,)."""

    logs: Floats
    multiplied: Floats
    by_spread: Floats


def _integrate(counts: Floats, sums: Floats, spread: float) -> _Integrals:
    """The integrals for counts and sums (U,), and c = spread."""
    spread = max(spread, 1e-9)
    modes = _modes(counts, sums, spread)
    width = 1.0 / np.sqrt(1.0 + spread**2 * sums * np.exp(spread * modes))
    nodes, heights = np.polynomial.hermite_e.hermegauss(NODES)
    z = modes[:, None] + width[:, None] * nodes  # (U, NODES)
    grown = np.exp(np.minimum(spread * z, 500.0))
    logs = counts[:, None] * spread * z - sums[:, None] * grown - 0.5 * z**2 + 0.5 * nodes**2
    highest = logs.max(axis=1)
    parts = heights * np.exp(logs - highest[:, None])
    total = parts.sum(axis=1)
    shares = parts / total[:, None]
    multiplied = (shares * grown).sum(axis=1)
    by_spread = (shares * z * (counts[:, None] - sums[:, None] * grown)).sum(axis=1)
    return _Integrals(highest + np.log(total * width / math.sqrt(TURN)), multiplied, by_spread)


def _modes(counts: Floats, sums: Floats, spread: float) -> Floats:
    """The most likely z (U,): Newton's method from the right of it, where it comes down without overshooting."""
    some = np.maximum(counts, 1e-12) / np.maximum(sums, 1e-300)
    z = np.where(counts > 0, np.minimum(counts * spread, np.maximum(np.log(some) / spread, 0.0)), 0.0)
    for _ in range(NEWTON):
        grown = spread * sums * np.exp(np.minimum(spread * z, 500.0))
        step = (counts * spread - grown - z) / (1.0 + spread * grown)
        z = z + step
        if np.abs(step).max() < 1e-6:
            break
    return z


def simulate(
    sessions: LogSessions,
    gap: Gap,
    seed: int,
    *,
    peak: float = 0.0,
    memory: Memory | None = None,
    habit: Habit | None = None,
) -> LogSessions:
    """The same users from the end of their first sessions on, coming back as a model says until the log ends.

    A user's n-th simulated session has the length and quality of the n-th real one; beyond the last of these, of any
    of them at random.

    Args:
        sessions: of a log. gap: the model. seed: of the draws. peak: the busiest hour, see `FittedGaps`.
        memory, habit: as the model was fitted with; the settings' own where None.
    """
    memory, habit, rng = memory or Memory(), habit or Habit(), np.random.default_rng([seed, 17])
    begins, held = np.flatnonzero(sessions.first), np.bincount(sessions.users)
    people, now = np.arange(len(begins)), sessions.starts[begins]
    trait = rng.standard_normal(len(people))
    remembered, used = np.full(len(people), memory.neutral), np.zeros(len(people))
    rows: list[Ints] = []
    starts: list[Floats] = []
    ends: list[Floats] = []
    while len(people):
        place = len(rows)
        other = (rng.random(len(people)) * held[people]).astype(np.int64)
        row = begins[people] + np.where(place < held[people], place, other)
        end = np.minimum(now + sessions.ends[row] - sessions.starts[row], sessions.last)
        rows.append(np.stack([people, row]))
        starts.append(now)
        ends.append(end)
        used = used + habit.enabled * habit.rate * (1.0 - used)
        remembered = remembered + memory.enabled * memory.rate * (sessions.quality[row] - remembered)
        effects = (gap.person * trait[people], gap.session * (sessions.quality[row] - 0.5))
        away = sum(effects) + gap.memory * (remembered - 0.5) + gap.habit * used
        wait = gap.typical * np.exp(-away) * (rng.standard_exponential(len(people)) / DOUBLING) ** (1 / gap.shape)
        later = _later(end - peak, wait, gap) + peak
        stays = later <= sessions.last
        gaps = (later - end)[stays]
        people, now = people[stays], later[stays]
        remembered = memory.neutral + (remembered[stays] - memory.neutral) * np.exp(-gaps / memory.fades)
        used = used[stays] * np.exp(-gaps / habit.fades)
    return _gathered(sessions, np.concatenate(rows, axis=1), np.concatenate(starts), np.concatenate(ends))


def _later(end: Floats, wait: Floats, gap: Gap) -> Floats:
    """When the next sessions begin, (n,) days."""
    if not (gap.daily or gap.weekly):
        return np.asarray(end + gap.shortest + wait)
    shown = clock(end + gap.shortest, gap.daily, gap.weekly) + np.minimum(wait, LONGEST)
    found: Floats = unclock(shown, gap.daily, gap.weekly)
    return found


def _gathered(sessions: LogSessions, rows: Ints, starts: Floats, ends: Floats) -> LogSessions:
    """Simulated sessions, in order of users; rows (2, S): user, and the real session each is like."""
    order = np.lexsort((starts, rows[0]))
    users, like = rows[:, order]
    return LogSessions(
        users, starts[order], ends[order], sessions.counts[like], sessions.quality[like], sessions.levels,
        sessions.training, sessions.reliability, sessions.last, sessions.pause,
    )  # fmt: skip


def write_returns(folder: Path, fitted: FittedGaps, more: Mapping[str, Any]) -> Path:
    """Write a fit into a prepared folder, with `more` beside it that JSON can hold; the path of the file."""
    estimates = {name: vars(estimate) for name, estimate in fitted.estimates.items()}
    content = {"format": FORMAT, **vars(fitted), "habit": asdict(fitted.habit), "estimates": estimates, **more}
    path = folder / RETURNS_FILE
    write_whole(path, json.dumps(content, indent=1) + "\n")
    return path


def describes(inside: Iterable[bool]) -> bool:
    """Whether a fit may be used, by which statistics of the gaps of held-out users it meets: more than half of them."""
    met = list(inside)
    return 2 * sum(met) > len(met)


def fitted_return(how: Return, folder: Path) -> Return:
    """Settings with what was fitted to a folder's log: gap and habit. The others stay, but nobody is lost for good: who
    never came back in the log is among its long gaps.

    Raises:
        MissingDataError: no gaps were fitted.
        DataError: the file cannot be used, or the gaps of the log are not of this form.
    """
    gap = read_gap(folder)
    with fitted_file(folder, RETURNS_FILE, "gaps", "--returns") as content:
        habit, inside = Habit(**content["habit"]), [bool(row["inside"]) for row in content["held_out"]]
    if not describes(inside):
        raise DataError(
            f"the gaps fitted to {folder} must not be used: {sum(inside)} of {len(inside)} statistics of held-out "
            "users' gaps are as simulated; try other pauses (lerl fit FOLDER --returns --pause N)"
        )
    return replace(how, gap=gap, habit=habit, churn=Churn(enabled=False))


def read_gap(folder: Path) -> Gap:
    """The settings that `write_returns` wrote, for `lerl.envs.sessions.config.Return`.

    Raises:
        MissingDataError: no gaps were fitted.
        DataError: the file cannot be used.
    """
    with fitted_file(folder, RETURNS_FILE, "gaps", "--returns") as content:
        there = [*NAMES, *(name for name in (WEEKLY,) if name in content["estimates"])]
        values = {name: content["estimates"][name]["value"] for name in there}
        return Gap(**values, shortest=content["shortest"])
