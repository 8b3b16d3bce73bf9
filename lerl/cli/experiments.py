"""lerl tune and experiment: many runs of one recipe."""

import sys
from pathlib import Path
from shlex import quote

from lerl.cli.recipe import HELP_FLAGS, print_help, read_request
from lerl.cli.where import SHIP, WHERE, pool_of, read_beside, read_where

TUNE_HELP = """\
usage: lerl tune RECIPE [--KEY VALUE ...] [--out FOLDER] [--print-config]

Search better settings for one agent. Each trial trains it with other settings,
taken from tune.space in the recipe, and evaluates it on sessions of training
users, the same for all trials. Give the same command again to continue, or at
the same time, to share the work. FOLDER (runs/RECIPE-tune-seedN) holds the
search, and in the end best.yaml, a recipe.
{recipes}

  --workers N             processes that do trials side by side
  --cluster ADDRESS       do them on a Dask cluster, such as tcp://host:8786
  --tune.batch N          trials proposed at once, to be done side by side
  --tune.prune true       end trials early that are clearly worse
  --tune.agent AGENT      the agent to tune, such as planner+ppo
  --tune.trials N         how many settings to try
  --tune.metric METRIC    what to maximize: R_cum, T_int, R_sin, active_days
  --tune.users N          how many training users to evaluate on
  --seed N                seed of all random draws
  --data.path FOLDER      simulate users of a prepared log, not made-up ones
  --train.steps N         training steps of each trial

Example: lerl tune quickstart --tune.trials 20
All keys: lerl tune --help-all, or with a recipe's values: RECIPE --help-all
"""

EXPERIMENT_HELP = """\
usage: lerl experiment RECIPE [--KEY VALUE ...] [--out FOLDER] [--plan]
                       [--quick] [--resume] [--print-config]

Train and evaluate every agent of experiment.agents under every condition of
experiment.conditions with several seeds, and report which agents are better.
Agents that learn are tuned first. FOLDER (runs/RECIPE-experiment, with --quick
runs/RECIPE-quick) holds each trial, report.md, .tex, .csv, .json and pictures.
{recipes}

  --plan                  only print which trials are left, and hours
  --quick                 only the small part that the recipe names
  --resume                continue in a FOLDER that holds finished trials
  --experiment.seeds N    trials of each agent under each condition
  --workers N             trials side by side, in processes of their own
  --cluster ADDRESS       on a Dask cluster instead, such as tcp://host:8786
  --tune.trials N         settings to try for each learned agent
  --train.steps N         training steps per learned agent
  --evaluation.users N    how many users to evaluate on
  --data.path FOLDER      simulate users of this prepared log
  --print-config          print the whole configuration as YAML, then stop

Example: lerl experiment whole_session --quick
All keys: lerl experiment --help-all, or RECIPE --help-all
"""

SWITCHES = ("plan", "quick", "resume", SHIP)


def run_tune(arguments: list[str]) -> None:
    """lerl tune"""
    if HELP_FLAGS & set(arguments):
        print_help("tune", TUNE_HELP, arguments, {SHIP})
        return
    recipe, out, config, _, switches, _, own = read_request("tune", arguments, {SHIP}, WHERE)
    beside = read_beside(own, switches)
    folder = out or Path(f"runs/{recipe.stem}-tune-seed{config.seed}")

    from lerl.experiment.tune import note_on_workers, table, tune
    from lerl.llm import usage
    from lerl.report.tables import show
    from lerl.run.executors import size

    try:
        with pool_of(beside) as pool:
            if pool is not None and (note := note_on_workers(config, size(pool))):
                print(f"lerl: note: {note}", file=sys.stderr)
            trials = tune(config, folder, pool)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("the same command goes on with the search") from None
    show(table(trials, config))
    for line in usage.searched(folder, config.planner):
        print(line)
    print(f"the best as a recipe: lerl train {quote(str(folder / 'best.yaml'))}")


def run_experiment(arguments: list[str]) -> None:
    """lerl experiment"""
    if HELP_FLAGS & set(arguments):
        print_help("experiment", EXPERIMENT_HELP, arguments, SWITCHES)
        return
    recipe, out, config, flags, switches, _, own = read_request("experiment", arguments, SWITCHES, WHERE)
    quick, where = "quick" in switches, read_where(own, switches, config.experiment.jobs)
    folder = out or Path(f"runs/{recipe.stem}-{'quick' if quick else 'experiment'}")

    from lerl.experiment import report, schedule
    from lerl.experiment.spec import overridden
    from lerl.experiment.verdict import judge
    from lerl.files import RunError
    from lerl.report.tables import show

    for flag, names in overridden(config, flags).items():
        values = f"{', '.join(names)}: the recipe gives {'it its' if len(names) == 1 else 'them their'} own value"
        print(f"lerl: note: --{flag} has no effect on {values}", file=sys.stderr)
    if "plan" in switches:
        show(schedule.cost(config, folder, quick, flags))
        return
    try:
        whole, failed = schedule.run(
            config,
            folder,
            quick=quick,
            resume="resume" in switches,
            say=lambda line: print(line, flush=True),
            given=flags,
            where=where,
        )
    except KeyboardInterrupt:
        raise KeyboardInterrupt("the same command with --resume goes on") from None
    if found := judge(whole, folder):
        print("\n".join(report.markdown(found)))
        print(f"written: {', '.join(map(str, report.write(found, whole, folder)))}")
    if failed:
        raise RunError(failed)
