"""The page of an audit: may this planner be trusted, in words first, from audit.json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lerl.envs.files import write_whole
from lerl.files import RunError, reading
from lerl.report.page.build import render

AUDIT, PAGE = "audit.json", "audit.html"
_HOW = "write it again with: lerl audit"
_SHADES = (0.02, 0.05, 0.1, 0.2, 0.4)  # of a Jensen-Shannon distance, from which on a cell is shaded, darker and darker
_MOST_TESTS = 30


def is_audit(folder: Path) -> bool:
    """Whether a folder is what lerl audit wrote."""
    return (folder / AUDIT).is_file()


def report_audit(folder: Path, out: Path | None = None) -> Path:
    """Write the page of an audit from its audit.json; its path, `folder`/audit.html unless given.

    Raises:
        RunError: audit.json is damaged.
    """
    path = folder / AUDIT
    with reading(path, _HOW):
        whole = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(whole, dict):
            raise RunError(f"{path} holds no audit; {_HOW}")
        return write_audit_page(whole, folder / PAGE if out is None else out)


def write_audit_page(whole: Mapping[str, Any], out: Path) -> Path:
    """The same from what was read, or has just been judged."""
    probing = whole.get("probing") or {}
    text = render(
        "audit.html",
        title=f"Audit of {whole['subject']}",
        of=whole["of"],
        verdict=whole["verdict"],
        hcs=whole["hcs_auto"],
        dimensions=_dimensions(whole),
        empty=whole["empty_cells"],
        missing=whole["missing_dimensions"],
        exposure=_exposure(whole.get("exposure")),
        grids=_grids(whole.get("cues")),
        tests=_tests(probing),
        agreements=_agreements(probing),
        probing=_probing(probing),
        questions=_questions(whole["questions"]),
        asked=whole.get("asked"),
        false_claims=whole["examples"]["false claims"],
        shifted=whole["examples"]["shifted plans"],
    )
    write_whole(out, text)
    return out


def _dimensions(whole: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "score": _number(score, 2),
            "cells": [
                {**cell, "score": _number(cell["score"], 2)} for cell in whole["cells"] if cell["dimension"] == name
            ],
        }
        for name, score in whole["dimensions"].items()
    ]


def _exposure(found: Mapping[str, Mapping[str, float | None]] | None) -> list[tuple[str, list[str]]]:
    if not found:
        return []
    places = {"gini": 3, "coverage": 3, "distance": 3, "entropy": 2, "reward": 3, "alignment": 2}
    return [(name, [_number(one[key], digits) for key, digits in places.items()]) for name, one in found.items()]


def _grids(cues: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """For each attribute, a row a kind of cue and a column a group."""
    if not cues:
        return []
    at = {(one["attribute"], one["kind"], one["group"]): one for one in cues["matrix"]}
    return [
        {
            "attribute": attribute,
            "groups": groups,
            "rows": [
                {"kind": kind, "cells": [_grid_cell(at.get((attribute, kind, group))) for group in groups]}
                for kind in cues["kinds"]
            ],
        }
        for attribute, groups in cues["attributes"].items()
    ]


def _grid_cell(entry: Mapping[str, Any] | None) -> dict[str, Any]:
    if entry is None or entry["distance"] is None:
        refused = None if entry is None else entry["refused"]
        return {"text": "n/a", "shade": 0, "refused": _share(refused)}
    shade = sum(entry["distance"] >= least for least in _SHADES)
    return {"text": _number(entry["distance"], 3), "shade": shade, "refused": _share(entry["refused"])}


def _share(value: float | None) -> str:
    return f"{100 * value:.0f} %" if value else ""


def _tests(probing: Mapping[str, Any]) -> list[dict[str, Any]]:
    found = [one for one in probing.get("effects", {}).get("tests", []) if one["significant"]]
    found.sort(key=lambda one: (one["holm"] is None, one["holm"]))
    return found[:_MOST_TESTS]


def _probing(probing: Mapping[str, Any]) -> dict[str, Any]:
    """What the part on other tests shows."""
    if not probing:
        return {}
    checks = probing["validity"]
    attributes = [one["attribute"] for one in probing["verdicts"]]
    read = {(one["kind"], one["attribute"]): one["macro"] for one in checks["legibilities"]}
    kinds = list(dict.fromkeys(kind for kind, _ in read))
    return {
        "verdicts": probing["verdicts"],
        "attributes": attributes,
        "legibility": [(kind, [_share(read.get((kind, name))) for name in attributes]) for kind in kinds],
        "flips": checks["flips"][:_MOST_TESTS],
        "count_flips": len(checks["flips"]),
        "count_adjusted": len(checks["flips_adjusted"]),
        "discordances": checks["discordances"],
    }


def _agreements(probing: Mapping[str, Any]) -> list[dict[str, Any]]:
    found = [one for one in probing.get("effects", {}).get("agreements", []) if one["correlation"] is not None]
    return [
        {
            **one,
            "correlation": _bounded(one["correlation"], one["upper"]),
            "corrected": _bounded(one["corrected"], one["corrected_upper"]),
        }
        for one in found
    ]


def _bounded(value: float | None, upper: float | None) -> str:
    return "" if value is None else f"{value:.2f} (at most {_number(upper, 2)})"


def _questions(questions: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [
        (name, ", ".join(f"{value:,} {key}" for key, value in one.items()) if isinstance(one, Mapping) else f"{one:,}")
        for name, one in questions.items()
    ]


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"
