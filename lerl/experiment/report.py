"""The report of an experiment: tables, numbers and pictures."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from lerl.envs.files import write_whole
from lerl.experiment.spec import KINDS, Experiment
from lerl.experiment.verdict import (
    CEILING,
    FLOOR,
    METRICS,
    ConditionResults,
    Scores,
    Verdict,
    read,
)
from lerl.report.intervals import estimate_text, interval_note
from lerl.report.page.experiment import report_experiment
from lerl.report.page.words import basis
from lerl.report.palette import BLACK, BLUE, GREEN, GREY, ORANGE, PALE, PURPLE
from lerl.report.tables import explained

HEADINGS = {name: name for name in METRICS} | {"iqm": "interquartile mean, normalised"}
DECIMALS = {"R_cum": 2, "T_int": 1, "R_sin": 3, "normalised": 2, "iqm": 2}


def write(verdicts: Sequence[Verdict], experiment: Experiment, out: Path) -> list[Path]:
    """Write report.md, .tex, .csv, .json and .html and the pictures into the experiment's folder."""
    texts = {
        "report.md": "\n".join(markdown(verdicts)) + "\n",
        "report.tex": "\n".join(latex(verdicts)) + "\n",
        "report.csv": _csv(verdicts),
        "report.json": json.dumps([_kept(verdict, experiment) for verdict in verdicts], indent=1) + "\n",
    }
    for name, text in texts.items():
        write_whole(out / name, text)
    return [*(out / name for name in texts), report_experiment(out), *_draw(verdicts, experiment, out)]


def _kept(verdict: Verdict, experiment: Experiment) -> dict[str, Any]:
    """A condition as report.json has it: what it shows, in one sentence too, and what that rests on."""
    label = experiment.labels(verdict.condition)[0]
    config = experiment.trial(verdict.condition, label, experiment.base.seed, {}).config
    log = "" if config.data.path is None else f"the prepared folder {Path(config.data.path).name}"
    rests = basis(asdict(config), verdict.users, [one.agent for one in verdict.scores], log)
    return asdict(verdict) | {"line": verdict.line, "basis": rests}


def markdown(verdicts: Sequence[Verdict]) -> list[str]:
    """All conditions, a table of scores and the ratios of each."""
    lines = []
    for verdict in verdicts:
        lines += [f"## {verdict.condition}", "", f"{verdict.seen}. "]
        lines[-1] += f"{verdict.line.partition(': ')[2][:1].upper()}{verdict.line.partition(': ')[2][1:]}."
        if verdict.below:
            lines[-1] += f" Below random: {', '.join(verdict.below)}."
        if verdict.missing:
            lines[-1] += f" Not there yet: {', '.join(verdict.missing)}."
        if verdict.processors:
            kinds = ", ".join(verdict.processors)
            lines[-1] += f" Trials ran on processors of several kinds, which differ in last digits: {kinds}."
        names = [name for name in METRICS if name in verdict.scores[0].metrics]
        lines += ["", f"| agent | kind | {' | '.join(HEADINGS[name] for name in names)} | steps | seconds |"]
        lines += [f"|---|---|{'---:|' * (len(names) + 2)}"]
        for one in verdict.scores:
            cells = [estimate_text(one.metrics[name], DECIMALS[name]) for name in names]
            lines.append(f"| {one.name} | {one.kind} | {' | '.join(cells)} | {one.steps:,} | {_seconds(one)} |")
        lines += ["", f"{explained(names)}. {interval_note(verdict.seeds)}"]
        lines[-1] += "".join(f" {one.agent} chose {one.chosen}." for one in verdict.scores if one.chosen)
        if verdict.ratios:
            lines += ["", f"| R_cum of {verdict.best} over | agent | ratio, {verdict.level:.2f} % interval |"]
            lines += ["|---|---|---:|"]
            lines += [f"| {one.against} | {one.agent} | {estimate_text(one.ratio, 3)} |" for one in verdict.ratios]
        lines.append("")
    return lines


def _seconds(one: Scores) -> str:
    return "" if one.fitting is None else f"{one.fitting:,.0f}"


def latex(verdicts: Sequence[Verdict]) -> list[str]:
    """A table for each condition, for a document that uses booktabs."""
    lines = []
    for verdict in verdicts:
        names = [name for name in METRICS if name in verdict.scores[0].metrics]
        heads = [HEADINGS[name].split(",")[0].replace("_", r"\_") for name in names]
        lines += [r"\begin{table}", r"\centering", rf"\begin{{tabular}}{{ll{'r' * len(names)}}}", r"\toprule"]
        lines += [f"agent & kind & {' & '.join(heads)} " + r"\\", r"\midrule"]
        for one in verdict.scores:
            cells = [estimate_text(one.metrics[name], DECIMALS[name]) for name in names]
            lines.append(f"{_escaped(one.name)} & {one.kind} & {' & '.join(cells)} " + r"\\")
        lines += [r"\bottomrule", r"\end{tabular}"]
        notes = _escaped(f"{verdict.line}. {verdict.seen}. {explained(names)}. {interval_note(verdict.seeds)}")
        lines += [rf"\caption{{{notes}}}"]
        lines += [r"\end{table}", ""]
    return lines


def _escaped(text: str) -> str:
    return "".join(rf"\{letter}" if letter in "_%&#$" else letter for letter in text)


def _csv(verdicts: Sequence[Verdict]) -> str:
    stream = io.StringIO()
    table = csv.writer(stream, lineterminator="\n")
    table.writerow(["condition", "agent", "kind", "metric", "mean", "low", "high"])
    for verdict in verdicts:
        for one in verdict.scores:
            for name, value in one.metrics.items():
                table.writerow(
                    [verdict.condition, one.name, one.kind, name, value["mean"], value["low"], value["high"]]
                )
        for ratio in verdict.ratios:
            ends = (ratio.ratio[end] for end in ("mean", "low", "high"))
            table.writerow([verdict.condition, verdict.best, ratio.agent, "ratio", *ends])
    return stream.getvalue()


COLOURS = {
    "floor": GREY,
    "ceiling": BLACK,
    "flat learner": BLUE,
    "practitioner": GREEN,
    "hierarchical": ORANGE,
    "other": PURPLE,
}


def _draw(verdicts: Sequence[Verdict], experiment: Experiment, out: Path) -> list[Path]:
    """Normalised scores of every condition, and how they are spread over users in the first one."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    from lerl.report.style import STYLE, save

    scored = [verdict for verdict in verdicts if "normalised" in verdict.scores[0].metrics]
    if not scored:
        return []
    paths = []
    with matplotlib.rc_context(STYLE):
        heights = [len(verdict.scores) for verdict in scored]
        figure = Figure(figsize=(5.2, 0.6 * len(scored) + 0.15 * sum(heights)), layout="constrained")
        FigureCanvasAgg(figure)
        panels = figure.subplots(len(scored), 1, squeeze=False, height_ratios=heights)[:, 0]
        for axes, verdict in zip(panels, scored, strict=True):
            _forest(axes, verdict)
        panels[-1].set_xlabel("normalised score: random is 0, privileged 1")
        there = {one.kind for verdict in scored for one in verdict.scores}
        look: Any = {"marker": "o", "ms": 3, "lw": 1.2}
        marks = [Line2D([], [], color=COLOURS[kind], label=kind, **look) for kind in KINDS if kind in there]
        figure.legend(handles=marks, loc="outside lower center", ncols=3, frameon=False, fontsize=6.5)
        paths += save(figure, out / "scores")
        figure = Figure(figsize=(5.2, 3.2), layout="constrained")
        FigureCanvasAgg(figure)
        results = read(experiment, out, scored[0].condition)
        if results is not None:
            _profiles(figure.subplots(), results, scored[0])
            paths += save(figure, out / "profiles")
    return paths


def _forest(axes: Any, verdict: Verdict) -> None:
    for place, one in enumerate(reversed(verdict.scores)):
        value = one.metrics["normalised"]
        axes.plot([value["low"], value["high"]], [place, place], color=COLOURS[one.kind], lw=1.2)
        axes.plot(value["mean"], place, "o", color=COLOURS[one.kind], ms=3)
    axes.set_yticks(range(len(verdict.scores)), [one.name for one in reversed(verdict.scores)], fontsize=6.5)
    axes.set_ylim(-0.6, len(verdict.scores) - 0.4)
    axes.axvline(0, color=PALE, lw=0.6, zorder=0)
    axes.axvline(1, color=PALE, lw=0.6, zorder=0)
    axes.set_title(f"{verdict.condition}: {verdict.seen}", loc="left")


def _profiles(axes: Any, results: ConditionResults, verdict: Verdict) -> None:
    """The share of users whose score is above each level, for the best agent of each kind."""
    score = results.rewards.mean(axis=2)
    low, high = (score[results.labels.index(agent)].mean() for agent in (FLOOR, CEILING))
    levels = np.linspace(-0.5, 1.5, 201)
    for kind in KINDS:
        best = next((one for one in verdict.scores if one.kind == kind), None)
        if best is not None:
            scaled = (score[results.labels.index(best.agent)] - low) / (high - low)
            above = (scaled[None] > levels[:, None]).mean(axis=1)
            axes.plot(levels, above, color=COLOURS[kind], lw=1.3, label=f"{best.name} ({kind})")
    axes.set(xlabel="normalised score of a user, mean over seeds", ylabel="share of users above", ylim=(0, 1))
    axes.legend(frameon=False, fontsize=6.5)
    axes.set_title(verdict.condition, loc="left")
