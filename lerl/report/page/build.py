"""Writes the report page: tables and charts of runs, what they say in words, and their sessions to step through."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from lerl.envs.files import write_whole
from lerl.envs.text import visible
from lerl.files import AFRESH, read_about, reading
from lerl.report.bootstrap import Summary, by_reward, ratios, summarize
from lerl.report.curves import Curve, exposure_shares, exposure_spread, learning_curves, satisfaction_curve
from lerl.report.life_tables import page_of_lives
from lerl.report.load import Results, load_runs
from lerl.report.look import Look, look_of
from lerl.report.page import charts, words
from lerl.report.page.people import Comparison, compare_people
from lerl.report.page.replay import Replay, example, read_replay, typical
from lerl.report.tables import explained, footnotes, results_cells

PAGE = "report.html"
COLOURED = 7  # categories with a colour of their own in the exposure bars


def report(
    paths: Iterable[str | Path],
    out: Path,
    reference: str | None = None,
    bootstrap: int = 2000,
    allow_different: bool = False,
) -> Path:
    """Write the page of evaluated runs of one recipe.

    Args:
        paths: run folders, one a seed. out: the file. reference: the agent that the page speaks of; the best that could
            be used where None. bootstrap, allow_different: see `lerl.report.compare.compare`.

    Raises:
        RunError: the runs cannot be read together, or there is no agent `reference`.
    """
    results = load_runs(paths, allow_different)
    return write_page(results, summarize(results, bootstrap), out, reference, bootstrap)


def write_page(
    results: Results, summary: Summary, out: Path, reference: str | None = None, bootstrap: int = 2000
) -> Path:
    """The same of results that were read, and summarised, before."""
    first = words.leader(summary, reference)
    look = look_of(results, summary, first)
    second = words.runner_up(summary, first)
    people = None if second is None else compare_people(results, results.paths, first, second, bootstrap)
    topics = results.exposure.filter(pl.col("axis") == "topic")["name"].unique(maintain_order=True).to_list()
    replay = read_replay(
        dict(zip(results.seeds, results.paths, strict=True)), by_reward(summary), topics, results.episodes
    )
    about = read_about(results.paths[0])
    with reading(results.paths[0] / "config.yaml", AFRESH):
        rests = words.basis(results.config, summary["users"], results.agents, _log(about, results.n_items))
    with reading(results.paths[0] / "run.json", AFRESH):
        versions = _versions(about)
    text = render(
        "page.html",
        title=_title(results),
        first=first,
        second=second,
        sentences=words.reading(summary, first, people),
        intervals=words.footnotes(results.seeds),
        notes=footnotes(summary),
        table=results_cells(summary),
        marks=list(_marks(summary, look).values()),
        first_row=by_reward(summary).index(first),
        key=look.key(set(look.colours.values())),
        names=words.names_of(by_reward(summary)),
        leaving=_leaving(results),
        meanings=explained(results_cells(summary)[0]),
        differences=_differences(summary, look, first),
        lives=page_of_lives(summary),
        people=people,
        people_charts=_people_charts(people),
        learning=_learning(results, look),
        sessions=_sessions(results, summary, look),
        exposure=_exposure(results, summary),
        replay=replay,
        examples=_examples(replay, first, second),
        typical=0 if replay is None else typical(replay, first),
        basis=rests,
        configuration=_configuration(results.paths),
        versions=versions,
    )
    write_whole(out, text)
    return out


def render(template: str, **values: Any) -> str:
    """A page of this folder with its style and script inside, which nothing else may run on it."""
    style, script = (_asset(name) for name in ("page.css", "page.js"))
    pages = Environment(
        loader=FunctionLoader(_asset), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    pages.filters["visible"] = lambda text: visible(str(text))
    inside = {"style": Markup(style), "script": Markup(script)}
    return pages.get_template(template).render(
        **inside, style_hash=_digest(style), script_hash=_digest(script), **values
    )


@cache
def _asset(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    """As a content security policy names an inline style or script."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _title(results: Results) -> str:
    names = [path.resolve().name for path in results.paths]
    return names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"


def _style(look: Look, agent: str) -> str:
    return charts.CLASSES[look.colours[agent]]


def _marks(summary: Summary, look: Look) -> dict[str, Markup]:
    """R_cum of each agent with its interval, on one scale, by the name in the table."""
    order = by_reward(summary)
    found = {agent: summary["agents"][agent]["R_cum"] for agent in order}
    scale = charts.ends_of([*found.values()], 0.0)
    return {
        agent: charts.interval_mark(found[agent], scale, _style(look, agent), f"R_cum of {agent}") for agent in order
    }


def _differences(summary: Summary, look: Look, first: str) -> list[dict[str, Any]]:
    """R_cum of the first agent over that of each other one."""
    found = {agent: value for agent, value in ratios(summary, first).items() if value["mean"] is not None}
    scale = charts.ends_of([*found.values()], 1.0)
    return [
        {
            "agent": agent,
            "ratio": value,
            "mark": charts.interval_mark(value, scale, _style(look, agent), f"{first} over {agent}", 1.0),
        }
        for agent, value in sorted(found.items(), key=lambda entry: entry[1]["mean"] or 0.0)
    ]


def _people_charts(people: Comparison | None) -> dict[str, Any]:
    if people is None:
        return {}
    better, _, worse = people.shares
    label = (
        f"Users by the difference of R_cum, {people.first} minus {people.second}: {100 * better:.0f} % above 0, "
        f"{100 * worse:.0f} % below"
    )
    scale = charts.ends_of([group.difference for group in people.groups], 0.0)
    return {
        "histogram": charts.histogram(people.differences, label),
        "groups": [
            charts.interval_mark(one.difference, scale, "reference", f"difference for {one.name}", 0.0)
            for one in people.groups
        ],
    }


def _learning(results: Results, look: Look) -> list[dict[str, Any]]:
    """A panel for each agent with a learning curve, the others in grey behind it."""
    curves = {agent: curve for agent, curve in learning_curves(results).items() if len(curve.steps) > 1}
    if not curves:
        return []
    x = charts.count_axis(max(float(curve.steps[-1]) for curve in curves.values()))
    y = charts.nice_axis(np.concatenate([curve.mean for curve in curves.values()]))
    return [
        {
            "agent": agent,
            "said": f"{curves[agent].mean[0]:.1f} → {curves[agent].mean[-1]:.1f}",
            "chart": charts.panel(
                [
                    *(charts.Layer(curve, "others") for other, curve in curves.items() if other != agent),
                    charts.Layer(curves[agent], _style(look, agent)),
                ],
                x,
                y,
                f"R_cum of {agent} by user-steps of training, {curves[agent].mean[0]:.1f} at first and "
                f"{curves[agent].mean[-1]:.1f} at the end",
            ),
        }
        for agent in sorted(curves, key=lambda one: -curves[one].mean[-1])
    ]


def _sessions(results: Results, summary: Summary, look: Look) -> list[dict[str, Any]]:
    """A panel for each agent: sessions still there, and their mean satisfaction, by step."""
    by_agent = results.episodes.group_by("agent").agg(pl.col("T_int").quantile(0.99))
    last = int(by_agent["T_int"].to_numpy().max())  # beyond it there is hardly anybody
    x, y = charts.count_axis(last), charts.Axis(0.0, 1.0, [0.0, 0.5, 1.0])
    steps = np.arange(last + 1, dtype=np.float64)
    found = []
    for agent in by_reward(summary):
        lengths = results.episodes.filter(pl.col("agent") == agent)["T_int"].to_numpy()
        there = (lengths[None, :] > steps[:, None]).mean(axis=1)
        satisfied = satisfaction_curve(results, agent)
        mean, stays = (summary["agents"][agent][name]["mean"] for name in ("satisfaction_mean", "T_int"))
        satisfied = Curve(*(part[satisfied.steps <= last] for part in satisfied))
        layers = [
            charts.Layer(Curve(steps, there, np.zeros(len(steps))), _style(look, agent), area=True),
            charts.Layer(satisfied, _style(look, agent)),
        ]
        said = f"satisfaction {mean:.2f}, {stays:.1f} steps"
        found.append({"agent": agent, "said": said, "chart": charts.panel(layers, x, y, f"{agent}: {said}")})
    return found


def _exposure(results: Results, summary: Summary) -> dict[str, Any]:
    """What is shown, by category, over all steps: a bar for each agent, and a key."""
    shares = exposure_shares(results, "category")
    if shares.is_empty():
        return {}
    totals = shares.group_by("agent", "name").agg(pl.col("shown").sum())
    totals = totals.with_columns((pl.col("shown") / pl.col("shown").sum().over("agent")).alias("share"))
    ranked = totals.group_by("name").agg(pl.col("share").mean()).sort("share", "name", descending=[True, False])
    coloured = {name: f"hue{place + 1}" for place, name in enumerate(ranked["name"].to_list()[:COLOURED])}
    spread = {
        a: e for a, e, _ in exposure_spread(shares).group_by("agent").mean().select("agent", "entropy", "top").rows()
    }
    rows = []
    for agent in by_reward(summary):
        mine = dict(totals.filter(pl.col("agent") == agent).select("name", "share").rows())
        shown = {name: mine.get(name, 0.0) for name in coloured}
        rest = {"all others": max(0.0, 1 - sum(shown.values()))}
        numbers = summary["agents"][agent]
        top = max(mine, key=lambda name: (mine[name], name))
        label = ", ".join(f"{name} {100 * share:.0f} %" for name, share in (shown | rest).items())
        rows.append(
            {
                "agent": agent,
                "bar": charts.share_bar(shown | rest, coloured, f"{agent}: {label}"),
                "top": f"{top} {100 * mine[top]:.0f} %",
                "entropy": f"{spread[agent]:.2f}",
                "coverage": _plain(numbers, "catalogue_coverage"),
                "gini": _plain(numbers, "gini"),
            }
        )
    return {"rows": rows, "key": coloured, "rest": shares["name"].n_unique() > len(coloured)}


def _plain(numbers: Any, metric: str) -> str:
    value = numbers.get(metric, {"mean": None})["mean"]
    return "n/a" if value is None else f"{value:.2f}"


def _log(about: dict[str, Any], items: int) -> str:
    return f"{about.get('population')}, {items:,} items"


def _leaving(results: Results) -> str:
    """In words, why people leave, for the last step of a session."""
    rule = str(((results.config.get("env") or {}).get("leave") or {}).get("rule"))
    return words.LEAVING.get(rule, "")


def _examples(replay: Replay | None, first: str, second: str | None) -> dict[str, Any]:
    if replay is None:
        return {}
    agents = [agent for agent in dict.fromkeys((first, second, "random")) if agent and agent in replay.data["agents"]]
    person = typical(replay, first)
    return {agent: example(replay, agent, person) for agent in agents}


def _configuration(paths: Sequence[Path]) -> str:
    return (paths[0] / "config.yaml").read_text(encoding="utf-8")


def _versions(about: dict[str, Any]) -> list[tuple[str, str]]:
    git, packages = about.get("git") or {}, about.get("packages") or {}
    found = [("lerl", str(about.get("lerl"))), ("Python", str(about.get("python")))]
    found += [(str(name), str(version)) for name, version in packages.items()]
    if git:
        found.append(("commit", f"{git.get('commit')}{', changed' if git.get('changed') else ''}"))
    found.append(("users' digest", str(about.get("population_digest"))))
    return found
