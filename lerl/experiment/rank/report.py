"""The report of ranked rows: tables for a terminal and in Markdown, every user's ranks, all figures for programs."""

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from rich.console import Group

from lerl.agents.next_item.ranking import TOP
from lerl.agents.next_item.registry import CONTROLS
from lerl.envs.files import write_whole
from lerl.experiment.rank.judge import BY_CODE, MAIN, METRICS, ratios_to
from lerl.experiment.rank.trial import Judged
from lerl.report.intervals import bracket, estimate_text, interval_note
from lerl.report.tables import markdown_table, notes_below, rich_table

TABLE, SUMMARY, TEXT, PAGE = "ranks.parquet", "summary.json", "report.md", "report.html"
FILES = (TABLE, SUMMARY, TEXT, PAGE)
REFERENCES = ("counts", "sasrec")
"""Rows that others are divided by."""

FIRST = (MAIN, "Recall@10", "MRR")
OTHERS = tuple(metric for metric in METRICS if metric not in FIRST)
COVERAGE, GINI = f"coverage@{TOP}", f"gini@{TOP}"
MEANINGS = (
    f"Every item is ranked for every user. NDCG@k: 1 / log2(place + 1) of the item that was chosen, 0 behind place k; "
    f"Recall@k: whether it is among the first k; MRR: 1 / place; {COVERAGE}: share of items that somebody's first "
    f"{TOP} hold; {GINI}: how unequally they are recommended (0 all alike). Of equal scores every order counts alike."
)


def table(summary: Mapping[str, Any]) -> Group:
    """All rows for a terminal, best first, and what they are worth beside the references."""
    blocks: list[Any] = []
    for headings, cells in tables(summary):
        blocks += [rich_table("", headings[0], headings[1:], cells, None), ""]
    if summary["claims"]:
        blocks += [notes_below([one["said"] for one in summary["claims"]]), ""]
    return Group(*blocks, notes_below(notes(summary)))


def notes(summary: Mapping[str, Any]) -> list[str]:
    """Sentences below the tables: what intervals are, what headings mean, and what was seen."""
    return [interval_note(summary["seeds"]), MEANINGS, *seen(summary)]


def facts(data: Mapping[str, Any]) -> str:
    """What was ranked, and by which rule: a summary's "data" in words."""
    rule = "behind all others" if data["exclude_history"] else "ranked like all others"
    return (
        f"{data['users']:,} users, {data['items']:,} items, {data['choices']:,} choices; {data['judged']:,} users are "
        f"judged. Split: {data['split']}. Items of the history are {rule}."
    )


def markdown(summary: Mapping[str, Any]) -> str:
    """The same as Markdown, with the data, their notes and the settings."""
    data = summary["data"]
    lines = [f"# Next item: {Path(data['path']).name}", "", facts(data), "", *(f"- {note}" for note in data["notes"])]
    for headings, cells in tables(summary):
        lines += ["", *markdown_table(headings[0], headings[1:], cells)]
    if summary["claims"]:
        lines += ["", "## Claims", "", *(f"- {one['said']}" for one in summary["claims"])]
        lines += ["", "Shown: the lower bound of the paired interval is above the bar, which is 0 where none is named."]
    lines += ["", interval_note(summary["seeds"]), "", MEANINGS, "", *(f"- {line}" for line in seen(summary))]
    lines += ["", "## Settings", ""]
    for row, settings in summary["settings"].items():
        said = ", ".join(f"{name} {value}" for name, value in settings.items()) or "none"
        lines.append(f"- {row}: {said}")
        lines += [f"    - {note}" for note in summary["rows"][row].get("notes", ())]
    return "\n".join(lines) + "\n"


def seen(summary: Mapping[str, Any]) -> list[str]:
    """A sentence for each row that learns: whether it is above `counts`, by the interval of their ratio."""
    found = ratios_to(summary, REFERENCES[0])
    lines = []
    for row in by_main(summary):
        if row not in found or row in CONTROLS or not summary["rows"][row]["epochs"][0]:
            continue
        ratio = found[row]
        low, high = ratio["low"], ratio["high"]
        if low is None or high is None:
            verdict = "cannot be compared with counts"
        elif low > 1:
            verdict = "is above counts"
        else:
            verdict = "is below counts" if high < 1 else "is not distinguished from counts"
        lines.append(f"{row} {verdict}: {MAIN} of {row} / of counts is {estimate_text(ratio, 3)}")
    lines += [
        f"{row} is judged by items; whether the code is right, which several items may share, would give {MAIN} "
        f"{summary['rows'][row][BY_CODE]:.4f} in place of {summary['rows'][row][MAIN]['mean']:.4f}"
        for row in by_main(summary)
        if BY_CODE in summary["rows"][row] and row not in CONTROLS and _flattered(summary["rows"][row])
    ]
    return lines


def _flattered(row: Mapping[str, Any]) -> bool:
    """Whether codes would give another figure than items, as printed."""
    return f"{row[BY_CODE]:.4f}" != f"{row[MAIN]['mean']:.4f}"


def by_main(summary: Mapping[str, Any]) -> list[str]:
    """The rows, best first."""
    return sorted(summary["rows"], key=lambda row: -(summary["rows"][row][MAIN]["mean"] or 0.0))


def tables(summary: Mapping[str, Any]) -> list[tuple[list[str], list[list[str]]]]:
    """Headings and rows: the main figures; the others; and ratios to the references."""
    rows, order = summary["rows"], by_main(summary)
    main = [
        [row, *(estimate_text(rows[row][name], 4) for name in FIRST), _parameters(rows[row]), _epochs(rows[row])]
        for row in order
    ]
    others = [
        [
            row,
            *(f"{rows[row][name]['mean']:.4f}" for name in OTHERS),
            f"{rows[row][COVERAGE]:.3f}",
            f"{rows[row][GINI]:.3f}",
            f"{rows[row]['epoch_seconds']:.1f}" if rows[row]["epoch_seconds"] else "-",
        ]
        for row in order
    ]
    found = [
        (["row", *FIRST, "parameters", "epochs"], main),
        (["row", *OTHERS, COVERAGE, GINI, "s an epoch"], others),
    ]
    for reference in REFERENCES:
        beside = ratios_to(summary, reference)
        cells = [[row, f"{beside[row]['mean'] or 0:.3f}", bracket(beside[row], 3)] for row in order if row in beside]
        if cells:
            found.append(([f"{MAIN} / that of {reference}", "ratio", "95 % interval"], cells))
    return found


def _parameters(row: Mapping[str, Any]) -> str:
    return f"{row['parameters']:,}"


def _epochs(row: Mapping[str, Any]) -> str:
    """Which epochs were kept, of how many tried, by seed."""
    if not row["epochs"][0]:
        return "-"
    return ", ".join(f"{best} of {tried}" for best, tried in zip(row["best"], row["epochs"], strict=True))


def write(summary: Mapping[str, Any], found: Mapping[str, Sequence[Judged]], users: Sequence[str], out: Path) -> None:
    """Write ranks.parquet, report.md and, last, summary.json.

    Args:
        summary: all figures. found: the trials of each row. users: ids of those judged (N,). out: the folder.
    """
    frames = [
        pl.DataFrame({"user": users, "rank": trial.places.rank, "tied": trial.places.tied.astype(np.int32)}).select(
            pl.lit(row).alias("row"),
            pl.lit(trial.about["seed"], pl.Int64).alias("seed"),
            "user",
            "rank",
            "tied",
            pl.Series(
                "rank_by_code",
                [None] * len(users) if trial.places.by_code is None else trial.places.by_code,
                pl.Float64,
            ),
        )
        for row, trials in found.items()
        for trial in trials
    ]
    stream = io.BytesIO()
    pl.concat(frames).write_parquet(stream)
    write_whole(out / TABLE, stream.getvalue())
    references = {reference: ratios_to(summary, reference) for reference in REFERENCES}
    write_whole(out / TEXT, markdown(summary))
    text = json.dumps({**summary, "ratios_to": {name: of for name, of in references.items() if of}}, indent=1)
    write_whole(out / SUMMARY, text + "\n")
