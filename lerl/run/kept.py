"""Tables of the sessions that a run keeps slot by slot: what was shown and why, apart from it what is hidden from
agents, and what is known of the items and the people in them."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lerl.envs.population import Population
from lerl.envs.simulator import UserSimulator
from lerl.run.rollout import Episodes

SESSIONS, HIDDEN = "sessions", "hidden"
"""Tables of each agent."""
TITLES, PEOPLE = "titles", "people"
"""Tables of a run."""


def kept_tables(label: str, played: Episodes) -> dict[str, pl.DataFrame]:
    """What is kept of an agent's first sessions.

    Returns:
        `SESSIONS`: agent, user, replicate, step, slot, item, click (null for an empty slot), reward of the slate, plan
        and avoided (names of categories; null without a planner), rationale, and of a chat model the query's key.
        `HIDDEN`: agent, user, replicate, step, satisfaction and boredom after the slate, one number a topic.
    """
    kept, k = played.kept, played.slates.shape[2]
    n = np.repeat(np.arange(len(kept.plans)), [len(plans) for plans in kept.plans])
    step = np.concatenate([np.arange(len(plans)) for plans in kept.plans] or [n])
    of_step = {
        "agent": pl.Series([label] * len(n), dtype=pl.String),
        "user": played.users[n],
        "replicate": played.replicates[n],
        "step": step + 1,
    }
    plans = [plan for session in kept.plans for plan in session]
    why = {
        "reward": played.rewards[n, step],
        "plan": pl.Series([plan and plan.allowed for plan in plans], dtype=_NAMES),
        "avoided": pl.Series([plan and plan.avoided for plan in plans], dtype=_NAMES),
        "rationale": pl.Series([plan.rationale if plan else "" for plan in plans], dtype=pl.String),
        "query": pl.Series([plan.query if plan else "" for plan in plans], dtype=pl.String),
    }
    items, clicks = played.slates[n, step].ravel(), played.feedback[n, step].ravel()
    slots = pl.DataFrame({**of_step, **why})[np.repeat(np.arange(len(n)), k)].with_columns(
        slot=np.tile(np.arange(1, k + 1), len(n)),
        item=pl.Series(items.astype(np.int64)),
        click=pl.Series(clicks),
    )
    there = pl.col("item") >= 0
    slots = slots.with_columns(item=pl.when(there).then("item"), click=pl.when(there).then("click"))
    hidden = {"satisfaction": played.satisfaction[n, step], "boredom": list(kept.boredom[n, step])}
    order = [*of_step, "slot", "item", "click", *why]
    return {
        SESSIONS: slots.select(order),
        HIDDEN: pl.DataFrame({**of_step, **hidden}, schema_overrides={"boredom": pl.List(pl.Float32)}),
    }


_NAMES = pl.List(pl.String)


def titles_table(sessions: pl.DataFrame, simulator: UserSimulator) -> pl.DataFrame:
    """The items in kept sessions: item, id, title, categories, and the numbers of their topics, hidden from agents."""
    catalog, topics = simulator.population.catalog, simulator.topics
    items = np.unique(sessions["item"].drop_nulls().to_numpy())
    names, membership = catalog.categories.names, catalog.categories.membership
    return pl.DataFrame(
        {
            "item": items,
            "id": pl.Series([catalog.item_ids[item] for item in items], dtype=pl.String),
            "title": pl.Series([catalog.titles[item] for item in items], dtype=pl.String),
            "categories": pl.Series([[names[c] for c in np.flatnonzero(membership[i])] for i in items], dtype=_NAMES),
            "topics": pl.Series([topics[i][topics[i] >= 0].tolist() for i in items], dtype=pl.List(pl.Int64)),
        }
    )


def people_table(users: NDArray[np.int64], population: Population) -> pl.DataFrame:
    """The evaluation users: user, how many of their interactions are known, and their favourite category: the one whose
    share of the user's known clicks is furthest above its share of everybody's; null where no click is known."""
    categories, known = population.catalog.categories, population.known(users)
    clicked = [rows[rows[:, 1] > 0, 0] for rows in known]
    membership = categories.membership
    everyone = membership[population.history[population.history[:, 2] > 0, 1]].sum(axis=0)
    usual = everyone / max(int(everyone.sum()), 1)
    favourites = []
    for items in clicked:
        counts = membership[items].sum(axis=0)
        favourites.append(categories.names[int((counts / counts.sum() - usual).argmax())] if len(items) else None)
    return pl.DataFrame(
        {
            "user": users,
            "known": np.array([len(rows) for rows in known], np.int64),
            "favourite": pl.Series(favourites, dtype=pl.String),
        }
    )
