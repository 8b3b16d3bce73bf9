"""lerl loop: recommenders that are retrained on what they themselves caused."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lerl.cli.parser import UsageError, say
from lerl.cli.recipe import HELP_FLAGS, note_ineffective, print_help, read_request
from lerl.cli.train import read_seeds
from lerl.cli.where import SHIP, WHERE, pool_of, read_beside

if TYPE_CHECKING:
    from lerl.experiment.loop.settings import LoopConfig

LOOP_HELP = """\
usage: lerl loop RECIPE [--days N] [--retrain N] [--KEY VALUE ...]

Deploy each agent of a recipe on its own copy of the same people, who come back
over days, and refit it again and again on the log that it caused itself: what
is known of people and items, popularity, networks and policies. random and
popularity stand in every table. Give the same command again to go on after an
interruption, with more agents, or with more seeds.
{recipes}

  --days N                    in all (60); whole periods are played
  --retrain N                 days between two refits (7)
  --controls                  add each agent twice: never refitted (@frozen),
                              and refitted on the log of random (@open)
  --newcomers SHARE           of people, who begin after the first day (0.3)
  --turnover SHARE            of items that leave, and of new ones that come, at
                              each refit (0.05)
  --seed N, --seeds 0-2       of all draws; intervals are over seeds as well
  --agents [A,B]              the agents; --agents+ A adds one
  --evaluation.users N        how many people
  --out FOLDER                all of it (runs/RECIPE-loop)
  --plan                      only print what is left to do
  --json                      print summary.json instead of tables
  --workers N                 deployments side by side, in N processes
  --cluster ADDRESS           on a Dask cluster instead, such as tcp://host:8786

Example: lerl loop quickstart --agents '[flat+greedy]' --controls
All keys: lerl loop --help-all, or with a recipe's values: RECIPE --help-all
"""
OWN = ("days", "retrain", "newcomers", "turnover", "seeds", *WHERE)
SWITCHES = {"controls", "plan", "json", SHIP}


def run_loop(arguments: list[str]) -> None:
    """lerl loop"""
    if HELP_FLAGS & set(arguments):
        print_help("loop", LOOP_HELP, arguments, SWITCHES)
        return
    given = read_request("loop", arguments, SWITCHES, OWN)
    note_ineffective(replace(given.config, env=replace(given.config.env, horizon="days")), given.flags)
    if "seeds" in given.own and "seed" in given.flags:
        raise UsageError("--seed and --seeds are both given; give one of them")
    seeds = read_seeds(given.own["seeds"] or "") if "seeds" in given.own else [given.config.seed]
    beside = read_beside({name: given.own[name] for name in WHERE if name in given.own}, given.switches)
    out = given.out or Path(f"runs/{given.recipe.stem}-loop")

    from lerl.experiment.loop.command import check_folder, loop
    from lerl.experiment.loop.plan import plan_lines
    from lerl.experiment.loop.report import table
    from lerl.experiment.loop.request import compare_settings, request
    from lerl.report.tables import show

    asked = request(given.config, _settings(given.own), seeds, "controls" in given.switches)
    if "plan" in given.switches:
        check_folder(out)
        compare_settings(asked, out)
        print("\n".join(plan_lines(asked, out)))
        return

    try:
        with pool_of(beside) as pool:
            summary = loop(asked, out, say, pool)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("the same command goes on") from None
    if "json" in given.switches:
        print((out / "summary.json").read_text(encoding="utf-8"), end="")
        return
    show(table(summary))
    print(f"page: {out / 'loop.html'}; beside it loop.png, periods.parquet and summary.json")


def _settings(own: dict[str, str | None]) -> "LoopConfig":
    from lerl.experiment.loop.settings import LoopConfig

    values: dict[str, Any] = {}
    for name in ("days", "retrain", "newcomers", "turnover"):
        if name in own:
            values[name] = _number(name, own[name])
    return LoopConfig(**values)


def _number(name: str, text: str | None) -> Any:
    kind = "a whole number" if name in ("days", "retrain") else "a number"
    if not text:
        raise UsageError(f"--{name} needs {kind}; see lerl loop --help")
    try:
        return int(text) if name in ("days", "retrain") else float(text)
    except ValueError:
        raise UsageError(f"--{name} must be {kind}, given {text!r}") from None
