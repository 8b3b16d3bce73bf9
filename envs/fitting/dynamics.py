"""How people tire, drift and differ, fitted to a log by matching statistics through simulation.

Simulated users live through what training users were really shown, and the parameters are moved until their reactions
have the statistics of the log's (the method of simulated moments: McFadden, Econometrica 1989; indirect inference:
Gourieroux, Monfort and Renault 1993). Tastes are those of users' first halves, statistics those of their second halves;
the items that a training user is simulated with were fitted without him. What the log cannot tell stays as assumed.
"""

import json
import math
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares  # type: ignore[import-untyped, unused-ignore]

from lerl.envs.config import Boredom, Drift, Fatigue, Mood, SimulatorConfig
from lerl.envs.files import write_whole
from lerl.envs.fitting.latent import Interactions, TasteModel, calibrated, calibration, fit_raw
from lerl.envs.fitting.replay import item_by_item, replay
from lerl.envs.fitting.statistics import Background, Sequences, Statistics
from lerl.envs.population import Population, Truth
from lerl.envs.schema import DataError
from lerl.envs.simulator import UserSimulator
from lerl.envs.store import DYNAMICS_FILE, MissingDataError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

FORMAT = 1
"""Of the file that fitted dynamics are kept in."""

SPREAD_SEED = 0
"""Of how people differ from their fitted tastes: the same people in every run."""

FOLDS = 3  # of training users, each simulated with items that the others made
REPLICATES = 2  # simulated lives of each user
LONGEST = 1000  # interactions of a user's second half that are looked at
ROUNDS = 10
DRAWS = 300  # of users, for the covariance of the statistics
TOLD = 0.75
"""A parameter whose standard error is at most so much of what was assumed before is told by the log."""


@dataclass(frozen=True)
class Parameter:
    """Something to fit; times and rates are fitted as logarithms.

    Attributes:
        name: of a part of `SimulatorConfig`, or of `Users`. assumed: before the log is seen, in units of one item.
        doubt: standard error of that, on the scale it is fitted on. step: for slopes, on the same scale.
        least, most: what it may be. log: whether it is fitted as its logarithm.
    """

    name: str
    assumed: float
    doubt: float
    step: float
    least: float
    most: float
    log: bool = False

    def scaled(self, value: float) -> float:
        """On the scale that it is fitted on."""
        return math.log(value) if self.log else value

    def natural(self, scaled: float) -> float:
        """Back from there, within its bounds."""
        value = math.exp(min(scaled, 30.0)) if self.log else scaled
        return min(max(value, self.least), self.most)


PARAMETERS = (
    Parameter("users.level", 0.0, 1.0, 0.1, -3.0, 3.0),
    Parameter("users.offset_spread", 0.3, 0.5, 0.15, 0.0, 3.0),
    Parameter("users.taste_spread", 0.3, 0.5, 0.2, 0.0, 3.0),
    Parameter("boredom.weight", 0.0, 0.5, 0.05, 0.0, 5.0),
    Parameter("boredom.time_constant", 20.0, 1.0, 0.5, 1.0, 500.0, log=True),
    Parameter("fatigue.weight", 0.0, 0.5, 0.2, -5.0, 5.0),
    Parameter("fatigue.time_constant", 30.0, 1.0, 0.5, 1.0, 500.0, log=True),
    Parameter("mood.spread", 0.0, 0.5, 0.2, 0.0, 3.0),
    Parameter("mood.time_constant", 5.0, 1.0, 0.5, 0.5, 100.0, log=True),
    Parameter("drift.noise", 0.1, 0.2, 0.05, 0.0, 2.0),
    Parameter("drift.revert", 0.1, 1.0, 0.5, 0.002, 1.0, log=True),
    Parameter("drift.shift_probability", 0.005, 1.0, 0.7, 0.0001, 0.2, log=True),
)

ASSUMED = (
    "drift.pull", "drift.shift_size", "satisfaction.rate", "satisfaction.initial", "patience.spread", "leave",
)  # fmt: skip
"""What no log of interactions tells: where tastes are pulled to, what satisfaction is, and why people leave."""


@dataclass(frozen=True)
class Estimate:
    """One fitted parameter.

    Attributes:
        value: in units of one item shown. low, high: 95 % interval. told: whether the log tells it; otherwise the
            value is the one assumed, and the interval what the log leaves open.
    """

    value: float
    low: float
    high: float
    told: bool


@dataclass(frozen=True)
class Fitted:
    """What a log says of its users' dynamics.

    Attributes:
        estimates: by the names of `PARAMETERS`. topics: of the simulator that was fitted. away: how far its statistics
            are from the log's, root mean square in standard errors.
    """

    estimates: Mapping[str, Estimate]
    topics: str
    away: float

    @property
    def assumptions(self) -> list[str]:
        """Parameters that stand as assumed."""
        return [name for name, estimate in self.estimates.items() if not estimate.told] + list(ASSUMED)

    @property
    def values(self) -> dict[str, float]:
        """Values by name."""
        return {name: estimate.value for name, estimate in self.estimates.items()}


@dataclass(frozen=True)
class Halves:
    """A log in order, and where its users' first halves end.

    Attributes:
        sequences: of all users of a population, numbered as there. training: (U,) bool.
    """

    sequences: Sequences
    training: NDArray[np.bool_]

    @cached_property
    def first(self) -> NDArray[np.bool_]:
        """(N,) whether an interaction is of its user's first half."""
        told = self.sequences
        return told.places < (told.lengths // 2)[told.users]

    def rows(self, keep: NDArray[np.bool_]) -> Interactions:
        """Interactions for which `keep`, (N,) bool, is true."""
        told = self.sequences
        return Interactions(told.users[keep], told.items[keep], told.clicks[keep] > 0.5)

    def tastes(self, makers: NDArray[np.bool_], dim: int, seed: int, items: int) -> TasteModel:
        """Items from the whole sequences of some users, (U,) bool, and everybody's taste from his first half."""
        made = makers[self.sequences.users]
        return fit_raw(self.rows(made), makers, items, dim=dim, seed=seed, told=self.rows(self.first))


def with_truth(population: Population, model: TasteModel) -> Population:
    """The population with other tastes."""
    return replace(
        population, truth=Truth(model.item_vectors, model.item_offsets, model.user_vectors, model.user_offsets)
    )


def with_spread(population: Population, values: Mapping[str, float], seed: int) -> Population:
    """The population with what an estimate of a taste leaves out: how far people are from it.

    A fitted taste is drawn towards the average, so that people fitted with it are too much alike; each user's taste and
    offset therefore get a draw of their own, the taste's with the covariance of the population's.

    Args:
        population: whose users. values: "users.level", "users.offset_spread" and "users.taste_spread". seed: of the
            draws, the same for the same user whatever the values.
    """
    truth, rng = population.truth, np.random.default_rng([seed, 7])
    users, dim = truth.user_vectors.shape
    offsets, tastes = rng.normal(size=users), rng.normal(size=(users, dim))
    told = truth.user_vectors[population.training]
    root = np.linalg.cholesky(np.cov(told.T.astype(np.float64)).reshape(dim, dim) + 1e-9 * np.eye(dim))
    moved = truth.user_vectors + values["users.taste_spread"] * (tastes @ root.T)
    level = truth.user_offsets + values["users.level"] + values["users.offset_spread"] * offsets
    return replace(
        population,
        truth=replace(truth, user_vectors=moved.astype(np.float32), user_offsets=level.astype(np.float32)),
    )


def configured(config: SimulatorConfig, values: Mapping[str, float], slate_size: int = 1) -> SimulatorConfig:
    """The configuration with fitted strengths, for slates of a size: a step then shows so many items.

    Args:
        config: whose other parts stay. values: by the names of `PARAMETERS`, in units of one item shown.
        slate_size: items of a step.
    """
    k = slate_size
    boredom, fatigue, drift = config.boredom, config.fatigue, config.drift
    return replace(
        config,
        boredom=Boredom(boredom.enabled, k * values["boredom.weight"], values["boredom.time_constant"] / k),
        fatigue=Fatigue(fatigue.enabled, values["fatigue.weight"], values["fatigue.time_constant"] / k),
        mood=Mood(config.mood.enabled, values["mood.spread"], values["mood.time_constant"] / k),
        drift=Drift(
            drift.enabled,
            revert=1 - (1 - values["drift.revert"]) ** k,
            pull=min(k * drift.pull, 1.0),
            noise=values["drift.noise"] * math.sqrt(k),
            shift_probability=1 - (1 - values["drift.shift_probability"]) ** k,
            shift_size=drift.shift_size,
        ),
    )


def told(fitted: Fitted) -> list[str]:
    """The parameters, one line each, to print."""
    return [
        f"  {name:<26}{found.value:9.4f} [{found.low:9.4f}, {found.high:9.4f}]"
        + ("" if found.told else "  assumed; the log leaves it open")
        for name, found in fitted.estimates.items()
    ]


def write_fitted(folder: Path, found: Sequence[Fitted]) -> Path:
    """Keep what was found beside the prepared data set, one entry for each kind of topics."""
    told = {fitted.topics: asdict(fitted) for fitted in found}
    path = folder / DYNAMICS_FILE
    write_whole(path, json.dumps({"format": FORMAT, "topics": told}, indent=1) + "\n")
    return path


def read_fitted(folder: Path, topics: str) -> Fitted:
    """What `write_fitted` kept for a kind of topics.

    Raises:
        MissingDataError: nothing was fitted. DataError: the file cannot be used.
    """
    path = Path(folder) / DYNAMICS_FILE
    again = f"fit them with: lerl fit {shlex.quote(str(folder))} --model latent --dynamics"
    if not path.is_file():
        raise MissingDataError(f"{folder} holds no fitted dynamics ({DYNAMICS_FILE} is missing); {again}")
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        if told["format"] != FORMAT:
            raise ValueError(f"format {told['format']}, this lerl reads {FORMAT}")
        kept = told["topics"][topics]
        estimates = {p.name: Estimate(**kept["estimates"][p.name]) for p in PARAMETERS}
        for p in PARAMETERS:
            found = estimates[p.name]
            wrong = [number for number in (found.value, found.low, found.high) if not p.least <= number <= p.most]
            if wrong:
                raise ValueError(f"{p.name} is {wrong[0]}")
        return Fitted(estimates, topics, float(kept["away"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} cannot be used ({error!r}); {again}") from error


def fitted_users(population: Population, config: SimulatorConfig, fitted: Fitted) -> tuple[Population, SimulatorConfig]:
    """The users, and their dynamics, that were fitted to a log.

    Args:
        population: as prepared. config: whose slates, sessions, leaving and satisfaction stay.
        fitted: for the topics of `config`.

    Raises:
        ValueError: the configuration has strengths of its own in a part that is fitted.
    """
    plain = SimulatorConfig()
    for part in ("boredom", "fatigue", "mood", "drift"):
        given = getattr(config, part)
        own = [
            entry.name
            for entry in fields(given)
            if getattr(given, entry.name) != getattr(getattr(plain, part), entry.name)
        ]
        own = [name for name in own if name != "enabled"]
        if own:
            raise ValueError(
                f"data.users is fitted, which decides env.{part}.{own[0]}; leave that out, or set data.users to assumed"
            )
    return with_spread(population, fitted.values, SPREAD_SEED), configured(config, fitted.values, config.slate_size)


def fit_dynamics(
    population: Population,
    halves: Halves,
    background: Background,
    topics: str,
    *,
    dim: int,
    seed: int,
    report: Callable[[str], object] | None = None,
) -> tuple[Fitted, TasteModel]:
    """Fit on training users.

    Args:
        population: catalogue and split. halves: the log. background: of the statistics. topics: see `SimulatorConfig`.
        dim: length of taste vectors. seed: of all draws. report: called with a line on each round.

    Returns:
        What was found, and the taste model of all training users, with evaluation users' tastes of their first halves.
    """
    say = report or (lambda line: None)
    matching = _Matching(population, halves, background, topics, dim, seed)
    fitted = matching.fit(say)
    raw = halves.tastes(halves.training, dim, seed, len(population.catalog))
    return fitted, calibrated(raw, matching.coefficients)


class _Matching:
    def __init__(
        self, population: Population, halves: Halves, background: Background, topics: str, dim: int, seed: int
    ) -> None:
        self.background, self.topics, self.seed = background, topics, seed
        folds = np.random.default_rng([seed, 3]).integers(0, FOLDS, len(halves.training))
        told = halves.sequences
        second = ~halves.first & (told.places < (told.lengths // 2)[told.users] + LONGEST)
        judged = halves.training[told.users] & second & (told.lengths >= 4)[told.users]
        self.real = told.where(judged)
        owners = np.unique(told.users[judged])
        self.parts: list[tuple[UserSimulator, NDArray[np.bool_], Ints]] = []
        coefficients = []
        config = item_by_item(SimulatorConfig(topics=topics), LONGEST)
        for fold in range(FOLDS):
            makers = halves.training & (folds != fold)
            raw = halves.tastes(makers, dim, seed, len(population.catalog))
            mine = judged & (folds == fold)[told.users]
            coefficients.append(calibration(raw, halves.rows(mine)))
            users = with_truth(population, calibrated(raw, coefficients[-1]))
            chosen = (folds == fold)[owners]
            self.parts.append((UserSimulator(users, config, "all"), chosen[self.real.users], owners[chosen]))
        self.coefficients = np.mean(coefficients, axis=0)
        truth = Statistics(self.real, background, fitting=True)
        self.names = [name for name, value in truth.of().items() if np.isfinite(value[0])]
        self.wanted = np.array([truth.of()[name][0] for name in self.names])
        drawn = np.stack([truth.drawn(DRAWS, seed)[name] for name in self.names])
        covariance = np.cov(drawn) * (1 + 1 / REPLICATES)
        errors = np.sqrt(np.diag(covariance))
        self.errors = errors
        correlation = covariance / np.outer(errors, errors)
        self.precision = np.linalg.inv(0.95 * correlation + 0.05 * np.eye(len(errors)))

    def away(self, scaled: Floats) -> Floats:
        """How far simulated statistics are from the log's, in standard errors."""
        values = {p.name: p.natural(value) for p, value in zip(PARAMETERS, scaled.tolist(), strict=True)}
        found = np.zeros(len(self.names))
        for replicate in range(REPLICATES):
            told = Statistics(self.lived(values, replicate), self.background, fitting=True).of()
            found += np.array([told[name][0] for name in self.names]) / REPLICATES
        return (found - self.wanted) / self.errors

    def lived(self, values: Mapping[str, float], replicate: int) -> Sequences:
        """Training users' second halves with simulated reactions."""
        clicks = np.zeros(len(self.real))
        for simulator, rows, owners in self.parts:
            population = with_spread(simulator.population, values, self.seed + replicate)
            changed = simulator.changed(population, configured(simulator.config, values))
            clicks[rows] = replay(changed, self.real.where(rows), owners, self.seed + 1000 * replicate).clicks
        return replace(self.real, clicks=clicks)

    def fit(self, say: Callable[[str], object]) -> Fitted:
        """Fit all parameters, then once more those that the log tells, the others as assumed."""
        free = np.ones(len(PARAMETERS), bool)
        point = np.array([p.scaled(p.assumed) if p.log else p.assumed + 0.2 * p.step for p in PARAMETERS])
        point, free_point, errors = self._solved(point, free, say)
        told = errors <= TOLD * np.array([p.doubt for p in PARAMETERS])
        opened = [_estimate(*found) for found in zip(PARAMETERS, point, free_point, errors, told, strict=True)]
        point[~told] = [p.scaled(p.assumed) for p, known in zip(PARAMETERS, told, strict=True) if not known]
        point, free_point, errors = self._solved(point, told, say)
        # Of how fast something fades that is not there, the log tells nothing.
        still = told & (errors <= TOLD * np.array([p.doubt for p in PARAMETERS]))
        closed = [_estimate(*found) for found in zip(PARAMETERS, point, free_point, errors, still, strict=True)]
        away = float(np.sqrt((self.away(point) ** 2).mean()))
        say(f"dynamics: {away:.1f} standard errors away")
        estimates = [again if known else first for first, again, known in zip(opened, closed, told, strict=True)]
        return Fitted({p.name: found for p, found in zip(PARAMETERS, estimates, strict=True)}, self.topics, away)

    def _solved(
        self, start: Floats, free: NDArray[np.bool_], say: Callable[[str], object]
    ) -> tuple[Floats, Floats, Floats]:
        """Generalised least squares with what was assumed as a prior, within bounds, others than `free` (P,) held.

        Returns:
            (P,) where it ended, where it would have without bounds, and standard errors, 0 for those held.
        """
        parts = [p for p, mine in zip(PARAMETERS, free, strict=True) if mine]
        assumed = np.array([p.scaled(p.assumed) for p in parts])
        doubts, steps = np.array([p.doubt for p in parts]), np.array([p.step for p in parts])
        bounds = ([p.scaled(p.least) for p in parts], [p.scaled(p.most) for p in parts])
        root, rounds = np.linalg.cholesky(self.precision).T, 0

        def whole(some: Floats) -> Floats:
            point = start.copy()
            point[free] = some
            return point

        def residuals(some: Floats) -> Floats:
            return np.concatenate([root @ self.away(whole(some)), (some - assumed) / doubts])

        def slopes(some: Floats) -> Floats:
            nonlocal rounds
            rounds += 1
            here = self.away(whole(some))
            say(f"dynamics: {np.sqrt((here**2).mean()):.1f} standard errors away, round {rounds}, {len(parts)} free")
            moved = [
                (self.away(whole(some + step * unit)) - here) / step
                for step, unit in zip(steps, np.eye(len(parts)), strict=True)
            ]
            return np.concatenate([root @ np.stack(moved, axis=1), np.diag(1 / doubts)])

        inside = np.clip(start[free], np.array(bounds[0]) + 0.1 * steps, np.array(bounds[1]) - 0.1 * steps)
        found = least_squares(
            residuals, inside, jac=slopes, bounds=bounds, x_scale=steps, max_nfev=ROUNDS, xtol=1e-3, ftol=1e-3
        )
        spread = np.linalg.inv(found.jac.T @ found.jac)
        errors = np.zeros(len(start))
        errors[free] = np.sqrt(np.diag(spread))
        return whole(found.x), whole(found.x - spread @ (found.jac.T @ found.fun)), errors


def _estimate(parameter: Parameter, value: float, centre: float, error: float, told: bool) -> Estimate:
    return Estimate(
        parameter.natural(float(value)) if told else parameter.assumed,
        parameter.natural(float(centre - 1.96 * error)),
        parameter.natural(float(centre + 1.96 * error)),
        bool(told),
    )
