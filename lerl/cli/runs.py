"""lerl train, tune, evaluate, compare, plot and experiment"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from lerl.cli.parser import (
    Parser,
    UsageError,
    add_trust,
    configured,
    note_ineffective,
    recipe_help,
    runs_parser,
    split,
    trusted,
)
from lerl.cli.planners import (
    print_calls,
)
from lerl.envs.files import FULL

if TYPE_CHECKING:
    pass


TRAIN_HELP = (
    "Fit and evaluate every agent that the recipe lists. The run goes to FOLDER, runs/RECIPE-seedN where none is given."
)


TUNE_HELP = (
    "Search better settings for one row of the recipe, tune.row, in the space that the recipe holds under tune.space. "
    "Each of tune.trials trials fits the row and is scored on the same sessions of training users; evaluation users "
    "are never played. The same command again goes on where the search was stopped, with more trials where "
    "--tune.trials says so. The search goes to FOLDER, runs/RECIPE-tune-seedN where none is given, and at its end "
    "best.yaml there is a recipe for lerl train."
)


SENSITIVITY_HELP = (
    "With --sensitivity, find out whether the ranking of the runs' agents depends on what a log leaves open: the saved "
    "agents, not trained again, are played among users fitted to the log (lerl fit FOLDER --model latent --dynamics), "
    "with each fitted parameter at either end of its 95 % interval, with hidden topics and with topics = categories. "
    "Takes about as long as fifty evaluations without privileged, which is left out; interrupted, the same command "
    "goes on."
)


EXPERIMENT_HELP = (
    "Fit and judge every row of experiment.rows under every setting of experiment.settings with experiment.seeds "
    "seeds, the learned ones with settings that tune.trials trials on training users found, and say what that shows: "
    "report.md, .tex, .csv, .json and pictures in FOLDER, where none is given runs/RECIPE-experiment, or with --quick "
    "runs/RECIPE-quick. Rows that are done are kept, one small file each under FOLDER/rows. --plan says what is left "
    "to do in hours, and does nothing; --quick does the small part that the recipe names; --resume goes on with what "
    "FOLDER holds."
)


PICTURES = "plots"
"""The folder of a run's pictures inside the run's folder."""


def run_train(arguments: list[str]) -> None:
    words, flags = split(arguments)
    if "resume" in flags:
        _resume(words, flags)
        return
    if {"-h", "--help"} & set(arguments):
        print(recipe_help("train", TRAIN_HELP, arguments), end="")
        return
    recipe, out, config, given = configured("train", arguments)
    note_ineffective(config, given)
    folder = out or Path(f"runs/{recipe.stem}-seed{config.seed}")

    from lerl.run.train import train

    with _resumable(folder):
        train(config, folder)
        _print_results(folder, config.evaluation.bootstrap)


def _resume(words: list[str], flags: dict[str, str | None]) -> None:
    trust = trusted(words, flags)  # it may stand in front of the run's name
    given = [flags.pop("resume"), *words]
    runs = [word for word in given if word is not None]
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
    """Say how to go on where a run is interrupted, or stopped by a full disk."""
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
    _print_comparison([run], out=run, bootstrap=bootstrap)
    print_calls(run)
    _print_pictures([run], run / PICTURES, bootstrap=bootstrap)


def run_tune(arguments: list[str]) -> None:
    if {"-h", "--help"} & set(arguments):
        print(recipe_help("tune", TUNE_HELP, arguments), end="")
        return
    recipe, out, config, _ = configured("tune", arguments)
    folder = out or Path(f"runs/{recipe.stem}-tune-seed{config.seed}")

    from lerl.experiment.tune import table, tune
    from lerl.llm import usage as calls
    from lerl.report.tables import show

    try:
        trials = tune(config, folder)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("the same command goes on with the search") from None
    show(table(trials, config))
    for line in calls.searched(folder, config.planner):
        print(line)
    print(f"the best as a recipe: lerl train {quote(str(folder / 'best.yaml'))}")


def run_evaluate(arguments: list[str]) -> None:
    parser = Parser("lerl evaluate", description="Evaluate a trained run again, as it was trained.")
    parser.add_argument("run", metavar="RUN", type=Path, help="a folder that lerl train wrote")
    add_trust(parser)
    given = parser.parse_args(arguments)
    run = given.run

    from lerl.run.evaluate import evaluate

    config = evaluate(run, given.trust)
    _print_comparison([run], out=run, bootstrap=config.evaluation.bootstrap)
    print_calls(run)


def run_compare(arguments: list[str]) -> None:
    parser = runs_parser("compare", f"Print a table of runs that differ in nothing but the seed. {SENSITIVITY_HELP}")
    parser.add_argument("--sensitivity", action="store_true", help="play the agents among other users, as said above")
    parser.add_argument("--json", action="store_true", help="with --sensitivity: print it for programs")
    add_trust(parser)
    given = parser.parse_intermixed_args(arguments)  # options may stand between runs
    if given.sensitivity:
        run_sensitivity(given)
        return
    if given.trust:
        raise UsageError("--trust goes with --sensitivity; a comparison runs nothing of what runs hold")
    if given.json:
        raise UsageError("--json goes with --sensitivity; a comparison's JSON is summary.json in --out FOLDER")
    _print_comparison(
        given.runs, given.out, given.reference, bootstrap=given.bootstrap, allow_different=given.allow_different
    )


def run_sensitivity(given: argparse.Namespace) -> None:
    if given.allow_different:
        raise UsageError("--sensitivity needs runs that differ in nothing but the seed; leave out --allow-different")
    if given.out is None and len(given.runs) > 1:
        raise UsageError("say with --out where the sensitivity of several runs goes")
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
    print(f"written: {out / sensitivity_report.REPORT} and {out / sensitivity_report.PICTURE}.png, as .svg besides")


def run_plot(arguments: list[str]) -> None:
    parser = runs_parser("plot", "Draw runs that differ in nothing but the seed.")
    given = parser.parse_intermixed_args(arguments)
    if given.out is None and len(given.runs) > 1:
        raise UsageError("say with --out where pictures of several runs go")
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
    print("pictures, each as .svg besides:")
    for path in paths:
        if path.suffix != ".svg":
            print(f"  {path}")


def run_experiment(arguments: list[str]) -> None:
    options = {name: f"--{name}" in arguments for name in ("plan", "quick", "resume")}
    rest = [word for word in arguments if word not in ("--plan", "--quick", "--resume")]
    if {"-h", "--help"} & set(arguments):
        usage = "[--out FOLDER] [--plan] [--quick] [--resume]"
        print(recipe_help("experiment", EXPERIMENT_HELP, rest, usage), end="")
        return
    recipe, out, config, flags = configured("experiment", rest)
    folder = out or Path(f"runs/{recipe.stem}-{'quick' if options['quick'] else 'experiment'}")

    from lerl.experiment import report, schedule
    from lerl.experiment.spec import overridden
    from lerl.experiment.verdict import judge
    from lerl.files import RunError
    from lerl.report.tables import show

    for flag, names in overridden(config, flags).items():
        print(f"lerl: note: --{flag} does not count for {', '.join(names)}; the recipe says it there", file=sys.stderr)
    if options.pop("plan"):
        show(schedule.cost(config, folder, options["quick"], flags))
        return
    try:
        whole, failed = schedule.run(config, folder, **options, say=lambda line: print(line, flush=True), given=flags)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("the same command with --resume goes on") from None
    if found := judge(whole, folder):
        print("\n".join(report.markdown(found)))
        print(f"written: {', '.join(map(str, report.write(found, whole, folder)))}")
    if failed:
        raise RunError(failed)
