"""From places to figures: metrics with intervals, and what every row has more than every other."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lerl.agents.next_item.ranking import TOP, Places, ndcg, recall, reciprocal
from lerl.experiment.rank.trial import Judged
from lerl.report.intervals import Interval, bootstrap_weights, intervals, plain, weighted_means
from lerl.report.metrics import catalog_coverage, gini
from lerl.report.paired import Difference, difference

Floats = NDArray[np.float64]
KS = (5, 10, 20)
METRICS: dict[str, Callable[[Places], Floats]] = {
    **{f"NDCG@{k}": partial(ndcg, k=k) for k in KS},
    **{f"Recall@{k}": partial(recall, k=k) for k in KS},
    "MRR": reciprocal,
}
"""What is judged of each user, by the name in summary.json; higher is better."""

MAIN = "NDCG@10"
BY_CODE = f"{MAIN} by code"
DRAWS = 2000
WEIGHTS = 1 << 24
"""Weights of users that are there at once in the bootstrap: 128 MiB."""


def judge(found: Mapping[str, Sequence[Judged]], draws: int = DRAWS) -> dict[str, Any]:
    """Figures of all rows, and the differences of every two, with paired 95 % intervals over users and seeds.

    Args:
        found: of each row a trial for each seed, or one where chance plays no part. draws: of the bootstrap.

    Returns:
        "rows": of each row its metrics as intervals, coverage and Gini of what it recommends, and its training;
        "differences": of every two rows and every metric, as `lerl.report.bootstrap.Difference`.
    """
    seeds = max(map(len, found.values()))
    users = len(next(iter(found.values()))[0].places.rank)
    values = np.stack([_values(trials, metric, seeds) for trials in found.values() for metric in METRICS.values()])
    drawn = _draws(values, draws)  # of users and of seeds: (B + 1, rows * metrics) each
    places = {key: place for place, key in enumerate(itertools.product(found, METRICS))}
    of_all = intervals(drawn, users, seeds)
    rows = {
        row: {**{metric: of_all[places[row, metric]] for metric in METRICS}, **_system(trials)}
        for row, trials in found.items()
    }
    differences: list[Difference] = [
        difference(
            a, b, metric, [(one[:, places[a, metric]], one[:, places[b, metric]]) for one in drawn], users, seeds
        )
        for a, b in itertools.combinations(found, 2)
        for metric in METRICS
    ]
    return {"users": users, "seeds": seeds, "rows": rows, "differences": differences}


def _values(trials: Sequence[Judged], metric: Callable[[Places], Floats], seeds: int) -> Floats:
    """(U, S): a row without chance has the same in each seed."""
    values = np.stack([metric(trial.places) for trial in trials], axis=1)
    return np.asarray(np.broadcast_to(values, (len(values), seeds)))


def _draws(values: Floats, draws: int) -> list[Floats]:
    """Means of (L, U, S) values in each draw, (B + 1, L), the sample's first; of users and, of several, of seeds.

    In parts, since the weights of all draws together may be larger than memory.
    """
    _, users, seeds = values.shape
    rng, parts, most = np.random.default_rng(0), list[list[Floats]](), max(1, WEIGHTS // users)
    for first in range(0, draws, most):
        weights = bootstrap_weights(users, seeds, min(most, draws - first), rng)
        parts.append([weighted_means(values, one) for one in weights])
    return [
        np.concatenate([part if place == 0 else part[1:] for place, part in enumerate(of_kind)])
        for of_kind in zip(*parts, strict=True)
    ]


def _system(trials: Sequence[Judged]) -> dict[str, Any]:
    """What a row is as a whole, its mean over seeds."""
    shown = [np.asarray(trial.places.shown) for trial in trials]
    mean = {
        f"coverage@{TOP}": np.mean([catalog_coverage(one) for one in shown]),
        f"gini@{TOP}": np.mean([gini(one) for one in shown]),
        "seconds": np.mean([trial.about["seconds"] for trial in trials]),
        "epoch_seconds": np.mean([trial.about.get("epoch_seconds", 0.0) for trial in trials]),
    }
    about = [trial.about for trial in trials]
    return {
        **{name: plain(float(value)) for name, value in mean.items()},
        "parameters": about[0]["parameters"],
        "epochs": [one["epochs"] for one in about],
        "best": [one["best"] for one in about],
        "validation": [one["validation"] for one in about],
        "device": about[0]["device"],
        **_of_codes(trials),
    }


def _of_codes(trials: Sequence[Judged]) -> dict[str, Any]:
    """What is known of a row with codes: its mean by code, and what was said of the codes of the first seed."""
    by_code = [trial.places.by_code for trial in trials if trial.places.by_code is not None]
    notes = trials[0].about.get("notes", [])
    found: dict[str, Any] = {"notes": notes} if notes else {}
    if by_code:
        each = [ndcg(Places(ranks, np.ones(len(ranks), np.int64)), 10).mean() for ranks in by_code]
        found[BY_CODE] = plain(float(np.mean(each)))
    return found


def ratios_to(judged: Mapping[str, Any], reference: str, metric: str = MAIN) -> dict[str, Interval]:
    """Each other row's mean / the reference's, paired, by row; empty where the reference is no row."""
    found: dict[str, Interval] = {}
    for one in judged["differences"]:
        if one["metric"] != metric or reference not in (one["a"], one["b"]):
            continue
        ends = (one["ratio"], one["ratio_low"], one["ratio_high"])
        if one["a"] == reference:
            mean, high, low = (None if end is None or end <= 0 else plain(1.0 / end) for end in ends)
            found[one["b"]] = {"mean": mean, "low": low, "high": high}
        else:
            found[one["a"]] = dict(zip(("mean", "low", "high"), ends, strict=True))  # type: ignore[assignment]
    return found
