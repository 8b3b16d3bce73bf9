"""The page of ranked rows, from summary.json: figures with their intervals, what was claimed, and how rows learned."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lerl.agents.next_item.registry import CONTROLS
from lerl.envs.files import write_whole
from lerl.experiment.rank.claims import percent
from lerl.experiment.rank.judge import MAIN
from lerl.experiment.rank.report import FIRST, PAGE, REFERENCES, SUMMARY, TABLE, by_main, facts, notes, tables
from lerl.files import RunError, reading
from lerl.report.curves import Curve
from lerl.report.intervals import estimate_text
from lerl.report.page import charts
from lerl.report.page.build import render

HOW = "write it again with the same lerl rank command"


def is_rank(folder: Path) -> bool:
    """Whether a folder is what lerl rank wrote, perhaps not to its end."""
    return (folder / TABLE).is_file() or any(folder.glob("trials/*-seed*.npz"))


def report_rank(folder: Path, out: Path | None = None) -> Path:
    """Write the page of ranked rows whose summary.json is there; its path, `folder`/report.html unless given.

    Raises:
        RunError: summary.json is damaged.
    """
    path = folder / SUMMARY
    with reading(path, HOW):
        summary: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if not summary["rows"]:
            raise RunError(f"{path} holds no row; {HOW}")
        page = render(
            "rank.html",
            title=Path(summary["data"]["path"]).name,
            facts=facts(summary["data"]),
            data_notes=summary["data"]["notes"],
            metric=MAIN,
            names=FIRST,
            rows=_rows(summary),
            claims=_claims(summary),
            learned=_learned(summary),
            tables=[{"headings": headings, "rows": rows} for headings, rows in tables(summary)[1:]],
            notes=notes(summary),
            settings=_settings(summary),
        )
    written = folder / PAGE if out is None else out
    write_whole(written, page)
    return written


def _rows(summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows, best first, each with a mark on one scale whose guide is what counting reaches."""
    found = summary["rows"]
    guide = found[REFERENCES[0]][MAIN]["mean"] if REFERENCES[0] in found else None
    scale = charts.ends_of([one[MAIN] for one in found.values()], 0.0)
    return [
        {
            "name": row,
            "mark": charts.interval_mark(found[row][MAIN], scale, _style(summary, row), f"{MAIN} of {row}", guide),
            "cells": [estimate_text(found[row][name], 4) for name in FIRST],
            "first": row == REFERENCES[0],
        }
        for row in by_main(summary)
    ]


def _style(summary: Mapping[str, Any], row: str) -> str:
    """The class of a row's colour: a control, a row that learns in epochs, or another."""
    if row in CONTROLS:
        return "simple"
    return "learned" if summary["rows"][row]["epochs"][0] else "reference"


def _claims(summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What rows may say of themselves, each with the relative difference and the bar that it has to be above."""
    scale = charts.ends_of([one["relative"] for one in summary["claims"]], 0.0)
    return [
        {
            **one,
            "what": "not worse than" if one["margin"] < 0 else "above",
            "mark": charts.interval_mark(
                one["relative"],
                scale,
                "ceiling" if one["shown"] else "simple",  # black: orange is a kind of row on this page
                f"{MAIN} of {one['row']} / that of {one['beside']}, less 1",
                one["margin"],
            ),
            "figures": percent(one["relative"]),
        }
        for one in summary["claims"]
    ]


def _learned(summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A chart for each row that learns in epochs: validation after each of them, a line a seed."""
    rows = [row for row in by_main(summary) if any(summary["rows"][row]["validation"])]
    seeds = {row: [values for values in summary["rows"][row]["validation"] if values] for row in rows}
    if not rows:
        return []
    x = charts.count_axis(max(len(values) for lines in seeds.values() for values in lines))
    y = charts.nice_axis([0.0, *(value for lines in seeds.values() for values in lines for value in values)])
    found = []
    for row in rows:
        layers = [
            charts.Layer(
                Curve(np.arange(1.0, len(values) + 1), np.array(values), np.zeros(len(values))), _style(summary, row)
            )
            for values in seeds[row]
        ]
        best = ", ".join(f"{values[epoch - 1]:.4f} in epoch {epoch}" for values, epoch in _best(summary, row))
        still = sum(epoch == len(values) for values, epoch in _best(summary, row))
        end = f"; {still} of {len(layers)} still rising at the last epoch" if still else ""
        label = f"Validation {MAIN} of {row} by epoch: {best}{end}"
        found.append({"name": row, "chart": charts.panel(layers, x, y, label), "said": f"best {best}{end}"})
    return found


def _best(summary: Mapping[str, Any], row: str) -> list[tuple[list[float], int]]:
    """Validation by epoch and the epoch that was kept, of each seed that learned."""
    one = summary["rows"][row]
    return [(values, best) for values, best in zip(one["validation"], one["best"], strict=True) if values]


def _settings(summary: Mapping[str, Any]) -> list[tuple[str, str, list[str]]]:
    """Each row, its settings in words, and what it said while it learned."""
    return [
        (
            row,
            ", ".join(f"{name} {value}" for name, value in settings.items()) or "none",
            list(summary["rows"][row].get("notes", ())),
        )
        for row, settings in summary["settings"].items()
    ]
