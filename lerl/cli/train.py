"""lerl train: one run, or a run for each of several seeds."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from lerl.cli.parser import UsageError, say
from lerl.cli.planners import print_calls
from lerl.cli.recipe import HELP_FLAGS, Request, note_ineffective, pop_track, print_help, read_request, split
from lerl.cli.runs import PICTURES, print_comparison, print_pictures
from lerl.cli.where import SHIP, WHERE, cores, read_beside, read_where
from lerl.envs.files import FULL
from lerl.startup import MissingExtraError, require

if TYPE_CHECKING:
    from lerl.report.bootstrap import Summary

TRAIN_HELP = """\
usage: lerl train RECIPE [--KEY VALUE ...] [--out FOLDER] [--track TRACKER]
       lerl train --resume FOLDER [--track TRACKER] [--trust]

Train the agents of a recipe, evaluate them on users that training never saw,
and print a table. The run is written to FOLDER (runs/RECIPE-seedN).
{recipes}

  --seed N                    seed of all random draws
  --seeds 0-4                 a run for each seed, --workers N side by side
  --agents [A,B]              the agents; --agents+ A adds one
  --data.path FOLDER          simulate users of a prepared log, not made-up ones
  --env.slate_size N          items shown per step
  --env.max_steps N           steps after which a session is cut
  --planner.name NAME         the planner in planner+ppo and planner+greedy
  --train.steps N             training steps per learned agent; 0 for none
  --train.device cuda         train on a GPU
  --evaluation.users N        how many users to evaluate on
  --evaluation.replicates N   sessions of each of these users
  --track TRACKER             mlflow, wandb, tensorboard, or my_module:MyTracker
  --print-config              print the whole configuration as YAML, then stop

Example: lerl train quickstart --train.steps 50000 --seed 1
All keys: lerl train --help-all, or with a recipe's values: RECIPE --help-all
"""

NOT_TRACKED = "--track is told of one run; leave it out for several seeds, or train them one by one with --seed"
MOST_SEEDS = 1_000


def run_train(arguments: list[str]) -> None:
    """lerl train"""
    line = split(arguments, {"trust", "print-config", "help", "help-all", "h", SHIP})
    if "resume" in line.flags:
        _resume(line.words, line.flags, line.switches)
        return
    if HELP_FLAGS & set(arguments):
        print_help("train", TRAIN_HELP, arguments)
        return
    request = read_request("train", arguments, {SHIP}, own=("seeds", "jobs", *WHERE))
    note_ineffective(request.config, request.flags)
    if "seeds" in request.own:
        _train_seeds(request)
        return
    if "jobs" in request.own:
        raise UsageError("--jobs goes with --seeds: one run is one process")
    beside = read_beside(request.own, request.switches, request.config)
    folder = request.out or Path(f"runs/{request.recipe.stem}-seed{request.config.seed}")

    from lerl.run.track import open_tracker
    from lerl.run.train import train

    with open_tracker(request.track) as tracked, _resumable(folder, request.track):
        train(request.config, folder, tracked, **beside)
        tracked.end(_print_results([folder], folder, request.config.evaluation.bootstrap), folder)


def _train_seeds(request: Request) -> None:
    if "seed" in request.flags:
        raise UsageError("--seed and --seeds are both given; give one of them")
    if request.track is not None:
        raise UsageError(NOT_TRACKED)
    seeds = read_seeds(request.own["seeds"] or "")
    where = read_where(request.own, request.switches, min(len(seeds), cores()))
    folder = request.out or Path(f"runs/{request.recipe.stem}")

    from lerl.run.seeds import train_seeds

    with _resumable(folder):
        runs = train_seeds(request.config, seeds, folder, where, say)
        _print_results(runs, folder, request.config.evaluation.bootstrap)


def read_seeds(text: str) -> list[int]:
    """Seeds as 0-4 or 0,3,7 or both names them, ascending.

    Raises:
        UsageError: it is neither, a seed is given twice, or there are too many.
    """
    seeds: list[int] = []
    for part in text.split(","):
        first, dash, last = (side.strip() for side in part.partition("-"))
        sides = first, last if dash else first
        least, most = (int(side) if side.isdecimal() and len(side) <= 10 else -1 for side in sides)
        if not 0 <= least <= most < 2**32:
            raise UsageError(f"--seeds takes seeds such as 0-4 or 0,3,7, from 0 to {2**32 - 1:,}, given {text[:60]!r}")
        if most - least + len(seeds) >= MOST_SEEDS:
            raise UsageError(f"--seeds takes up to {MOST_SEEDS:,} seeds, given {text!r}")
        seeds += range(least, most + 1)
    if len(set(seeds)) < len(seeds):
        raise UsageError(f"--seeds names a seed twice, given {text!r}; give each once")
    return sorted(seeds)


def _resume(words: list[str], flags: dict[str, str | None], switches: set[str]) -> None:
    trust = "trust" in switches
    folders = [word for word in (flags.pop("resume"), *words) if word is not None]
    track = pop_track(flags)
    if len(folders) != 1 or flags.keys() - {"jobs", *WHERE}:
        raise UsageError(
            "--resume takes a run, or a folder of seeds, and nothing else but --track, --trust, --workers and "
            "--cluster, such as lerl train --resume runs/quickstart-seed0"
        )
    folder = Path(folders[0])

    from lerl.config.parse import load
    from lerl.files import seed_runs

    if runs := seed_runs(folder):
        if track is not None:
            raise UsageError(NOT_TRACKED)

        from lerl.run.seeds import resume_seeds

        with _resumable(folder):
            resume_seeds(folder, read_where(flags, switches, min(len(runs), cores())), trust, say)
            _print_results(runs, folder, load(runs[0] / "config.yaml").evaluation.bootstrap)
        return
    if "jobs" in flags:
        raise UsageError(f"--jobs is for a folder of seeds, and {folder} is none; leave it out")
    beside = read_beside(flags, switches)

    from lerl.run.track import open_tracker
    from lerl.run.train import resume

    with open_tracker(track) as tracked, _resumable(folder, track):
        config = resume(folder, trust, tracked, beside.get("where"))
        tracked.end(_print_results([folder], folder, config.evaluation.bootstrap), folder)


@contextmanager
def _resumable(folder: Path, track: str | None = None) -> Iterator[None]:
    """Say how to continue where a run, or a folder of seeds, is interrupted, or stopped by a full disk."""
    how = f"go on with: lerl train --resume {quote(str(folder))}" + (f" --track {quote(track)}" if track else "")
    try:
        yield
    except KeyboardInterrupt:
        from lerl.files import seed_runs

        begun = (folder / "config.yaml").is_file() or seed_runs(folder)
        raise KeyboardInterrupt(how if begun else "") from None
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise OSError(f"{folder} cannot be written ({error}); make room, then {how}") from error


def _print_results(runs: Sequence[Path], out: Path, bootstrap: int) -> "Summary":
    from lerl.report.page.build import PAGE, report

    summary = print_comparison(runs, out=out, bootstrap=bootstrap)
    for run in runs:
        if len(runs) > 1 and (run / "planners" / "traffic.json").is_file():
            print(f"{run.name}:")
        print_calls(run)
    print(f"page: {report(runs, out / PAGE, bootstrap=bootstrap)}")
    try:
        require("plot")
    except MissingExtraError as error:
        print(f"lerl: note: no pictures, as {error}", file=sys.stderr)
        return summary
    print_pictures(runs, out / PICTURES, bootstrap=bootstrap)
    return summary
