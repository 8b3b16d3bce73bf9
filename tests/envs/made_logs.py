"""Logs that the simulator makes, so that what is fitted to them is known."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl

from lerl.envs.config import Boredom, Drift, Fatigue, Mood, SimulatorConfig
from lerl.envs.fitting.dynamics import PARAMETERS, FittedDynamics, Halves, ParameterEstimate, write_fitted
from lerl.envs.fitting.replay import item_by_item, replay
from lerl.envs.fitting.statistics import Background, Sequences, background_of
from lerl.envs.population import Population
from lerl.envs.prepare import prepare
from lerl.envs.simulator import UserSimulator
from lerl.envs.synthetic import synthetic_population

PAUSE = 3600.0


def made_log(
    seed: int, *, users: int = 400, items: int = 240, length: int = 80, boredom: float = 0.0, mood: float = 0.0
) -> tuple[Population, Halves, Background]:
    """A log of a population under known dynamics.

    What is shown depends on tastes and stays in one category for a while, so that boredom has to be events from taste.

    Args:
        seed: of everything. users, items, length: sizes; every user has between half of `length` and `length`.
        boredom: its weight, per item, at a time constant of 20 items. mood: its spread, at 5 items.
    """
    population = synthetic_population(users, items, 6, 6, seed)
    rng = np.random.default_rng(seed)
    lengths = rng.integers(length // 2, length + 1, users)
    truth, member = population.truth, population.catalog.categories.membership
    predicted_ctr = truth.user_vectors @ truth.item_vectors.T + truth.item_offsets
    shown, times = [], []
    for user in range(users):
        weight = np.exp(0.5 * (predicted_ctr[user] - predicted_ctr[user].max()))
        before = np.zeros(items)
        now = 0.0
        for _ in range(lengths[user]):
            chance = weight * np.where(before > 0, 3.0, 1.0)
            below = np.cumsum(chance / chance.sum())
            item = int((below / below[-1]).searchsorted(rng.random(), side="right"))  # as rng.choice, in less time
            weight[item] = 0.0
            before = (member[:, member[item]].any(axis=1)).astype(float)
            now += PAUSE if rng.random() < 1 / 40 else 20.0
            shown.append(item)
            times.append(now)
    events = Sequences(
        np.repeat(np.arange(users), lengths), np.array(shown), np.zeros(len(shown)), np.array(times, np.float64)
    )
    config = SimulatorConfig(
        topics="categories",
        boredom=Boredom(weight=boredom, time_constant=20.0),
        fatigue=Fatigue(weight=0.0),
        mood=Mood(spread=mood, time_constant=5.0),
        drift=Drift(enabled=False),
    )
    simulator = UserSimulator(population, item_by_item(config, length), "all")
    events = replace(events, clicks=replay(simulator, events, np.arange(users), seed).clicks)
    mine = population.training[events.users]
    return population, Halves(events, population.training), background_of(events.where(mine), member)


def prepared_log(folder: Path) -> Path:
    """A prepared folder of such a log, laid out as MovieLens is, under `folder`."""
    raw, out = folder / "raw", folder / "prepared"
    raw.mkdir(parents=True)
    population, halves, _ = made_log(6, users=200, items=90, length=44, boredom=0.2)
    shown, catalog = halves.sequences, population.catalog
    names = catalog.categories.names
    genres = ["|".join(names[c] for c in np.flatnonzero(row)) for row in catalog.categories.membership]
    movies = {"movie_id": np.arange(len(catalog)), "title": [f"Film {n} (1999)" for n in range(90)], "genres": genres}
    pl.DataFrame(movies).write_parquet(raw / "movies.parquet")
    pl.DataFrame(
        {
            "user_id": shown.users,
            "movie_id": shown.items,
            "rating": np.where(shown.clicks > 0.5, 5, 2),
            "timestamp": 900_000_000 + shown.times.astype(np.int64),
        }
    ).write_parquet(raw / "ratings.parquet")
    prepare("movielens", raw, out, dim=4)
    return out


def made_up_dynamics(folder: Path, **changed: tuple[float, float, float]) -> Path:
    """Dynamics as if fitted to a prepared folder: all as assumed and without doubt, but for `changed`.

    Args:
        folder: prepared. changed: value, low and high by parameter, such as boredom_weight=(0.0, 0.0, 1.0).
    """
    values = {p.name: changed.get(p.name.replace(".", "_"), (p.assumed,) * 3) for p in PARAMETERS}
    estimates = {name: ParameterEstimate(*value, True) for name, value in values.items()}
    return write_fitted(folder, [FittedDynamics(estimates, topics, 1.0) for topics in ("categories", "hidden")])
