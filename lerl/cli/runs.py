"""lerl evaluate, compare and plot."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lerl.cli.parser import UsageError, add_json, add_trust, runs_parser
from lerl.cli.planners import print_calls
from lerl.cli.recipe import HELP_FLAGS, split
from lerl.cli.where import SHIP, WHERE, add_where, read_beside, take_where

if TYPE_CHECKING:
    from lerl.report.bootstrap import Summary
    from lerl.run.executors import Where

EVALUATE_HELP = """\
usage: lerl evaluate RUN [--trust]
       lerl evaluate RUN [--KEY VALUE ...] [--agents [A,B]] [--out FOLDER]

Evaluate the agents of a trained run again, on the same users, and write its
tables anew. With other settings of env and evaluation, print what the agents
earn under these, not trained again; the run stays as it is.

  --env.leave.rule window     when users leave
  --env.max_steps N           steps after which a session is cut
  --evaluation.users N        how many users to evaluate on
  --evaluation.replicates N   sessions of each of these users
  --agents [A,B]              only these agents, as tables call them
  --out FOLDER                write summary.json and summary.md there
  --workers N                 evaluate agents side by side, in N processes
  --cluster ADDRESS           on a Dask cluster instead, such as tcp://host:8786
  --trust                     allow the code and the addresses in the run's
                              config.yaml

Example: lerl evaluate runs/quickstart-seed0 --evaluation.users 100
All keys: lerl train --help-all
"""

COMPARE_HELP = (
    "Print one table of runs that differ only in their seed, or compare configurations. Runs of different seeds, or "
    "one folder of lerl train --seeds, are one group. Otherwise each RUN is a group, called as its folder is, or as in "
    "NAME=RUN; the same NAME given again adds a run to its group. Groups must have the same users and seeds. What "
    "settings differ is said, and every agent that two groups have is compared, paired."
)

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
    if HELP_FLAGS & set(arguments):
        print(EVALUATE_HELP, end="")
        return
    line = split(arguments, {"trust", SHIP})
    if len(line.words) != 1:
        given = " and ".join(line.words) or "none"
        raise UsageError(
            f"give one run, such as lerl evaluate runs/quickstart-seed0, given {given}; see lerl evaluate --help"
        )
    run, trust = Path(line.words[0]), "trust" in line.switches
    apart = {name: line.flags.pop(name) for name in WHERE if name in line.flags}
    beside = read_beside(apart, line.switches)
    if line.flags:
        if beside:
            raise UsageError("--workers and --cluster are for the run's own evaluation; leave out other settings")
        _evaluate_otherwise(run, trust, line.flags)
        return

    from lerl.run.evaluate import evaluate

    config = evaluate(run, trust, **beside)
    print_comparison([run], out=run, bootstrap=config.evaluation.bootstrap)
    print_calls(run)


def _evaluate_otherwise(folder: Path, trust: bool, flags: dict[str, str | None]) -> None:
    """Judge a run's agents in another world, or on other users, and leave the run as it is."""
    if "out" in flags and not flags["out"]:
        raise UsageError("--out needs a folder")
    out = Path(flags.pop("out") or "") if "out" in flags else None
    if out is not None and out.resolve().is_relative_to(folder.resolve()):
        raise UsageError(f"--out {out} is inside the run, which stays as it is; give another folder")
    _refuse_run(out)

    from lerl.config.parse import configure
    from lerl.report.compare import write
    from lerl.report.life_tables import life_markdown, show_results
    from lerl.report.tables import markdown
    from lerl.serve.run import Run

    run = Run(folder, trust)
    config = configure(folder / "config.yaml", flags)
    agents = config.agents if "agents" in flags else None
    found = run.evaluate(agents, **{name: value for name, value in flags.items() if name != "agents"})
    show_results(found.summary)
    if out is not None:
        write(found.summary, markdown(found.summary) + life_markdown(found.summary), out)


def _refuse_run(out: Path | None) -> None:
    """Refuse to write over the summary of a run."""
    if out is not None and (out / "config.yaml").exists():
        raise UsageError(f"--out {out} is a run, whose own summary would be lost; give another folder")


def run_compare(arguments: list[str]) -> None:
    """lerl compare"""
    parser = runs_parser("compare", f"{COMPARE_HELP} {SENSITIVITY_HELP}")
    parser.add_argument("--sensitivity", action="store_true", help="evaluate the agents on other users, as said above")
    parser.add_argument(
        "--surrogates", action="store_true", help="of people who come back: say what a session tells of coming back"
    )
    add_where(parser, "--sensitivity", "worlds")
    add_json(parser)
    add_trust(parser)
    given = parser.parse_intermixed_args(arguments)  # options may stand between runs

    from lerl.cli.groups import read_groups

    groups, where = read_groups(given.runs), take_where(vars(given))
    if given.surrogates and (given.sensitivity or len(groups) > 1):
        raise UsageError("--surrogates is for the runs of one group; leave out --sensitivity")
    if given.sensitivity:
        _print_sensitivity(given, groups, read_beside(*where))
    elif any(where):
        raise UsageError("--workers and --cluster go with --sensitivity; a comparison takes no time worth sharing")
    elif given.trust:
        raise UsageError("--trust goes with --sensitivity; a comparison executes nothing that runs hold")
    elif len(groups) > 1:
        _print_groups(given, groups)
    else:
        options = {"bootstrap": given.bootstrap, "allow_different": given.allow_different, "json": given.json}
        options["surrogates"] = given.surrogates
        print_comparison(groups[""], given.out, given.reference, **options)


def _print_groups(given: argparse.Namespace, groups: Mapping[str, Sequence[Path]]) -> None:
    if given.allow_different:
        raise UsageError(
            "--allow-different is for the runs of one group; groups may differ in any case, so leave it out"
        )

    from lerl.report.compare import as_json, write
    from lerl.report.group_tables import markdown, table
    from lerl.report.groups import compare_groups
    from lerl.report.tables import show

    _refuse_run(given.out)
    found = compare_groups(groups, given.reference, given.bootstrap)
    if given.out is not None:
        write(found, markdown(found), given.out)
    if given.json:
        print(as_json(found))
    else:
        show(table(found))


def _print_sensitivity(
    given: argparse.Namespace, groups: Mapping[str, Sequence[Path]], beside: "dict[str, Where]"
) -> None:
    if len(groups) > 1:
        raise UsageError("--sensitivity is for the runs of one group; give it for each group alone")
    if given.allow_different:
        raise UsageError("--sensitivity needs runs that differ only in their seed; leave out --allow-different")
    if given.out is None and len(given.runs) > 1:
        raise UsageError("give --out FOLDER for the sensitivity of several runs")
    out = given.out or groups[""][0] / "sensitivity"

    from lerl.experiment import sensitivity_report
    from lerl.experiment.sensitivity import sensitivity
    from lerl.files import seed_runs
    from lerl.report.tables import show

    runs = [run for folder in groups[""] for run in seed_runs(folder) or [folder]]
    try:
        found = sensitivity(runs, out, given.reference, given.bootstrap, trust=given.trust, where=beside.get("where"))
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
    parser = runs_parser("plot", "Draw the results of runs that differ only in their seed, or of a folder of seeds.")
    given = parser.parse_intermixed_args(arguments)
    if given.out is None and len(given.runs) > 1:
        raise UsageError("give --out FOLDER for the pictures of several runs")

    from lerl.cli.groups import read_groups

    groups = read_groups(given.runs)
    if len(groups) > 1:
        raise UsageError(
            f"lerl plot draws the runs of one group, given {', '.join(groups)}; lerl compare compares groups"
        )
    options = {"bootstrap": given.bootstrap, "allow_different": given.allow_different, "reference": given.reference}
    print_pictures(groups[""], given.out or groups[""][0] / PICTURES, **options)


def print_comparison(
    runs: Sequence[Path],
    out: Path | None,
    reference: str | None = None,
    json: bool = False,
    surrogates: bool = False,
    **options: Any,
) -> "Summary":
    """Print the tables of runs, or JSON, and write both to a folder; `options` are those of `lerl.report.compare`."""
    from lerl.report.compare import as_json, compare
    from lerl.report.life_tables import show_results, surrogate_table
    from lerl.report.tables import show

    summary = compare(runs, out, reference=reference, **options)
    if json:
        print(as_json(summary))
        return summary
    show_results(summary, reference)
    if surrogates:
        show(surrogate_table(summary))
    return summary


def print_pictures(runs: Sequence[Path], out: Path, **options: Any) -> None:
    """Draw runs into a folder, and print the files; `options` are those of `lerl.report.plots.plot`."""
    from lerl.report.plots import plot

    paths = plot(runs, out, **options)
    print("pictures, each also as .svg:")
    for path in paths:
        if path.suffix != ".svg":
            print(f"  {path}")
