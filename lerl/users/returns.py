"""`lerl fit --returns`: when people come back, fitted to a prepared folder's log, with controls and a check."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lerl.envs.fitting.log_sessions import LogSessions, sessions_of, shuffled
from lerl.envs.fitting.returns import (
    HABITS,
    NAMES,
    WEEKLY,
    Estimate,
    FittedGaps,
    describes,
    fit_gaps,
    likeliest_habit,
    simulate,
    write_returns,
)
from lerl.envs.logs.prepared import read_prepared_log
from lerl.envs.prepare import directions
from lerl.envs.schema import DataError
from lerl.envs.store import OWN_LOGS, load_population, read_about
from lerl.report.intervals import percentiles
from lerl.run.locks import locked
from lerl.users.next_command import train_command

DRAWS = 200
"""Bootstrap samples of users for the intervals of the fit, and of its controls."""

CHECK_DRAWS = 1000
REPLICATES = 20
SHUFFLES = 20
LEAST_HELD_OUT = 10
"""Gaps that held-out users must have, at least, to check a fit on."""
MONTH = 30.0
"""Days; a log that is shorter has too few gaps above a week to look at, and 3 days are looked at instead."""

LEAST_RELIABLE = 0.01
DAYS_OF_WEEK = ("Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday")
"""From that on which 1970 began."""
MINUTES = 1440.0
Floats = NDArray[np.float64]
Report = Callable[[str, int, int, str | None], None]
Fit = Callable[..., FittedGaps]
"""`fit_gaps` of training users, with what all of its fits share."""


@dataclass(frozen=True)
class Compared:
    """One statistic of gaps. real, low, high: of held-out users, with its 95 % interval. simulated: mean of several
    simulations of the same users. inside: whether that is in the interval."""

    name: str
    real: float
    low: float
    high: float
    simulated: float
    inside: bool


@dataclass(frozen=True)
class Returns:
    """What `fit_returns` found.

    Attributes:
        name: of the data set. counts: of users, sessions and so on, by name. fitted: to the training users.
        reliability: share of the variance of quality that is the sessions' own, see `LogSessions`.
        shuffled: mean, lowest and highest weights of session and memory with quality shuffled within users.
        beside: the same fit with two columns more, "next", the quality of the next session, 0 where there is none, and
            "people", how much better than others' a user's feedback is.
        check: statistics of the gaps of held-out users, real and simulated. file: what was written.
    """

    name: str
    counts: Mapping[str, int]
    reliability: float
    fitted: FittedGaps
    shuffled: Mapping[str, Estimate]
    beside: FittedGaps
    check: tuple[Compared, ...]
    file: Path

    @property
    def recipe(self) -> str:
        """The settings that simulate the fit where `env.horizon` is "days", as YAML."""
        return "\n".join(_recipe(self.fitted))

    @property
    def usable(self) -> bool:
        """Whether it describes the gaps of held-out users well enough to be simulated."""
        return describes(row.inside for row in self.check)

    @property
    def undiluted(self) -> Estimate | None:
        """The weight of a session's own quality, if the feedback seen is that and chance; None where nothing is."""
        seen = self.fitted.estimates["session"]
        if self.reliability < LEAST_RELIABLE:
            return None
        return Estimate(*(value / self.reliability for value in (seen.value, seen.low, seen.high)))


def fit_returns(
    folder: Path, *, pause: float = 30.0, weekly: bool = False, seed: int = 0, report: Report | None = None, now: float
) -> Returns:
    """Fit `lerl.envs.sessions.config.Gap` to the log of a prepared folder, and write returns.json into it.

    Both halves of the log are used, since without one of them the pauses would be longer; what is learned, when people
    come back, tells agents nothing of items. The fit and its controls use training users, the check the others.

    Args:
        folder: as `lerl data prepare` or `import` left it.
        pause: minutes without interactions that end a session.
        weekly: whether the day of the week is in the model.
        seed: of the bootstrap, the shuffles and the simulation.
        report: called with progress.
        now: seconds since 1970; a log with later times is refused.

    Raises:
        MissingDataError: there is no prepared data set in the folder.
        DataError: its log has no times that could be used, is too short for a week that is asked for, or hardly anybody
            came back, of training or held-out users.
        RunError: another process is at work in the folder.
    """
    name = str(read_about(folder, OWN_LOGS)["name"])
    say = report or (lambda stage, done, of, note: None)
    with locked(folder):
        sessions = sessions_of(read_prepared_log(folder), pause / MINUTES, now, f"the log of {folder}")
        _check_held_out(sessions, folder)
        train, others = sessions.only(sessions.training), sessions.only(~sessions.training)
        habit = likeliest_habit(train, lambda n, of: say("habits", n, of, None))
        fit = partial(fit_gaps, train, habit=habit, weekly=weekly)
        fitted = fit(draws=DRAWS, seed=seed, report=lambda n, of: say("gaps", n, of, None))
        controls = _shuffled(train, fit, seed, say)
        beside = _beside(train, fit, seed, say)
        check = tuple(compared(others, fitted, seed))
        found = Returns(name, _counts(sessions), sessions.reliability, fitted, controls, beside, check, folder)
        path = write_returns(folder, fitted, _more(found))
    return replace(found, file=path)


def _check_held_out(sessions: LogSessions, folder: Path) -> None:
    returned = int((sessions.returned & ~sessions.training[sessions.users]).sum())
    if returned < LEAST_HELD_OUT:
        raise DataError(
            f"the log of {folder}: held-out users, about a quarter of all, came back {returned} times, and the fit is "
            f"checked on {LEAST_HELD_OUT} times at least: give a longer log, or one with more users"
        )


def _counts(sessions: LogSessions) -> dict[str, int]:
    return {
        "users": len(sessions.levels),
        "training_users": int(sessions.training.sum()),
        "sessions": len(sessions),
        "sessions_of_one_interaction": int((sessions.counts == 1).sum()),
        "users_with_one_session": int((np.bincount(sessions.users) == 1).sum()),
    }


def _shuffled(train: LogSessions, fit: Fit, seed: int, say: Report) -> dict[str, Estimate]:
    found = []
    for number, quality in enumerate(shuffled(train, range(seed, seed + SHUFFLES))):
        estimates = fit(quality=quality).estimates
        found.append([estimates["session"].value, estimates["memory"].value])
        say("quality shuffled", number + 1, SHUFFLES, None)
    ends = np.stack([np.mean(found, axis=0), np.min(found, axis=0), np.max(found, axis=0)], axis=1)
    return {name: Estimate(*map(float, end)) for name, end in zip(("session", "memory"), ends, strict=True)}


def _beside(train: LogSessions, fit: Fit, seed: int, say: Report) -> FittedGaps:
    later = np.where(train.returned, np.append(train.quality[1:], 0.5), 0.5) - 0.5
    columns = {"next": later, "people": train.levels[train.users]}

    def told(done: int, of: int) -> None:
        say("gaps beside more", done, of, None)

    return fit(more=columns, draws=DRAWS // 2, seed=seed, report=told)


def compared(sessions: LogSessions, fitted: FittedGaps, seed: int) -> list[Compared]:
    """Statistics of the gaps of users, real and simulated from the end of their first sessions on.

    They are: what is usual (median), both ends (the share within a day, the share above 3 days, or a week in logs of a
    month or more, and the mean of log gaps, on which the shortest weigh most), whether gaps of one person are alike
    (correlation of successive log gaps), and what retention is made of (sessions per user). Gaps count that end within
    the log, which cuts real and simulated ones off at the same day.

    Args:
        sessions: of users that the model was not fitted to. fitted: the model. seed: of all draws.
    """
    rng, people = np.random.default_rng([seed, 19]), len(sessions.levels)
    sample = rng.multinomial(people, np.full(people, 1.0 / people), size=CHECK_DRAWS).astype(np.float64)
    real = gap_statistics(sessions, np.ones(people))
    drawn = np.array([list(gap_statistics(sessions, weights).values()) for weights in sample])
    made = [simulate(sessions, fitted.gap, seed + n, peak=fitted.peak, habit=fitted.habit) for n in range(REPLICATES)]
    simulated = np.mean([list(gap_statistics(each, np.ones(people)).values()) for each in made], axis=0)
    rows = zip(real.items(), *percentiles(drawn), simulated, strict=True)
    return [
        Compared(name, value, float(low), float(high), float(made), bool(low <= made <= high))
        for (name, value), low, high, made in rows
    ]


def gap_statistics(sessions: LogSessions, weights: Floats) -> dict[str, float]:
    """Statistics of the gaps that ended, by name; users count by weights (U,). See `compared`."""
    gaps = sessions.gaps[sessions.returned]
    own = weights[sessions.users[sessions.returned]]
    logs, total = np.log(gaps), max(float(own.sum()), 1e-12)
    long = 3 if sessions.last - sessions.starts.min() < MONTH else 7
    twice = sessions.returned[1:] & sessions.returned[:-1] & ~sessions.first[1:]
    before, after = (np.log(np.maximum(part[twice], 1e-9)) for part in (sessions.gaps[:-1], sessions.gaps[1:]))
    return {
        "median gap, days": _weighted_median(gaps, own),
        "share within 1 day": float(own @ (gaps <= 1.0)) / total,
        f"share above {long} days": float(own @ (gaps > long)) / total,
        "mean of log gaps": float(own @ logs) / total,
        "correlation of log gap and next": _correlation(before, after, weights[sessions.users[1:]][twice]),
        "sessions per user": float(weights @ np.bincount(sessions.users)) / float(weights.sum()),
    }


def _weighted_median(values: Floats, weights: Floats) -> float:
    if not len(values):
        return 0.0  # as the other statistics of no gaps
    order = np.argsort(values)
    below = np.cumsum(weights[order])
    return float(values[order[np.searchsorted(below, 0.5 * below[-1])]])


def _correlation(one: Floats, other: Floats, weights: Floats) -> float:
    weights = weights / max(float(weights.sum()), 1e-12)
    one, other = one - weights @ one, other - weights @ other
    spreads = float(np.sqrt((weights @ one**2) * (weights @ other**2)))
    return float(weights @ (one * other)) / max(spreads, 1e-12)


def _recipe(fitted: FittedGaps) -> list[str]:
    gap, habit = fitted.gap, fitted.habit
    values = {**{name: getattr(gap, name) for name in _names(fitted)}, "shortest": gap.shortest}
    return [
        "env:",
        "  return_:",
        "    gap:",
        *(f"      {name}: {value:.4g}" for name, value in values.items()),
        f"    habit: {{rate: {habit.rate:g}, fades: {habit.fades:g}}}",
        "    churn:",
        "      enabled: false # who never comes back is among the long gaps",
    ]


def _names(fitted: FittedGaps) -> list[str]:
    """Of `Gap`, what was fitted."""
    return [*NAMES, *([WEEKLY] if WEEKLY in fitted.estimates else [])]


def _busiest(fitted: FittedGaps) -> str:
    day = f"{DAYS_OF_WEEK[int(fitted.peak)]}, " if WEEKLY in fitted.estimates else ""
    return f"busiest hour {day}{fitted.peak % 1.0 * 24:.1f} UTC"


def _more(found: Returns) -> dict[str, Any]:
    return {
        "data": found.name,
        "counts": dict(found.counts),
        "reliability": found.reliability,
        "session_undiluted": None if found.undiluted is None else asdict(found.undiluted),
        "quality_shuffled": {name: asdict(estimate) for name, estimate in found.shuffled.items()},
        "beside_next_and_people": {name: asdict(estimate) for name, estimate in found.beside.estimates.items()},
        "held_out": [asdict(row) for row in found.check],
        "recipe": found.recipe,
    }


def as_json(found: Returns) -> str:
    """All of it, for programs: what returns.json holds."""
    return json.dumps({**json.loads(found.file.read_text(encoding="utf-8")), "file": str(found.file)}, indent=2)


UNITS = {
    "typical": "days",
    "person": "of log gap, between people",
    "daily": "0 where the hour does not matter",
    "weekly": "0 where the day of the week does not matter",
    "session": "log gap shorter for a quality of 1 than of 0",
    "memory": "the same, of what is remembered",
}


def lines(found: Returns) -> list[str]:
    """What was found, to print."""
    counts, fitted = found.counts, found.fitted
    single = counts["sessions_of_one_interaction"] / counts["sessions"]
    cut = fitted.gaps - fitted.ended
    inside = sum(row.inside for row in found.check)
    said = [
        f"{found.name}: {counts['sessions']:,} sessions of {counts['users']:,} users, apart by pauses of "
        f"{fitted.shortest * MINUTES:g} minutes or more; {single:.0%} of one interaction",
        f"gaps of training users: {fitted.gaps:,}, of which {cut:,} were cut off by the end of the log",
        "env.return_.gap, with 95 % intervals over users:",
        *(_row(name, fitted.estimates[name], UNITS.get(name, "")) for name in _names(fitted)),
        f"  {_busiest(fitted)}; habit of rate {fitted.habit.rate:g} that fades in "
        f"{fitted.habit.fades:g} days, the likeliest of {len(HABITS)}",
        "controls:",
        *_controls(found),
        f"gaps of held-out users, {inside} of {len(found.check)} statistics inside:",
        *(_checked(row) for row in found.check),
        *NOTES,
    ]
    if not found.usable:
        said.append("half of the statistics or more are outside: gaps of this log are not of this form; do not use:")
    return [*said, "settings that simulate these gaps where env.horizon is days:", *_indented(found.recipe)]


def _controls(found: Returns) -> list[str]:
    beside = found.beside.estimates
    said = [
        _row(f"{name}, shuffled", of, "quality shuffled within users, mean and range: chance")
        for name, of in found.shuffled.items()
    ]
    said += [
        _row("session, beside these", beside["session"], "within users, with the two below held equal"),
        _row("next session", beside["next"], "cannot be a cause; not 0 where gaps, or plans, act on quality"),
        _row("people", beside["people"], "between users: who likes more, and all in which they differ"),
    ]
    share = f"{found.reliability:.0%} of quality's spread is the sessions' own"
    if found.undiluted is None:
        return [*said, f"  {share}: this log cannot tell what a session's quality does"]
    return [*said, _row("session, undiluted", found.undiluted, share)]


def next_command(found: Returns) -> str:
    """What judges agents on people who come back as was fitted."""
    population = load_population(found.file.parent)
    train = train_command(found.file.parent, len(population.catalog), directions(population))
    return f"{train} --env.horizon days --data.returns fitted"


NOTES = (
    "what no log tells: whether quality is the cause, since who means to come back soon may behave otherwise; who is",
    "  gone for good and who comes late; what came before its first day, where habit and memory begin at nothing",
)


def _row(name: str, found: Estimate, words: str) -> str:
    return f"  {name:<22}{found.value:9.4f} [{found.low:9.4f}, {found.high:9.4f}]  {words}".rstrip()


def _checked(row: Compared) -> str:
    where = "" if row.inside else "  outside"
    return f"  {row.name:<32}{row.real:9.4f} [{row.low:9.4f}, {row.high:9.4f}]  simulated {row.simulated:9.4f}{where}"


def _indented(text: str) -> list[str]:
    return [f"  {line}" for line in text.splitlines()]
