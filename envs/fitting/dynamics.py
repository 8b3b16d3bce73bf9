"""Boredom, fatigue, mood, drift and differences between users, fitted to a log by the method of simulated moments.

Simulated users are shown what training users were really shown, and the parameters are moved until the statistics of
their reactions are the log's (McFadden, Econometrica 1989; indirect inference: Gourieroux, Monfort and Renault 1993).
Tastes come from users' first halves, statistics from their second halves; the item vectors with which a training user
is simulated were fitted without that user. A parameter that the log does not identify stays as assumed.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares  # type: ignore[import-untyped, unused-ignore]

from lerl.envs.config import Drift, Fatigue, Mood, SimulatorConfig, Topics
from lerl.envs.files import write_whole
from lerl.envs.fitting.kept import FORMAT, fitted_file
from lerl.envs.fitting.latent import Interactions, TasteModel, calibrated, calibration, fit_raw
from lerl.envs.fitting.replay import item_by_item, replay
from lerl.envs.fitting.statistics import Background, Sequences, Statistics
from lerl.envs.population import Population
from lerl.envs.simulator import UserSimulator
from lerl.envs.store import DYNAMICS_FILE

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SPREAD_SEED = 0
"""Seed of how users differ from their fitted tastes: the same users in every run."""

FOLDS = 3
"""Parts of the training users; each part is simulated with item vectors fitted to the others."""

REPLICATES = 2
"""How often each user is simulated."""

MOST_LATER = 1000
"""Interactions of a user's second half that are used, at most."""

ROUNDS = 10
DRAWS = 300
"""Bootstrap samples of users, for the covariance of the statistics."""

IDENTIFIED = 0.75
"""The log identifies a parameter whose standard error is at most this share of the prior's."""


@dataclass(frozen=True)
class Parameter:
    """A parameter to fit; times and rates are fitted as logarithms.

    Attributes:
        name: of a field in a part of `SimulatorConfig`, or of what makes users differ, "users.NAME".
        assumed: mean of the prior, in units of one item shown.
        doubt: standard deviation of the prior, on the scale that is fitted.
        step: for numerical derivatives, on the same scale.
        least, most: bounds, in units of one item shown.
        log: whether the logarithm is fitted.
    """

    name: str
    assumed: float
    doubt: float
    step: float
    least: float
    most: float
    log: bool = False

    def scaled(self, value: float) -> float:
        """A value on the scale that is fitted."""
        return math.log(value) if self.log else value

    def natural(self, scaled: float) -> float:
        """The value, within the bounds, from the scale that is fitted."""
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
"""What no log of interactions identifies: where tastes are pulled to, what satisfaction is, and why people leave."""


@dataclass(frozen=True)
class ParameterEstimate:
    """One fitted parameter, in units of one item shown.

    Attributes:
        value: the estimate, or what is assumed where the log does not identify the parameter.
        low, high: ends of the 95 % interval.
        identifiable: whether the log identifies the parameter.
    """

    value: float
    low: float
    high: float
    identifiable: bool


@dataclass(frozen=True)
class FittedDynamics:
    """The dynamics of a log's users.

    Attributes:
        estimates: by the names of `PARAMETERS`.
        topics: "hidden" or "categories", of the simulator that was fitted.
        away: how far its statistics are from the log's, root mean square in standard errors.
    """

    estimates: Mapping[str, ParameterEstimate]
    topics: Topics
    away: float

    @property
    def assumptions(self) -> list[str]:
        """Names of the parameters that are assumed."""
        return [name for name, estimate in self.estimates.items() if not estimate.identifiable] + list(ASSUMED)

    @property
    def values(self) -> dict[str, float]:
        """Values by name, in units of one item shown."""
        return {name: estimate.value for name, estimate in self.estimates.items()}


@dataclass(frozen=True)
class Halves:
    """A log in order, and where its users' first halves end.

    Attributes:
        sequences: of all U users of a population, numbered as there.
        training: (U,) bool, users to train on.
    """

    sequences: Sequences
    training: NDArray[np.bool_]

    @cached_property
    def first(self) -> NDArray[np.bool_]:
        """(N,) bool, whether an interaction is of its user's first half."""
        events = self.sequences
        return events.places < (events.lengths // 2)[events.users]

    def rows(self, keep: NDArray[np.bool_]) -> Interactions:
        """The interactions for which `keep`, (N,) bool, is true."""
        events = self.sequences
        return Interactions(events.users[keep], events.items[keep], events.clicks[keep] > 0.5)

    def tastes(self, makers: NDArray[np.bool_], dim: int, seed: int, items: int) -> TasteModel:
        """Items fitted to the whole sequences of some users, and every user's taste to the user's first half.

        Args:
            makers: (U,) bool, the users whose sequences the items are fitted to.
            dim: length of the vectors.
            seed: for the start of the least squares.
            items: how many items there are.
        """
        made = makers[self.sequences.users]
        return fit_raw(self.rows(made), makers, items, dim=dim, seed=seed, taste_rows=self.rows(self.first))


def with_truth(population: Population, model: TasteModel) -> Population:
    """The population with the item vectors and tastes of a model as its truth."""
    return replace(population, truth=model.truth())


def with_spread(population: Population, values: Mapping[str, float], seed: int) -> Population:
    """The population with users spread around their estimated tastes.

    An estimated taste is shrunk towards the average, so that estimated users are too much alike. Each user's taste and
    offset therefore get a random part, the taste's with the covariance of the training users' tastes.

    Args:
        population: whose users.
        values: "users.level", "users.offset_spread" and "users.taste_spread", by name.
        seed: of the draws; a user's are the same whatever the values.
    """
    truth, rng = population.truth, np.random.default_rng([seed, 7])
    users, dim = truth.user_vectors.shape
    offsets, tastes = rng.normal(size=users), rng.normal(size=(users, dim))
    estimated = truth.user_vectors[population.training]
    root = np.linalg.cholesky(np.cov(estimated.T.astype(np.float64)).reshape(dim, dim) + 1e-9 * np.eye(dim))
    moved = truth.user_vectors + values["users.taste_spread"] * (tastes @ root.T)
    level = truth.user_offsets + values["users.level"] + values["users.offset_spread"] * offsets
    return replace(
        population,
        truth=replace(truth, user_vectors=moved.astype(np.float32), user_offsets=level.astype(np.float32)),
    )


def configured(config: SimulatorConfig, values: Mapping[str, float], slate_size: int = 1) -> SimulatorConfig:
    """The configuration with fitted strengths, for steps that show slates of `slate_size` items.

    Args:
        config: its other parts stay.
        values: by the names of `PARAMETERS`, in units of one item shown.
        slate_size: items of a step, 1 or more.
    """
    k = slate_size
    boredom, fatigue, drift = config.boredom, config.fatigue, config.drift
    return replace(
        config,
        boredom=replace(
            boredom, weight=k * values["boredom.weight"], time_constant=values["boredom.time_constant"] / k
        ),
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


def estimate_lines(estimates: Mapping[str, ParameterEstimate]) -> list[str]:
    """The parameters, one line each, to print."""
    return [
        f"  {name:<26}{found.value:9.4f} [{found.low:9.4f}, {found.high:9.4f}]"
        + ("" if found.identifiable else "  assumed; the log does not identify it")
        for name, found in estimates.items()
    ]


def write_fitted(folder: Path, found: Sequence[FittedDynamics]) -> Path:
    """Write fitted dynamics into a prepared folder, one entry for each kind of topics; the path of the file."""
    by_topics = {fitted.topics: asdict(fitted) for fitted in found}
    path = folder / DYNAMICS_FILE
    write_whole(path, json.dumps({"format": FORMAT, "topics": by_topics}, indent=1) + "\n")
    return path


def read_fitted(folder: Path, topics: Topics) -> FittedDynamics:
    """What `write_fitted` wrote for a kind of topics, now or in version 0.1.0.

    Raises:
        MissingDataError: no dynamics were fitted.
        DataError: the file cannot be used.
    """
    with fitted_file(folder, DYNAMICS_FILE, "dynamics", "--model latent --dynamics") as content:
        kept = content["topics"][topics]
        estimates = {p.name: _read_estimate(**kept["estimates"][p.name]) for p in PARAMETERS}
        for p in PARAMETERS:
            found = estimates[p.name]
            wrong = [number for number in (found.value, found.low, found.high) if not p.least <= number <= p.most]
            if wrong:
                raise ValueError(f"{p.name} is {wrong[0]}")
        return FittedDynamics(estimates, topics, float(kept["away"]))


def _read_estimate(*, told: bool | None = None, **entry: Any) -> ParameterEstimate:
    """An estimate from a file, in which version 0.1.0 called `identifiable` `told`."""
    return ParameterEstimate(**entry if told is None else {**entry, "identifiable": told})


def fitted_users(
    population: Population, config: SimulatorConfig, fitted: FittedDynamics
) -> tuple[Population, SimulatorConfig]:
    """The population and the configuration that simulate the users fitted to a log.

    Args:
        population: as prepared.
        config: its slates, sessions, leaving and satisfaction stay.
        fitted: for the topics of `config`.

    Raises:
        ValueError: the configuration sets strengths in a part that is fitted.
    """
    plain = SimulatorConfig()
    for part in ("boredom", "fatigue", "mood", "drift"):
        given = getattr(config, part)
        own = [
            entry.name
            for entry in fields(given)
            if getattr(given, entry.name) != getattr(getattr(plain, part), entry.name)
        ]
        own = [name for name in own if name not in ("enabled", "within_slate")]
        if own:
            raise ValueError(
                f"data.users is fitted, which decides env.{part}.{own[0]}; leave that out, or set data.users to assumed"
            )
    return with_spread(population, fitted.values, SPREAD_SEED), configured(config, fitted.values, config.slate_size)


def fit_dynamics(
    population: Population,
    halves: Halves,
    background: Background,
    topics: Topics,
    *,
    dim: int,
    seed: int,
    report: Callable[[str], object] | None = None,
) -> tuple[FittedDynamics, TasteModel]:
    """Fit on training users.

    Args:
        population: its catalog and its split of the users are used.
        halves: the log.
        background: of the statistics.
        topics: "hidden" or "categories", see `SimulatorConfig`.
        dim: length of taste vectors.
        seed: of all draws.
        report: called with a line on each round.

    Returns:
        The dynamics; and a taste model whose items are fitted to all training users, and every user's taste to the
        user's first half.
    """
    say = report or (lambda line: None)
    moments = _SimulatedMoments(population, halves, background, topics, dim, seed)
    fitted = moments.fit(say)
    raw = halves.tastes(halves.training, dim, seed, len(population.catalog))
    return fitted, calibrated(raw, moments.coefficients)


class _Solution(NamedTuple):
    """Where least squares ended: `point`, without bounds `free_point`, and standard errors, 0 where held; (P,) each."""

    point: Floats
    free_point: Floats
    errors: Floats

    def estimates(self, identified: NDArray[np.bool_]) -> list[ParameterEstimate]:
        """Estimates of `PARAMETERS`, those not `identified`, (P,) bool, as assumed."""
        ends = self.free_point - 1.96 * self.errors, self.free_point + 1.96 * self.errors
        columns = zip(
            PARAMETERS, self.point.tolist(), *(end.tolist() for end in ends), identified.tolist(), strict=True
        )
        return [
            ParameterEstimate(p.natural(value) if known else p.assumed, p.natural(low), p.natural(high), known)
            for p, value, low, high, known in columns
        ]


class _SimulatedMoments:
    """The statistics that simulated training users should have, and a search for the parameters that give them."""

    def __init__(
        self, population: Population, halves: Halves, background: Background, topics: Topics, dim: int, seed: int
    ) -> None:
        self.background, self.topics, self.seed = background, topics, seed
        folds = np.random.default_rng([seed, 3]).integers(0, FOLDS, len(halves.training))
        events = halves.sequences
        second = ~halves.first & (events.places < (events.lengths // 2)[events.users] + MOST_LATER)
        judged = halves.training[events.users] & second & (events.lengths >= 4)[events.users]
        self.real = events.where(judged)
        owners = np.unique(events.users[judged])
        self.parts: list[tuple[UserSimulator, NDArray[np.bool_], Ints]] = []
        coefficients = []
        config = item_by_item(SimulatorConfig(topics=topics), MOST_LATER)
        for fold in range(FOLDS):
            makers = halves.training & (folds != fold)
            raw = halves.tastes(makers, dim, seed, len(population.catalog))
            mine = judged & (folds == fold)[events.users]
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
            statistics = Statistics(self.simulated(values, replicate), self.background, fitting=True).of()
            found += np.array([statistics[name][0] for name in self.names]) / REPLICATES
        return (found - self.wanted) / self.errors

    def simulated(self, values: Mapping[str, float], replicate: int) -> Sequences:
        """Training users' second halves with simulated reactions."""
        clicks = np.zeros(len(self.real))
        for simulator, rows, owners in self.parts:
            population = with_spread(simulator.population, values, self.seed + replicate)
            changed = simulator.changed(population, configured(simulator.config, values))
            clicks[rows] = replay(changed, self.real.where(rows), owners, self.seed + 1000 * replicate).clicks
        return replace(self.real, clicks=clicks)

    def fit(self, say: Callable[[str], object]) -> FittedDynamics:
        """Fit all parameters, then once more those that the log identifies, the others as assumed."""
        start = np.array([p.scaled(p.assumed) if p.log else p.assumed + 0.2 * p.step for p in PARAMETERS])
        opened = self._solved(start, np.ones(len(PARAMETERS), bool), say)
        enough = IDENTIFIED * np.array([p.doubt for p in PARAMETERS])
        identified = opened.errors <= enough
        start = opened.point.copy()
        start[~identified] = [p.scaled(p.assumed) for p, known in zip(PARAMETERS, identified, strict=True) if not known]
        closed = self._solved(start, identified, say)
        # The log does not identify how fast something fades that is not there.
        still = identified & (closed.errors <= enough)
        away = float(np.sqrt((self.away(closed.point) ** 2).mean()))
        say(f"dynamics: {away:.1f} standard errors away")
        pairs = zip(opened.estimates(identified), closed.estimates(still), identified, strict=True)
        estimates = [again if known else first for first, again, known in pairs]
        return FittedDynamics(
            {p.name: found for p, found in zip(PARAMETERS, estimates, strict=True)}, self.topics, away
        )

    def _solved(self, start: Floats, free: NDArray[np.bool_], say: Callable[[str], object]) -> _Solution:
        """Generalised least squares with a prior and bounds, from `start` (P,); only `free` (P,) ones move."""
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
        return _Solution(whole(found.x), whole(found.x - spread @ (found.jac.T @ found.fun)), errors)
