"""lerl evaluate, compare and plot."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lerl.cli.parser import Parser, UsageError, add_json, add_trust, runs_parser
from lerl.cli.planners import print_calls

SENSITIVITY_HELP = (
    "With --sensitivity, find out whether the ranking of the runs' agents depends on what a log cannot tell: the saved "
    "agents, not trained again, are evaluated on users fitted to the log (lerl fit FOLDER --model latent --dynamics), "
    "with each fitted parameter at either end of its 95 % interval, with hidden topics and with topics = categories. "
    "Takes about as long as fifty evaluations without privileged, which is left out; the same command continues one "
    "that was interrupted."
)

PICTURES = "plots"
"""The folder of a run's pictures inside the run's folder."""


def run_evaluate(arguments: list[str]) -> None:
    """lerl evaluate"""
    parser = Parser("lerl evaluate", description="Evaluate a trained run again, on the same users.")
    parser.add_argument("run", metavar="RUN", type=Path, help="a folder that lerl train wrote")
    add_trust(parser)
    given = parser.parse_args(arguments)

    from lerl.run.evaluate import evaluate

    config = evaluate(given.run, given.trust)
    print_comparison([given.run], out=given.run, bootstrap=config.evaluation.bootstrap)
    print_calls(given.run)


def run_compare(arguments: list[str]) -> None:
    """lerl compare"""
    parser = runs_parser("compare", f"Print a table of runs that differ only in their seed. {SENSITIVITY_HELP}")
    parser.add_argument("--sensitivity", action="store_true", help="evaluate the agents on other users, as said above")
    add_json(parser, "with --sensitivity: ")
    add_trust(parser)
    given = parser.parse_intermixed_args(arguments)  # options may stand between runs
    if given.sensitivity:
        _print_sensitivity(given)
        return
    if given.trust:
        raise UsageError("--trust goes with --sensitivity; a comparison executes nothing that runs hold")
    if given.json:
        raise UsageError("--json goes with --sensitivity; a comparison's JSON is summary.json in --out FOLDER")
    print_comparison(
        given.runs, given.out, given.reference, bootstrap=given.bootstrap, allow_different=given.allow_different
    )


def _print_sensitivity(given: argparse.Namespace) -> None:
    if given.allow_different:
        raise UsageError("--sensitivity needs runs that differ only in their seed; leave out --allow-different")
    if given.out is None and len(given.runs) > 1:
        raise UsageError("give --out FOLDER for the sensitivity of several runs")
    out = given.out or given.runs[0] / "sensitivity"

    from lerl.experiment import sensitivity_report
    from lerl.experiment.sensitivity import sensitivity
    from lerl.report.tables import show

    try:
        found = sensitivity(given.runs, out, given.reference, given.bootstrap, trust=given.trust)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("the same command goes on") from None
    sensitivity_report.write(found, out)
    if given.json:
        print(sensitivity_report.as_json(found))
        return
    show(sensitivity_report.table(found))
    print("\n".join(sensitivity_report.verdict_lines(found)))
    print(f"written: {out / sensitivity_report.REPORT} and {out / sensitivity_report.PICTURE}.png, also as .svg")


def run_plot(arguments: list[str]) -> None:
    """lerl plot"""
    parser = runs_parser("plot", "Draw the results of runs that differ only in their seed.")
    given = parser.parse_intermixed_args(arguments)
    if given.out is None and len(given.runs) > 1:
        raise UsageError("give --out FOLDER for the pictures of several runs")
    options = {"bootstrap": given.bootstrap, "allow_different": given.allow_different, "reference": given.reference}
    print_pictures(given.runs, given.out or given.runs[0] / PICTURES, **options)


def print_comparison(runs: Sequence[Path], out: Path | None, reference: str | None = None, **options: Any) -> None:
    """Print the table of runs, and write it to a folder; `options` are those of `lerl.report.compare.compare`."""
    from lerl.report.compare import compare
    from lerl.report.tables import difference_table, show, table

    summary = compare(runs, out, reference=reference, **options)
    show(table(summary))
    if reference is not None:
        show(difference_table(summary, reference))


def print_pictures(runs: Sequence[Path], out: Path, **options: Any) -> None:
    """Draw runs into a folder, and print the files; `options` are those of `lerl.report.plots.plot`."""
    from lerl.report.plots import plot

    paths = plot(runs, out, **options)
    print("pictures, each also as .svg:")
    for path in paths:
        if path.suffix != ".svg":
            print(f"  {path}")
