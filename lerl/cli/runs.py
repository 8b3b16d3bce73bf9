"""lerl train, evaluate, compare and plot."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from shlex import quote
from typing import Any

from lerl.cli.parser import Parser, UsageError, add_json, add_trust, runs_parser
from lerl.cli.planners import print_calls
from lerl.cli.recipe import HELP_FLAGS, note_ineffective, print_help, read_request, split
from lerl.envs.files import FULL
from lerl.startup import MissingExtraError, require

TRAIN_HELP = """\
usage: lerl train RECIPE [--KEY VALUE ...] [--out FOLDER] [--print-config]
       lerl train --resume RUN [--trust]

Train the agents of a recipe, evaluate them on users that training never saw,
and print a table. The run is written to FOLDER (runs/RECIPE-seedN).
{recipes}

  --seed N                    seed of all random draws
  --agents [A,B]              the agents; --agents+ A adds one
  --data.path FOLDER          simulate users of a prepared log, not made-up ones
  --env.slate_size N          items shown per step
  --env.max_steps N           steps after which a session is cut
  --planner.name NAME         the planner in planner+ppo and planner+greedy
  --train.steps N             training steps per learned agent; 0 for none
  --train.device cuda         train on a GPU
  --evaluation.users N        how many users to evaluate on
  --evaluation.replicates N   sessions of each of these users
  --print-config              print the whole configuration as YAML, then stop

Example: lerl train quickstart --train.steps 50000 --seed 1
All keys: lerl train --help-all, or with a recipe's values: RECIPE --help-all
"""

SENSITIVITY_HELP = (
    "With --sensitivity, find out whether the ranking of the runs' agents depends on what a log cannot tell: the saved "
    "agents, not trained again, are evaluated on users fitted to the log (lerl fit FOLDER --model latent --dynamics), "
    "with each fitted parameter at either end of its 95 % interval, with hidden topics and with topics = categories. "
    "Takes about as long as fifty evaluations without privileged, which is left out; the same command continues one "
    "that was interrupted."
)

PICTURES = "plots"
"""The folder of a run's pictures inside the run's folder."""


def run_train(arguments: list[str]) -> None:
    """lerl train"""
    line = split(arguments, {"trust", "print-config", "help", "help-all", "h"})
    if "resume" in line.flags:
        _resume(line.words, line.flags, "trust" in line.switches)
        return
    if HELP_FLAGS & set(arguments):
        print_help("train", TRAIN_HELP, arguments)
        return
    request = read_request("train", arguments)
    note_ineffective(request.config, request.flags)
    folder = request.out or Path(f"runs/{request.recipe.stem}-seed{request.config.seed}")

    from lerl.run.train import train

    with _resumable(folder):
        train(request.config, folder)
        _print_results(folder, request.config.evaluation.bootstrap)


def _resume(words: list[str], flags: dict[str, str | None], trust: bool) -> None:
    runs = [word for word in (flags.pop("resume"), *words) if word is not None]
    if len(runs) != 1 or flags:
        raise UsageError(
            "--resume takes a run and nothing else but --trust, such as lerl train --resume runs/quickstart-seed0"
        )
    run = Path(runs[0])

    from lerl.run.train import resume

    with _resumable(run):
        _print_results(run, resume(run, trust).evaluation.bootstrap)


@contextmanager
def _resumable(run: Path) -> Iterator[None]:
    """Say how to continue where a run is interrupted, or stopped by a full disk."""
    how = f"go on with: lerl train --resume {quote(str(run))}"
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(how if (run / "config.yaml").is_file() else "") from None
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise OSError(f"{run} cannot be written ({error}); make room, then {how}") from error


def _print_results(run: Path, bootstrap: int) -> None:
    from lerl.report.page.build import PAGE, report

    _print_comparison([run], out=run, bootstrap=bootstrap)
    print_calls(run)
    print(f"page: {report([run], run / PAGE, bootstrap=bootstrap)}")
    try:
        require("plot")
    except MissingExtraError as error:
        print(f"lerl: note: no pictures, as {error}", file=sys.stderr)
        return
    _print_pictures([run], run / PICTURES, bootstrap=bootstrap)


def run_evaluate(arguments: list[str]) -> None:
    """lerl evaluate"""
    parser = Parser("lerl evaluate", description="Evaluate a trained run again, on the same users.")
    parser.add_argument("run", metavar="RUN", type=Path, help="a folder that lerl train wrote")
    add_trust(parser)
    given = parser.parse_args(arguments)

    from lerl.run.evaluate import evaluate

    config = evaluate(given.run, given.trust)
    _print_comparison([given.run], out=given.run, bootstrap=config.evaluation.bootstrap)
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
    _print_comparison(
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
    _print_pictures(given.runs, given.out or given.runs[0] / PICTURES, **options)


def _print_comparison(runs: Sequence[Path], out: Path | None, reference: str | None = None, **options: Any) -> None:
    from lerl.report.compare import compare
    from lerl.report.tables import difference_table, show, table

    summary = compare(runs, out, reference=reference, **options)
    show(table(summary))
    if reference is not None:
        show(difference_table(summary, reference))


def _print_pictures(runs: Sequence[Path], out: Path, **options: Any) -> None:
    from lerl.report.plots import plot

    paths = plot(runs, out, **options)
    print("pictures, each also as .svg:")
    for path in paths:
        if path.suffix != ".svg":
            print(f"  {path}")
