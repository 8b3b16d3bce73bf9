"""From a log that an agent caused to what agents know: nothing but what was shown, to whom, when, and the feedback."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lerl.envs.fitting.latent import CONSTANT, Interactions, calibrated, calibration, fit_raw
from lerl.envs.population import Knowledge, Truth
from lerl.envs.schema import DataError, held_out
from lerl.experiment.loop.between import AWAY, GONE, LOG, Between
from lerl.experiment.loop.cast import Cast
from lerl.run.task import Task


def first_log(task: Task, cast: Cast) -> pl.DataFrame:
    """What is known before the first day: known interactions of people who are there then, with items that are.

    Raises:
        DataError: nothing is known.
    """
    user, item, click = task.population.history.T
    kept = np.isin(user, cast.people[cast.arrivals == 0]) & cast.there[0][item]
    if not kept.any():
        raise DataError(
            f"{task.population.name} users have no known interactions, from which agents could be fitted before the "
            "first day; give --data.path of a log that has some"
        )
    parts = {"user": user[kept], "item": item[kept], "click": click[kept] > 0}
    return (
        pl.DataFrame(parts).with_columns(day=pl.lit(-1.0)).select(pl.col(name).cast(kind) for name, kind in LOG.items())
    )


def fit_knowledge(log: pl.DataFrame, people: NDArray[np.bool_], items: int, dim: int, seed: int) -> Knowledge:
    """Item vectors, tastes, offsets and popularity from a log alone.

    The least squares of `lerl.envs.fitting.latent`, with all people in it: a pair that met several times counts as
    often, as the confidence 1 + 40 r of Hu, Koren and Volinsky 2008 does for r clicks, and clicks and skips of one pair
    cancel. An item that was never shown has a zero vector and the log's share of clicks as its offset, a person who was
    never shown anything a zero taste: of those nothing but what holds on average is known.

    Args:
        log: see `LOG`. people: (U,) bool, of whom item vectors and offsets are fitted. items: I. dim: of the vectors.
        seed: for the start of the least squares.

    Raises:
        DataError: there are too few clicks, or nothing else.
    """
    rows = Interactions(log["user"].to_numpy(), log["item"].to_numpy().astype(np.int64), log["click"].to_numpy())
    kept = held_out(rows.users, rows.items)
    calibrate = rows.where(kept)
    if not 0 < calibrate.clicks.sum() < len(calibrate):
        raise DataError(
            f"a log of {len(rows):,} rows is too short to fit what agents know: of {len(calibrate):,} that are kept to "
            f"calibrate it {calibrate.clicks.sum():,} are clicks; give more people (--evaluation.users) or days"
        )
    raw = fit_raw(rows.where(~kept), people, items, dim=dim, seed=seed)
    model = calibrated(raw, calibration(raw, calibrate))
    clicks = np.bincount(rows.items[rows.clicks], minlength=items) + 1.0
    return Knowledge(
        item_vectors=np.hstack([model.item_vectors, model.item_offsets[:, None]]),
        tastes=np.hstack([model.user_vectors, np.ones((len(people), 1), np.float32)]),
        user_offsets=model.user_offsets,
        popularity=(clicks / clicks.sum()).astype(np.float32),
    )


def agreement(known: Knowledge, truth: Truth, cast: Cast, period: int, before: Between | None) -> NDArray[np.float64]:
    """How much of the truth is known of each person, (N,): the correlation of known and true log-odds over items there.

    Only for judging: it reads the tastes that people have when the period begins. Pearson's, from -1 to 1; 0 where all
    items are alike, nan for people who are lost. See `lerl.envs.fitting.latent.agreement`.
    """
    people, items = cast.people, cast.there[period]
    tastes = truth.user_vectors[people].copy()
    if before is not None and (now := before.state.response.get("taste")) is not None:
        begun = before.status != AWAY
        tastes[begun] = now[begun]
    real = tastes @ truth.item_vectors[items].T + truth.item_offsets[items]
    guess = known.tastes[people] @ known.item_vectors[items].T
    found = np.einsum("ni,ni->n", *(_standardised(one.astype(np.float64)) for one in (real, guess)))
    lost = np.zeros(len(people), bool) if before is None else before.status == GONE
    return np.where(lost, np.nan, found)


def _standardised(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows of mean 0 and length 1; zeros where a row is constant."""
    scores = scores - scores.mean(axis=1, keepdims=True)
    length = np.linalg.norm(scores, axis=1, keepdims=True)
    return np.where(length > CONSTANT, scores / np.where(length > CONSTANT, length, 1.0), 0.0)
