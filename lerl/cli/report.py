"""lerl report."""

import webbrowser
from pathlib import Path

from lerl.cli.parser import UsageError, runs_parser

DESCRIPTION = (
    "Write the report page of a run, or of runs that differ only in their seed: one HTML file that needs no server and "
    "no network, with the results in words, tables and charts, and a replay of sessions: what one person was shown, "
    "step by step, and why. Of a folder that lerl experiment wrote it shows all conditions, of one that lerl audit "
    "wrote its verdict, of one that lerl loop wrote its curves and tables, of one that lerl rank wrote its rows."
)


def run_report(arguments: list[str]) -> None:
    """lerl report"""
    parser = runs_parser("report", DESCRIPTION, out="FILE")
    parser.add_argument("--open", action="store_true", help="open the page in the browser")
    given = parser.parse_intermixed_args(arguments)

    from lerl.experiment.loop.page import is_loop, report_loop
    from lerl.experiment.rank.page import is_rank, report_rank
    from lerl.report.page.audit import is_audit, report_audit
    from lerl.report.page.build import PAGE, report
    from lerl.report.page.experiment import is_experiment, report_experiment

    whole_pages = (
        (is_experiment, report_experiment),
        (is_audit, report_audit),
        (is_loop, report_loop),
        (is_rank, report_rank),
    )
    if given.out is not None and given.out.suffix != ".html":
        raise UsageError(f"--out takes a file whose name ends in .html, given {given.out}")
    whole = next((write for is_one, write in whole_pages if any(map(is_one, given.runs))), None)
    if whole is not None:
        if len(given.runs) > 1 or given.reference is not None:
            raise UsageError(
                "the page of an experiment, an audit, a loop or ranked rows is of one folder and takes no --reference; "
                "leave the others out"
            )
        page = whole(given.runs[0], given.out)
    elif given.out is None and len(given.runs) > 1:
        raise UsageError("give --out FILE.html for the page of several runs")
    else:
        page = report(
            given.runs, given.out or given.runs[0] / PAGE, given.reference, given.bootstrap, given.allow_different
        )
    print(f"page: {page}")
    if given.open and not webbrowser.open(Path(page).resolve().as_uri()):
        print("no browser was found to open it in")
