"""Metrics of lives by hand, survival against Kaplan and Meier's own arithmetic, and what sessions tell."""

from __future__ import annotations

import dataclasses
from functools import cache
from typing import Any

import numpy as np
import polars as pl
import pytest

from lerl.files import RunError
from lerl.report import lives
from lerl.report.bootstrap import summarize
from lerl.report.life_plots import life_figures
from lerl.report.life_summary import by_days, life_ratios
from lerl.report.life_tables import life_markdown, life_table, surrogate_table
from lerl.report.load import EPISODE_METRICS, Results
from lerl.report.look import look_of


def test_a_day_with_two_sessions_is_one_active_day() -> None:
    assert lives.active_days([0.0, 0.4, 3.9, 4.0]) == 3  # days 0, 3 and 4


def test_retention_is_rolling_and_unknown_beyond_the_horizon() -> None:
    assert lives.retained([0.0, 9.0], 7, 30.0) is True  # not on day 7, but later
    assert lives.retained([0.0, 6.9], 7, 30.0) is False
    assert lives.retained([0.0, 29.0], 30, 30.0) is None  # no session begins on day 30 of 30
    assert lives.retained([0.0, 29.0], 30, 60.0) is False


def test_gaps_are_those_that_were_seen() -> None:
    assert lives.mean_gap([0.0, 1.0, 4.0]) == 2.0
    assert lives.mean_gap([0.0]) is None
    gaps, seen = lives.gaps_between([0.0, 1.0, 4.0], 10.0)
    assert gaps.tolist() == [1.0, 3.0, 6.0]
    assert seen.tolist() == [True, True, False]


def test_rewards_add_up_and_the_last_visit_is_a_day() -> None:
    assert lives.r_life([1.5, 2.0]) == 3.5
    assert lives.lifetime([0.0, 2.5]) == 2.5


@pytest.mark.parametrize("days", [[], [1.0, 0.5], [[0.0]], [-1.0]])
def test_days_that_are_none_are_refused(days: Any) -> None:
    with pytest.raises(ValueError, match="ascending numbers"):
        lives.active_days(days)


def test_survival_is_that_of_kaplan_and_meier() -> None:
    # Six people: events at 1, 2 and 4, others not looked at beyond 2, 3 and 5.
    found = lives.survival([1.0, 2.0, 2.0, 3.0, 4.0, 5.0], [True, True, False, False, True, False])
    at = dict(zip(found.times.tolist(), found.share.tolist(), strict=True))
    assert at[0.0] == 1.0
    assert at[1.0] == pytest.approx(5 / 6)
    assert at[2.0] == pytest.approx(5 / 6 * 4 / 5)
    assert at[4.0] == pytest.approx(5 / 6 * 4 / 5 * 1 / 2)
    assert (found.low <= found.share).all()
    assert (found.share <= found.high).all()


def test_survival_of_people_who_all_stay_is_certain() -> None:
    found = lives.survival([5.0, 7.0], [False, False])
    assert found.share.tolist() == [1.0, 1.0]
    assert found.times[-1] == 7.0


AGENTS = ["worst", "middle", "good", "best"]


@cache
def made(days: float = 30.0, users: int = 40) -> Results:
    """Four agents; the more R_cum of a session, the sooner its person is back, within people and between agents."""
    rng, life_rows, session_rows, episode_rows = np.random.default_rng(0), [], [], []
    for quality, agent in enumerate(AGENTS):
        for user in range(users):
            day, began, rewards = 0.0, [0.0], []
            while True:
                reward = quality + rng.normal(0, 2.0)
                rewards.append(reward)
                gap = 12.0 if reward < 1.5 else 1.0
                if day + gap >= days:
                    break
                day += gap
                began.append(day)
            gaps = [0.0, *np.diff(began).tolist()]
            who = {"seed": 0, "agent": agent, "user": user, "replicate": 0}
            life_rows.append(
                who
                | {"sessions": len(began), "active_days": lives.active_days(began), "mean_gap": lives.mean_gap(began)}
                | {f"retention_{d}": lives.retained(began, d, days) for d in lives.RETENTION}
                | {"R_life": sum(rewards), "churned": False, "lifetime": began[-1]}
            )
            for number, (at, own, reward) in enumerate(zip(began, gaps, rewards, strict=True)):
                session_rows.append(
                    who
                    | {"session": number, "day": at, "gap": own, "R_cum": reward, "T_int": float(rng.integers(9))}
                    | {"satisfaction_final": 0.5, "intra_list_distance": 0.0, "category_entropy": -reward}
                )
            episode_rows.append(who | dict.fromkeys(EPISODE_METRICS, float(9 - quality)))
    kinds = {f"retention_{d}": pl.Boolean for d in lives.RETENTION}
    empty = pl.DataFrame(
        schema={"agent": pl.String, "seed": pl.Int64, "user": pl.Int64, "item": pl.Int64} | {"count": pl.Int64}
    )
    return Results(
        AGENTS, [0], 10, {}, pl.DataFrame(episode_rows), empty, pl.DataFrame(), pl.DataFrame(), pl.DataFrame(),
        lives=pl.DataFrame(life_rows, schema_overrides=kinds), life_sessions=pl.DataFrame(session_rows), days=days,
    )  # fmt: skip


def test_agents_are_ranked_by_active_days_whatever_sessions_say() -> None:
    summary = summarize(made(), bootstrap=200)
    found = summary["lives"]
    assert by_days(found) == AGENTS[::-1]  # while R_cum of the sessions falls from the worst to the best
    ratio = life_ratios(found, "best")["worst"]
    assert (ratio["low"] or 0) > 1
    means = {agent: made().lives.filter(pl.col("agent") == agent)["active_days"].mean() for agent in AGENTS}  # type: ignore[union-attr]
    assert found["agents"]["best"]["active_days"]["mean"] == pytest.approx(means["best"])
    assert ratio["mean"] == pytest.approx(means["best"] / means["worst"])  # type: ignore[operator]
    with pytest.raises(RunError, match="no agent 'nobody'"):
        life_ratios(found, "nobody")


def test_what_a_session_tells_is_found() -> None:
    summary = summarize(made(), bootstrap=200)
    told = {one["metric"]: one for one in summary["lives"]["surrogates"]}
    low, high = told["R_cum"]["within"]["low"], told["R_cum"]["within"]["high"]
    assert low is not None
    assert low > 0.5
    assert high is not None
    assert high <= 1
    assert told["category_entropy"]["within"]["mean"] == pytest.approx(-(told["R_cum"]["within"]["mean"] or 0))
    noise = told["T_int"]["within"]
    assert (noise["low"] or 0) < 0.0 < (noise["high"] or 0)
    assert told["R_cum"]["agents"]["active_days"]["mean"] == 1.0
    assert told["intra_list_distance"]["within"]["mean"] is None  # which never varies


def test_nothing_is_told_of_days_that_nobody_saw() -> None:
    summary = summarize(made(days=6.0), bootstrap=100)
    assert all(one["within"]["mean"] is None for one in summary["lives"]["surrogates"])


@pytest.mark.parametrize(("days", "within"), [(3.0, "3 days"), (30.0, "7 days")])
def test_pictures_say_nothing_of_days_that_nobody_saw(days: float, within: str) -> None:
    curves = pl.DataFrame(schema={"agent": pl.String})
    results = dataclasses.replace(made(days), curves=curves)
    summary = summarize(results, bootstrap=20)
    drawn = life_figures(results, summary, look_of(results, summary))
    assert list(drawn) == ["lives", "gaps"]
    said = [text.get_text().replace("\n", " ") for text in drawn["gaps"].texts]
    assert any(f"stay away for more than {within}" in text for text in said)
    assert any(f"share after {within}" in text for text in said)


def test_tables_name_what_cannot_be_seen() -> None:
    summary = summarize(made(), bootstrap=100)
    written = life_markdown(summary, "best")
    assert all(words in written for words in ("| best |", "Day 30 cannot be seen in 30 days"))
    assert "for it give --env.days 31 or more" in written
    assert "was fitted to the log" not in written
    fitted = summarize(dataclasses.replace(made(days=31.0), config={"data": {"returns": "fitted"}}), bootstrap=100)
    assert "When people come back was fitted to the log" in life_markdown(fitted)
    assert all(words in life_markdown(fitted) for words in ("| day 30 |", "between sessions is assumed"))
    assert "cannot be seen" not in life_markdown(fitted)
    assert life_table(summary) is not None
    assert surrogate_table(summary) is not None
    without = {key: value for key, value in summary.items() if key != "lives"}
    assert life_table(without) is None
    assert life_markdown(without) == ""
