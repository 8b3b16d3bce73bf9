"""Sessions that a run keeps slot by slot."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import lerl

WORLD: dict[str, Any] = {
    "data": {"synthetic": {"users": 80, "items": 60, "categories": 5, "dim": 4}},
    "env": {"max_steps": 12, "slate_size": 3},
    "planner": {"clusters": 5, "size": 2, "sessions": 0},
    "train": {"steps": 0},
}


def trained(out: Path, keep: int) -> lerl.Run:
    evaluation = {"users": 15, "replicates": 2, "bootstrap": 200, "keep_sessions": keep}
    return lerl.train("quickstart", out, agents=["boredom+greedy", "random"], evaluation=evaluation, **WORLD)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> lerl.Run:
    return trained(tmp_path_factory.mktemp("kept") / "run", 10)


def test_the_first_sessions_are_kept_slot_by_slot(run: lerl.Run) -> None:
    slots, order = pl.read_parquet(run.path / "sessions.parquet"), ["agent", "user", "replicate"]
    assert slots.group_by("agent").agg(pl.struct("user", "replicate").n_unique())["user"].to_list() == [10, 10]
    assert slots["user"].n_unique() == 5  # the same five people, two sessions each, for both agents
    told = slots.group_by(order).agg(pl.col("step").max()).sort(order)
    episodes = run.episodes.join(told, on=order).sort(order)
    assert told["step"].to_list() == episodes["T_int"].to_list()
    rewards = slots.group_by(*order, "step").agg(pl.col("reward").first()).group_by(order).agg(pl.col("reward").sum())
    assert np.allclose(rewards.sort(order)["reward"], episodes["R_cum"])
    clicks = slots.group_by(*order, "step").agg(pl.col("click").sum() / 3, pl.col("reward").first())
    assert np.allclose(clicks["click"], clicks["reward"])
    assert set(slots["slot"].unique()) == {1, 2, 3}


def test_a_plan_is_kept_with_what_it_allows(run: lerl.Run) -> None:
    slots = pl.read_parquet(run.path / "sessions.parquet")
    planned = slots.filter(pl.col("agent") == "boredom+greedy")
    assert planned["plan"].list.len().to_numpy().max() <= 2
    assert planned["plan"].list.len().to_numpy().min() >= 1
    assert slots.filter(pl.col("agent") == "random")["plan"].null_count() == slots.filter(agent="random").height
    axis = run.task.axis
    for items, plan, avoided in planned.select("item", "plan", "avoided").drop_nulls().head(60).iter_rows():
        groups = {axis.names[c] for c in np.flatnonzero(axis.membership[items])}
        assert groups & set(plan)
        assert not groups & set(avoided)


def test_hidden_state_is_kept_apart(run: lerl.Run) -> None:
    slots, hidden = pl.read_parquet(run.path / "sessions.parquet"), pl.read_parquet(run.path / "hidden.parquet")
    assert not {"satisfaction", "boredom"} & set(slots.columns)
    assert hidden.height == slots.filter(slot=1).height
    boredom = np.stack(hidden["boredom"].to_list())
    assert boredom.shape[1] == run.exposure.filter(axis="topic")["name"].n_unique()
    assert boredom.min() == 0
    assert boredom.max() > 0
    final = hidden.group_by("agent", "user", "replicate").agg(pl.col("satisfaction").last())
    joined = run.episodes.join(final, on=["agent", "user", "replicate"])
    assert np.allclose(joined["satisfaction"], joined["satisfaction_final"], atol=1e-6)


def test_items_and_people_are_described(run: lerl.Run) -> None:
    titles, people = pl.read_parquet(run.path / "titles.parquet"), pl.read_parquet(run.path / "people.parquet")
    catalog = run.task.population.catalog
    for item, identifier, title, categories in titles.select("item", "id", "title", "categories").iter_rows():
        assert (identifier, title) == (catalog.item_ids[item], catalog.titles[item])
        assert categories
    assert people["user"].to_list() == sorted(run.episodes["user"].unique().to_list())
    assert people["known"].to_list() == [len(rows) for rows in run.task.population.known(people["user"].to_numpy())]
    assert set(people["favourite"].drop_nulls()) <= set(catalog.categories.names)


def test_nothing_is_kept_where_nothing_is_wanted_and_the_results_are_the_same(run: lerl.Run, tmp_path: Path) -> None:
    without = trained(tmp_path / "none", 0)
    assert not [name for name in ("sessions", "hidden", "titles") if (without.path / f"{name}.parquet").is_file()]
    assert without.episodes.equals(run.episodes)
    assert run.compare().summary == without.compare().summary
