"""Put evaluated runs side by side: read them, summarise them with paired intervals, print them.

A run folder is one recipe with one seed. Runs that differ in nothing but the seed are read together; intervals are then
over both the evaluation users and the seeds, see `lerl.report.intervals`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lerl.envs.files import write_whole
from lerl.report.bootstrap import Summary, summarize
from lerl.report.life_tables import life_markdown
from lerl.report.load import check_reference, load_runs
from lerl.report.tables import markdown


def compare(
    paths: Iterable[str | Path],
    out: Path | None = None,
    bootstrap: int = 2000,
    seed: int = 0,
    allow_different: bool = False,
    reference: str | None = None,
) -> Summary:
    """Read runs and summarise them; with ``out``, a folder, write summary.json and summary.md there.

    ``reference`` is as in :func:`markdown`. Errors are those of :func:`load_runs` and :func:`summarize`.
    """
    results = load_runs(paths, allow_different)
    if reference is not None:
        check_reference(reference, results.agents)
    summary = summarize(results, bootstrap, seed)
    if out is not None:
        write(summary, markdown(summary, reference) + life_markdown(summary, reference), out)
    return summary


def write(summary: Mapping[str, Any], tables: str, out: Path) -> None:
    """Write summary.json and summary.md into a folder; `tables` is what the latter holds."""
    write_whole(out / "summary.json", as_json(summary) + "\n")
    write_whole(out / "summary.md", tables)


def as_json(summary: Mapping[str, Any]) -> str:
    """What summary.json holds."""
    return json.dumps(summary, indent=1, ensure_ascii=False, allow_nan=False)
