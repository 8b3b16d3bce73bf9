"""Runs summarised: every metric of every agent, and every two agents compared, with intervals."""

from __future__ import annotations

import itertools
from typing import NamedTuple, NotRequired, TypedDict

import numpy as np
import polars as pl

from lerl.files import RunError
from lerl.report import metrics
from lerl.report.influence import coverage_without, gini_without, jackknife_draws
from lerl.report.intervals import Interval, Weights, bootstrap_weights, intervals, number
from lerl.report.life_summary import LifeSummary, life_draws, summary_of_lives
from lerl.report.load import EPISODE_METRICS, Fallback, Floats, Ints, Results, Undertrained, check_reference
from lerl.report.paired import Difference, difference, mean_draws, turned, user_seed_means

DIFFERENCE_METRICS = ("T_int", "R_cum", "R_sin", "satisfaction_mean")


MOST_DRAWS = 100_000


class Summary(TypedDict):
    """The content of summary.json.

    users, seeds: how many it rests on. agents: metrics of each. differences: paired, of every two agents. fallbacks: of
    agents for which a rule planned in a chat model's place, how often. untrained: agents that had too few steps to
    learn. notes: what else to know. lives: what people who come back do in so many days.
    """

    users: int
    seeds: int
    agents: dict[str, dict[str, Interval]]
    differences: list[Difference]
    fallbacks: NotRequired[dict[str, Fallback]]
    untrained: NotRequired[dict[str, Undertrained]]
    notes: NotRequired[list[str]]
    lives: NotRequired[LifeSummary]


def summarize(results: Results, bootstrap: int = 2000, seed: int = 0) -> Summary:
    """Means, paired differences and paired ratios of all agents, with 95 % intervals.

    Intervals are those of `lerl.report.intervals`: with one seed percentiles of a bootstrap over users, which say
    nothing about other seeds, and with several Student's t over users and over seeds. All agents share the draws, so
    that differences and ratios are paired. Replicates are averaged within user and seed first.

    Booleans become shares. ``normalised`` is there when the agents ``random`` and ``privileged`` are, as a ratio of
    means inside each draw. Ratios of several seeds have their intervals on a logarithmic scale. What is not defined is
    None: ratios where a mean is not positive, and intervals of which a draw is not defined.

    Catalog coverage and Gini are those of each seed's system over all evaluation users, averaged over seeds. A draw
    with replacement has fewer users, so that it shows fewer items, and draws would lie beside the estimate. Their
    intervals therefore resample, with the same draws, each user's influence: what leaving that user out changes. They
    are centred on the estimate, and their variance is the jackknife's, on average not below the true one (Efron and
    Stein 1981, "The jackknife estimate of variance", Annals of Statistics 9).

    The result is ready for JSON, rounded to 10 significant digits, and the same for the same input and ``seed`` in
    whatever order the runs were given.

    Args:
        results: of runs. bootstrap: draws, from 1 to `MOST_DRAWS`. seed: of the draws.

    Raises:
        RunError: there are too few or too many draws.
    """
    return summary_of(results, all_draws(results, bootstrap, seed))


def summary_of(results: Results, draws: list[dict[str, Floats]]) -> Summary:
    """The same from draws of `all_draws`."""
    users, seeds = results.episodes["user"].n_unique(), len(results.seeds)
    names = [name for name in draws[0] if "." not in name]
    by_metric = {name: intervals([one[name] for one in draws], users, seeds) for name in names}
    agents = {
        agent: {name: found[place] for name, found in by_metric.items()} for place, agent in enumerate(results.agents)
    }
    pairs = itertools.combinations(enumerate(results.agents), 2)
    differences = [
        difference(a, b, name, [(one[name][:, i], one[name][:, j]) for one in draws], users, seeds)
        for (i, a), (j, b) in pairs
        for name in DIFFERENCE_METRICS
    ]
    made: Summary = {"users": users, "seeds": seeds, "agents": agents, "differences": differences}
    if results.fallbacks:
        made["fallbacks"] = results.fallbacks
    if results.untrained:
        made["untrained"] = results.untrained
    if results.notes:
        made["notes"] = results.notes
    if results.lives is not None:
        made["lives"] = summary_of_lives(results, draws)
    return made


def differences_from(summary: Summary, reference: str, metric: str = "R_cum") -> list[Difference]:
    """The paired differences of a reference, `a`, from every other agent, `b`.

    Raises :class:`RunError` if there is no agent ``reference``.
    """
    check_reference(reference, summary["agents"])
    entries = [entry for entry in summary["differences"] if entry["metric"] == metric]
    return [
        entry if entry["a"] == reference else turned(entry)
        for entry in entries
        if reference in (entry["a"], entry["b"])
    ]


def ratios(summary: Summary, reference: str, metric: str = "R_cum") -> dict[str, Interval]:
    """Paired ratio mean(reference) / mean(agent) to every other agent, by agent; None where it is not defined.

    Raises :class:`RunError` if there is no agent ``reference``.
    """
    found: dict[str, Interval] = {}
    for entry in differences_from(summary, reference, metric):
        found[entry["b"]] = {"mean": entry["ratio"], "low": entry["ratio_low"], "high": entry["ratio_high"]}
    return found


def by_reward(summary: Summary) -> list[str]:
    """The agents, highest mean R_cum first."""
    return sorted(summary["agents"], key=lambda agent: -number(summary["agents"][agent]["R_cum"]["mean"], -np.inf))


def all_draws(results: Results, bootstrap: int, seed: int) -> list[dict[str, Floats]]:
    """Every metric's value for every draw and agent, (B + 1, A), the estimate first; for each of the weights. Where
    people come back also what `lerl.report.life_summary.life_draws` gives.

    Draws depend on nothing but the numbers of users and seeds, so that those of other results of the same users and
    seeds are paired with these.

    Raises:
        RunError: there are too few or too many draws.
    """
    if not 1 <= bootstrap <= MOST_DRAWS:
        raise RunError(f"bootstrap must be from 1 to {MOST_DRAWS:,} draws, given {bootstrap:,}")
    users = np.sort(results.episodes["user"].unique().to_numpy())
    values = user_seed_means(results.episodes, results.agents, EPISODE_METRICS)
    influence = _exposure_influence(results, users)
    drawn = bootstrap_weights(len(users), len(results.seeds), bootstrap, np.random.default_rng(seed))
    draws = [_draws(results.agents, values, influence, weights) for weights in drawn]
    return [one | more for one, more in zip(draws, life_draws(results, drawn), strict=True)]


def _draws(agents: list[str], values: Floats, exposure: _Influence, weights: Weights) -> dict[str, Floats]:
    draws = mean_draws(values, weights, EPISODE_METRICS) | _exposure_draws(exposure, weights)
    if {"random", "privileged"} <= set(agents):
        floor, ceiling = (draws["R_cum"][:, [agents.index(agent)]] for agent in ("random", "privileged"))
        draws["normalised"] = metrics.normalised(draws["R_cum"], floor, ceiling)
    return draws


class _Influence(NamedTuple):
    """Catalog coverage and Gini of each agent's system in each seed, and what they would be without each user."""

    estimate: Floats  # (2, A, S)
    without: Floats  # (2, A, S, U)


def _exposure_influence(results: Results, users: Ints) -> _Influence:
    shape = (2, len(results.agents), len(results.seeds))
    estimate, without = np.full(shape, np.nan), np.full((*shape, len(users)), np.nan)
    places = {(agent, seed): (i, j) for i, agent in enumerate(results.agents) for j, seed in enumerate(results.seeds)}
    for (agent, seed), shown in results.items.filter(pl.col("count") > 0).group_by("agent", "seed"):
        i, j = places[agent, seed]
        user = np.searchsorted(users, shown["user"].to_numpy())
        item, count = shown["item"].to_numpy(), shown["count"].to_numpy()
        exposures = np.bincount(item, weights=count, minlength=results.n_items)
        estimate[:, i, j] = metrics.catalog_coverage(exposures), metrics.gini(exposures)
        without[0, i, j] = coverage_without(user, item, results.n_items, len(users))
        without[1, i, j] = gini_without(user, item, count, results.n_items, len(users))
    return _Influence(estimate, without)


def _exposure_draws(found: _Influence, weights: Weights) -> dict[str, Floats]:
    """Catalog coverage and Gini by draw and agent, (B + 1, A) each; :func:`summarize` says how users are resampled."""
    draws = jackknife_draws(found.estimate, found.without, weights.users)  # (2, A, S, B + 1)
    coverage, gini = np.einsum("bs,masb->mba", weights.seeds / weights.seeds.shape[1], draws)
    return {"catalogue_coverage": coverage, "gini": gini}  # the key of summary.json since lerl 0.1.0
