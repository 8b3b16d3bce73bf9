"""Several configurations side by side: groups of runs on the same users with the same seeds, compared agent by agent.

A group is one configuration with one seed or several, summarised as `lerl.report.compare` does for it alone. Groups
share users, seeds and the draws of the bootstrap, so that what an agent earns in one group and in another is paired.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

from lerl.files import RunError, read_about, seed_runs
from lerl.report.bootstrap import DIFFERENCE_METRICS, Summary, all_draws, summary_of
from lerl.report.load import Results, different_settings, load_runs
from lerl.report.paired import Paired, difference

WORLD = ("env.", "data.")
"""What settings of the simulated users begin with."""

KNOWN = "data.knowledge"
"""The one among them that changes agents alone."""


class GroupDifference(Paired):
    """An agent in two groups: mean in `group` - mean in `reference`, and mean in `group` / mean in `reference`."""

    agent: str
    group: str
    reference: str


class Comparison(TypedDict):
    """The content of summary.json of several groups.

    users, seeds: how many each group rests on. reference: the group that the others are compared with. settings: those
    that differ, by dotted key, each with its value in every group. world: those of them that change the users.
    groups: the summary of each. differences: of every agent that the reference and another group have.
    """

    users: int
    seeds: int
    reference: str
    settings: dict[str, dict[str, Any]]
    world: list[str]
    groups: dict[str, Summary]
    differences: list[GroupDifference]


def compare_groups(
    groups: Mapping[str, Sequence[str | Path]], reference: str | None = None, bootstrap: int = 2000, seed: int = 0
) -> Comparison:
    """Read groups of runs and compare them.

    Args:
        groups: by name, run folders that differ in their seed only, or folders of seeds; at least two.
        reference: the group that the others are compared with; the first where None.
        bootstrap, seed: as in `lerl.report.bootstrap.summarize`.

    Raises:
        RunError: runs of a group cannot be read as one, as `load_runs` raises it; groups have different seeds or
            users; there are fewer than two, or no group `reference`.
    """
    if len(groups) < 2:
        raise RunError(f"groups of runs are compared from two on, given {', '.join(groups) or 'none'}")
    base = next(iter(groups)) if reference is None else reference
    if base not in groups:
        raise RunError(f"no group {base!r} here, there are {', '.join(groups)}")
    results = {name: load_runs(paths) for name, paths in groups.items()}
    _refuse_different_seeds(results)
    _refuse_different_users(groups, results)
    differing = different_settings([found.config for found in results.values()])
    draws = {name: all_draws(found, bootstrap, seed) for name, found in results.items()}
    users, seeds = results[base].episodes["user"].n_unique(), len(results[base].seeds)
    return {
        "users": users,
        "seeds": seeds,
        "reference": base,
        "settings": {key: dict(zip(groups, values, strict=True)) for key, values in differing.items()},
        "world": [key for key in differing if key.startswith(WORLD) and key != KNOWN],
        "groups": {name: summary_of(found, draws[name]) for name, found in results.items()},
        "differences": [
            _difference(agent, name, base, metric, results, draws, (users, seeds))
            for agent in results[base].agents
            for name in groups
            if name != base and agent in results[name].agents
            for metric in DIFFERENCE_METRICS
        ],
    }


def _difference(
    agent: str,
    group: str,
    base: str,
    metric: str,
    results: Mapping[str, Results],
    draws: Mapping[str, list[dict[str, Any]]],
    counts: tuple[int, int],
) -> GroupDifference:
    own, other = ([one[metric][:, results[name].agents.index(agent)] for one in draws[name]] for name in (group, base))
    found = difference(group, base, metric, list(zip(own, other, strict=True)), *counts)
    return {
        "agent": agent, "group": group, "reference": base, "metric": metric, "mean": found["mean"],
        "ratio": found["ratio"], "low": found["low"], "high": found["high"], "ratio_low": found["ratio_low"],
        "ratio_high": found["ratio_high"],
    }  # fmt: skip


def _refuse_different_seeds(results: Mapping[str, Results]) -> None:
    for (one, found), (other, its) in itertools.pairwise(results.items()):
        if found.seeds != its.seeds:
            said = " and ".join(f"{name} has {_listed(own.seeds)}" for name, own in ((one, found), (other, its)))
            raise RunError(
                f"groups must have the same seeds, but {said}; train the missing ones, or leave some out. Runs that "
                "belong together are given one name: NAME=FOLDER NAME=FOLDER"
            )


def _listed(seeds: Sequence[int]) -> str:
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"


def _refuse_different_users(groups: Mapping[str, Sequence[str | Path]], results: Mapping[str, Results]) -> None:
    """Refuse groups that were evaluated on other users, by their numbers and by what those stand for."""
    first, *others = groups
    digests = {name: _populations(paths) for name, paths in groups.items()}
    users = {name: set(found.episodes["user"].unique().to_list()) for name, found in results.items()}
    for name in others:
        if users[name] != users[first] or digests[name] != digests[first]:
            counts = f"{len(users[first])} and {len(users[name])} users" + (
                "" if users[name] != users[first] else " of different data"
            )
            raise RunError(
                f"groups must be evaluated on the same users, but {first} and {name} are not ({counts}); train them "
                "with the same data and the same evaluation.users"
            )


def _populations(paths: Sequence[str | Path]) -> set[str]:
    """The digests of the users of runs; none where a run does not say it."""
    runs = [run for path in map(Path, paths) for run in seed_runs(path) or [path]]
    found = (about.get("users_digest", about.get("population_digest")) for about in map(read_about, runs))
    return {str(digest) for digest in found if digest is not None}
