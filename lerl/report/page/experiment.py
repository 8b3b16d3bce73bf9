"""The page of an experiment: every condition with its scores and ratios, from report.json."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lerl.envs.files import write_whole
from lerl.files import RunError, reading
from lerl.report.intervals import interval_note
from lerl.report.page import charts
from lerl.report.page.build import PAGE, render
from lerl.report.palette import BLACK, BLUE, GREY, ORANGE
from lerl.report.tables import explained

REPORT = "report.json"
_COLOURS = {"hierarchical": ORANGE, "ceiling": BLACK, "floor": GREY}
_METRICS = {"R_cum": 2, "T_int": 1, "R_sin": 3, "normalised": 2, "iqm": 2}
_HOW = "write it again with: lerl experiment RECIPE --resume --out FOLDER"


def is_experiment(folder: Path) -> bool:
    """Whether a folder is what lerl experiment wrote, with its report."""
    return (folder / REPORT).is_file() and not (folder / "run.json").is_file()


def report_experiment(folder: Path, out: Path | None = None) -> Path:
    """Write the page of an experiment whose report.json is there; its path, `folder`/report.html unless given.

    Raises:
        RunError: report.json is damaged.
    """
    path = folder / REPORT
    with reading(path, _HOW):
        conditions = [_condition(one) for one in json.loads(path.read_text(encoding="utf-8"))]
    if not conditions:
        raise RunError(f"{path} holds no condition; {_HOW}")
    written = folder / PAGE if out is None else out
    write_whole(written, render("experiment.html", title=folder.resolve().name, conditions=conditions))
    return written


def _condition(found: dict[str, Any]) -> dict[str, Any]:
    """What the page shows of one condition."""
    scores = found["scores"]
    names = [name for name in _METRICS if all(name in one["metrics"] for one in scores)]
    scale = charts.ends_of([one["metrics"]["R_cum"] for one in scores], 0.0)
    rows = []
    for one in scores:
        agent, style = str(one["agent"]), charts.CLASSES[_COLOURS.get(one["kind"], BLUE)]
        mark = charts.interval_mark(one["metrics"]["R_cum"], scale, style, f"R_cum of {agent}")
        cells = [_estimate(one["metrics"][name], _METRICS[name], interval=name == "R_cum") for name in names]
        name = f"{agent} ({one['mark']})" if one.get("mark") else agent
        rows.append({"agent": name, "kind": str(one["kind"]), "mark": mark, "cells": cells})
    return {
        "name": str(found["condition"]),
        "line": _sentence(str(found.get("line") or "").removeprefix(f"{found['condition']}: ")),
        "best": str(found["best"]),
        "seen": f"{found['users']:,} users, {found['seeds']} seed{'' if found['seeds'] == 1 else 's'}",
        "names": names,
        "rows": rows,
        "ratios": _ratios(found["ratios"]),
        "level": f"{float(found['level']):.2f}",
        "note": f"{explained(names)}. {interval_note(int(found['seeds']))}",
        "basis": [(str(name), str(what)) for name, what in found.get("basis") or []],
        "below": [str(agent) for agent in found["below"]],
        "missing": [str(agent) for agent in found["missing"]],
    }


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _ratios(ratios: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    there = [one for one in ratios if one["ratio"]["mean"] is not None]
    scale = charts.ends_of([one["ratio"] for one in there], 1.0)
    return [
        {
            "against": str(one["against"]),
            "agent": str(one["agent"]),
            "said": _estimate(one["ratio"], 3),
            "mark": charts.interval_mark(one["ratio"], scale, "reference", f"ratio to {one['agent']}", 1.0),
        }
        for one in there
    ]


def _estimate(value: dict[str, Any], decimals: int, interval: bool = True) -> str:
    if value["mean"] is None:
        return "n/a"
    ends = (
        "" if not interval or value["low"] is None else f" [{value['low']:.{decimals}f}, {value['high']:.{decimals}f}]"
    )
    return f"{value['mean']:.{decimals}f}{ends}"
