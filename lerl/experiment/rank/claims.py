"""What rows may say of themselves: each beside its controls, by paired intervals, and nothing that was not shown."""

from collections.abc import Mapping
from typing import Any

from lerl.agents.next_item.registry import CONTROLS, Claim, claims_of
from lerl.experiment.rank.judge import MAIN
from lerl.report.intervals import Interval, bracket, estimate_text
from lerl.report.paired import Difference, turned

ALIKE = 0.05
"""By how much, relative to the control, the parameters of two rows may differ that are compared at equal size."""


def claims(judged: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every claim of which both rows were judged.

    Args:
        judged: what `lerl.experiment.rank.judge.judge` gave, and "settings" by row.

    Returns:
        Of each claim: "row", "beside", "isolates", "margin", "least" as in `lerl.agents.next_item.registry.Claim`;
        the paired "difference" of NDCG@10 and the relative one, "relative", as intervals; "above", whether the lower
        bound is above the margin; "reached", whether the mean is at the least; "shown", whether both are so;
        "parameters" of the row / of the other; "differ", the settings that both have and that are not the same, where
        the other is no control; and the line that says all of it, "said".
    """
    found = []
    for claim in claims_of(judged["rows"], judged["settings"]):
        one = _difference(judged, claim)
        difference: Interval = {"mean": one["mean"], "low": one["low"], "high": one["high"]}
        ends = {"mean": one["ratio"], "low": one["ratio_low"], "high": one["ratio_high"]}
        relative: Any = {name: None if end is None else end - 1 for name, end in ends.items()}
        bound = relative["low"] if claim.margin else difference["low"]
        above = bound is not None and bound > claim.margin
        reached = not claim.least or (relative["mean"] is not None and relative["mean"] >= claim.least)
        sizes = [judged["rows"][row]["parameters"] for row in (claim.row, claim.beside)]
        made = {
            **claim._asdict(),
            "difference": difference,
            "relative": relative,
            "above": above,
            "reached": reached,
            "shown": above and reached,
            "parameters": sizes[0] / sizes[1] if sizes[1] else None,
            "differ": _differ(judged["settings"], claim),
        }
        found.append({**made, "said": _line(made)})
    return found


def _difference(judged: Mapping[str, Any], claim: Claim) -> Difference:
    """That of the claim's row less the other."""
    for one in judged["differences"]:
        if one["metric"] == MAIN and {one["a"], one["b"]} == {claim.row, claim.beside}:
            return one if one["a"] == claim.row else turned(one)
    raise KeyError(f"{claim.row} and {claim.beside} were not compared")


def _differ(settings: Mapping[str, Mapping[str, Any]], claim: Claim) -> dict[str, tuple[Any, Any]]:
    """Settings of both that are not the same, by name; a control differs in what it isolates."""
    row, beside = settings[claim.row], settings[claim.beside]
    if claim.beside in CONTROLS:
        return {}
    return {name: (row[name], beside[name]) for name in row if name in beside and row[name] != beside[name]}


def _line(made: Mapping[str, Any]) -> str:
    """What is claimed, the figures, and whether they show it."""
    what = "not worse than" if made["margin"] < 0 else "above"
    figures = f"{MAIN} {estimate_text(made['difference'], 4, '+')}, {percent(made['relative'])}"
    shown = "shown" if made["above"] else "not shown"
    if made["margin"]:
        shown = f"the bar is a lower bound above {100 * made['margin']:+.0f} %: {shown}"
    if made["least"]:
        reached = "reached" if made["reached"] else "not reached"
        shown = f"above: {shown}; the bar is {100 * made['least']:+.0f} % as well: {reached}"
    size = made["parameters"]
    if size is not None and abs(size - 1) > ALIKE:
        shown += f"; parameters {size:.2f} x: not comparable at equal size"
    if made["differ"]:
        other = ", ".join(f"{name} {mine} and {theirs}" for name, (mine, theirs) in made["differ"].items())
        shown += f"; other settings differ too: {other}"
    return f"{made['row']} {what} {made['beside']} ({made['isolates']}): {figures}: {shown}"


def percent(relative: Mapping[str, float | None]) -> str:
    """A relative difference and its interval, in per cent."""
    if relative["mean"] is None:
        return "n/a"
    shown: Any = {name: None if end is None else 100 * end for name, end in relative.items()}
    return f"{shown['mean']:+.1f} % {bracket(shown, 1, '+')}"
