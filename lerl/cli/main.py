"""The command line: one function per command.

Each command imports what it needs only when it runs, so that help is quick.
"""

import argparse
import errno
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from difflib import get_close_matches
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any, NoReturn

from lerl import __version__
from lerl.envs.plugins import PluginError
from lerl.report.streams import Lasting
from lerl.startup import collect_seldom

if TYPE_CHECKING:
    from lerl.config.schema import Config

HELP = """\
usage: lerl COMMAND ... [--debug]
       lerl --version

Find out whether a recommender keeps people satisfied over a whole session, and train one that does.

commands:
  train RECIPE [--any.key VALUE ...]    fit and evaluate every agent that a recipe lists
  train --resume RUN                    go on with a run that was interrupted (--trust: one that somebody else made)
  tune RECIPE [--any.key VALUE ...]     search better settings for one row of a recipe
  evaluate RUN                          evaluate a trained run again
  compare RUN...                        a table of runs that differ in their seed
  compare RUN... --sensitivity          whether their ranking holds where a log leaves its users open
  plot RUN...                           pictures of runs that differ in their seed
  plan --run RUN [--user N]             what a run's chat model was asked for one user, what it said, and the plan
  plan --estimate RECIPE                what a recipe's chat model will cost; nothing is sent
  planner-probe --model PROVIDER:NAME   whether a chat model's plans react to feedback
  distill RUN                           a network in the place of a run's chat model
  experiment RECIPE                     every row under every setting of a recipe, several seeds, and a verdict
  fidelity FOLDER                       how far simulated sessions can be told from a log's real ones
  fit FOLDER --model latent|sequence    users fitted to a prepared log, and how well they predict held-out users
  bench                                 how fast lerl is, each row against a peer or a ceiling
  data import                           a log of your own to a folder that `lerl train` can use
  data get NAME                         download a public data set
  data prepare                          a data set as published to a folder that `lerl train` can use
  data describe FOLDER                  what such a folder holds, in numbers and pictures

`lerl COMMAND --help` tells more. Start with: lerl train quickstart

options:
  --debug     show where an error came from
  --version   print the version
  -h, --help  print this

exit codes:
  0    done
  1    failed for an unexpected reason: a bug
  2    the command, the configuration or the input cannot be used; the message says why
  130  interrupted
  141  done, but nobody read all of what was printed
"""

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
FIDELITY_HELP = (
    "Fit what was shown and how people react on a log's training users, simulate its held-out users, whose tastes come "
    "from their first halves, and compare their second halves with the simulated ones: statistics with 95 % intervals "
    "over users, and a classifier that tries to tell the two apart. No sequence of the log is replayed. Takes some "
    "minutes."
)
PLAN_USAGE = """\
lerl plan --run RUN [--user N] [--steps M]
       lerl plan --estimate RECIPE [--any.key VALUE ...] [--json]"""
PLAN_HELP = (
    "Show one plan of a run's chat model: the prompt, the raw answer and where it is from, the plan, and why a "
    "fallback planned where one did. The session is the user's first one of the run's evaluation, items chosen by "
    "taste as in the row llm+greedy. What the run asked before comes from its record, or from planner.cache; other "
    "questions, at most one for each slate, are sent to the model now: all of them for a training user. The run's "
    "folder stays as it is."
)
ESTIMATE_HELP = (
    "Say what the chat model of a recipe will cost, before anything is sent; no key is needed. Up to 256 sessions of "
    "training users are played with planner.fallback in the model's place, and their questions counted and "
    "extrapolated to the run's steps. --json prints it for programs."
)
DISTILL_HELP = (
    "Train a small network on the plans that a run's chat model made, print how often it agrees with plans that it was "
    "not trained on, and write it to RUN/planners/distilled.npz. --planner.name distilled --planner.distilled RUN then "
    "plans with it; --planner.refresh N asks the model about N states of each lot of lessons, where it is unsure."
)
PROBE_HELP = (
    "Find out whether the plans of a chat model react to feedback. In each pair of histories everything is the same, "
    "but a category that was shown four times was clicked less and less in the one, more and more in the other; the "
    "model should treat it better in the other. Questions, checks and retries are those of a run whose planner.detail "
    "is full: coarse questions do not tell feedback."
)
FIT_HELP = (
    "Fit users to the log of a prepared folder and say how well they predict what held-out users did: over all their "
    "events, the last 15 % of each one's, and items that no training user met, beside a strong baseline (running mean "
    "of the user and mean of the item) and gradient boosting. sequence trains a causal Transformer over items and "
    "feedback and writes it to FOLDER/response.npz, for --env.response sequence; latent judges the latent-factor model "
    "that FOLDER was prepared with. The log must have times. Interrupted, the same command goes on."
)

EXPERIMENT_HELP = (
    "Fit and judge every row of experiment.rows under every setting of experiment.settings with experiment.seeds "
    "seeds, the learned ones with settings that tune.trials trials on training users found, and say what that shows: "
    "report.md, .tex, .csv, .json and pictures in FOLDER, where none is given runs/RECIPE-experiment, or with --quick "
    "runs/RECIPE-quick. Rows that are done are kept, one small file each under FOLDER/rows. --plan says what is left "
    "to do in hours, and does nothing; --quick does the small part that the recipe names; --resume goes on with what "
    "FOLDER holds."
)
BENCH_HELP = (
    "Measure how fast lerl is: each row against a peer or a ceiling, both sides by turns in one run, medians with "
    "spread, in CPU seconds. SARDINE is installed from the package index into an environment of its own, in the cache "
    "folder of the user or in --peers, and used again from there; rows whose peer cannot be installed say so."
)

PICTURES = "plots"
"""The folder of a run's pictures inside the run's folder."""


FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What the system says when no more can be written."""

MENDS = (
    dict.fromkeys(FULL, "make room and give the command again")
    | dict.fromkeys((errno.EEXIST, errno.ENOTDIR), "a folder is needed there; give another path")
    | dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "give another path, or the right to use this one")
)
"""What to do about errors of the system."""


OF_RECIPES = {"tune": "tune", "experiment": "experiment"}
"""The section that a recipe has to hold for a command."""

UNREAD = {
    "train": {"tune.": "lerl tune", "experiment.": "lerl experiment"},
    "tune": {"experiment.": "lerl experiment"},
    "experiment": {"tune.row": "lerl tune", "agents": "lerl train"},
    "plan --estimate": {"tune.": "lerl tune", "experiment.": "lerl experiment"},
}
"""Keys that a command does not read, by what they begin with, and the command that reads them."""


class UsageError(ValueError):
    """A command line that cannot be used."""


class _HelpShown(Exception):
    """All that was asked for was help."""


class _Once(argparse.Action):
    """Keeps a value, and refuses a second one where argparse would take the last."""

    given = False

    def __call__(self, parser: argparse.ArgumentParser, namespace: Any, values: Any, name: str | None = None) -> None:
        if self.given:
            parser.error(f"{name} is given twice; give it once")
        self.given = True
        setattr(namespace, self.dest, values)


class _Parser(argparse.ArgumentParser):
    """Raises where argparse would print its usage and leave, and takes each option once."""

    def __init__(self, *given: Any, **options: Any) -> None:
        super().__init__(*given, **options)
        self.register("action", None, _Once)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        if self._subparsers is None and not self.allow_abbrev:
            self._refuse_unknown(args or ())
        return super().parse_known_args(args, namespace)

    def _refuse_unknown(self, words: Sequence[str]) -> None:
        """Name a misspelt option, before argparse names the one that is missing in its place."""
        for name in (word.partition("=")[0] for word in words):
            if name.startswith("--") and name != "--" and name not in self._option_string_actions:
                close = get_close_matches(name, self._option_string_actions, 1)
                self.error(f"unrecognized arguments: {name}{f' (did you mean {close[0]}?)' if close else ''}")

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see {self.prog} --help")

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        raise _HelpShown


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code; errors are one line unless --debug is among the arguments."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    out, err = Lasting(sys.stdout), Lasting(sys.stderr)
    with redirect_stdout(out), redirect_stderr(err), warnings.catch_warnings():
        warnings.showwarning = _show_warning
        code = _run([argument for argument in arguments if argument != "--debug"], "--debug" in arguments)
        out.flush()
        if out.lost is None or code:
            return code
        return 141 if isinstance(out.lost, BrokenPipeError) else _say(f"error: output is lost: {out.lost}", 2)


def _run(arguments: list[str], debug: bool) -> int:
    try:
        collect_seldom()
        _refuse_nameless(arguments)
        with suppress(_HelpShown):
            _dispatch(arguments)
    except BaseException as error:  # a sys.exit() in somebody's own code and a panic of Polars are no Exceptions
        return _report(error, debug)
    return 0


def _refuse_nameless(arguments: Sequence[str]) -> None:
    """Refuse what no file and no name can be called, before a library stumbles over it."""
    for argument in arguments:
        if "\0" in argument:
            raise UsageError(f"{argument!r} holds a NUL character, which no name and no path has; leave it out")
        if argument != argument.encode(errors="ignore").decode():
            given = repr(os.fsencode(argument))[1:]
            raise UsageError(f"{given} is no UTF-8, as names of files have to be; give another name")


def _report(error: BaseException, debug: bool) -> int:
    if debug:
        traceback.print_exception(error)
    message = " ".join(str(error).split())
    hint = "" if debug else "; run it again with --debug to see where"
    if isinstance(error, KeyboardInterrupt):
        return _say(f"interrupted; {message}" if message else "interrupted", 130)
    if isinstance(error, MemoryError):
        return _say(f"error: this needs more memory than there is; give smaller sizes {message}".rstrip(), 2)
    if isinstance(error, OSError) or (isinstance(error, ValueError) and _raised_here(error)):
        caused = isinstance(error, PluginError) and error.__cause__
        return _say(f"error: {_plain(error) or message}{hint if caused else ''}", 2)
    return _say(f"failed: {type(error).__name__}: {message}{hint}", 1)


def _plain(error: Exception) -> str:
    """What the system says about a file, without its number and with the mend; empty for errors of lerl's own."""
    if not isinstance(error, OSError) or error.strerror is None or not isinstance(error.filename, str | Path):
        return ""
    path = Path(error.filename)
    path = path.parent if path.suffix == ".partial" else path  # what write_whole writes before it moves it
    mend = MENDS.get(error.errno or 0)
    return f"{path}: {error.strerror}" + (f"; {mend}" if mend else "")


def _raised_here(error: BaseException) -> bool:
    """Whether lerl itself raised an error: what its libraries refuse is lerl's fault, not the user's."""
    import lerl
    from lerl import agents, envs, planners

    homes = tuple(f"{Path(package.__path__[0]).resolve()}{os.sep}" for package in (lerl, agents, envs, planners))
    frames = traceback.extract_tb(error.__traceback__)
    return type(error).__module__.startswith("lerl.") or str(Path(frames[-1].filename).resolve()).startswith(homes)


def _say(line: str, code: int) -> int:
    print(f"lerl: {line}", file=sys.stderr)
    return code


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    print(f"lerl: warning: {' '.join(str(message).split())}", file=sys.stderr)


def _dispatch(arguments: list[str]) -> None:
    first = arguments[0] if arguments else ""
    if first in COMMANDS:
        COMMANDS[first](arguments[1:])
    elif first == "--version":
        print(__version__)
    elif first in ("-h", "--help"):
        print(HELP, end="")
    else:
        given = f"unknown command {first!r}" if first else "no command given"
        raise UsageError(f"{given}; commands are {', '.join(COMMANDS)}; see lerl --help")


def _train(arguments: list[str]) -> None:
    words, flags = _split(arguments)
    if "resume" in flags:
        _resume(words, flags)
        return
    if {"-h", "--help"} & set(arguments):
        print(_recipe_help("train", TRAIN_HELP, arguments), end="")
        return
    recipe, out, config, given = _configured("train", arguments)
    _note_ineffective(config, given)
    folder = out or Path(f"runs/{recipe.stem}-seed{config.seed}")

    from lerl.run.train import train

    with _resumable(folder):
        train(config, folder)
        _print_results(folder, config.evaluation.bootstrap)


def _resume(words: list[str], flags: dict[str, str | None]) -> None:
    trust = _trusted(words, flags)  # it may stand in front of the run's name
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
    _print_calls(run)
    _print_pictures([run], run / PICTURES, bootstrap=bootstrap)


def _print_calls(run: Path) -> None:
    from lerl.llm import usage as calls

    for line in calls.lines(run):
        print(line)


def _tune(arguments: list[str]) -> None:
    if {"-h", "--help"} & set(arguments):
        print(_recipe_help("tune", TUNE_HELP, arguments), end="")
        return
    recipe, out, config, _ = _configured("tune", arguments)
    folder = out or Path(f"runs/{recipe.stem}-tune-seed{config.seed}")

    from lerl.experiment.tune import table, tune
    from lerl.llm import usage as calls
    from lerl.report.compare import show

    try:
        trials = tune(config, folder)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("the same command goes on with the search") from None
    show(table(trials, config))
    for line in calls.searched(folder, config.planner):
        print(line)
    print(f"the best as a recipe: lerl train {quote(str(folder / 'best.yaml'))}")


def _configured(command: str, arguments: list[str]) -> tuple[Path, Path | None, "Config", list[str]]:
    """The recipe's file, the folder for output where one is given, the recipe with flags over it, and their keys."""
    from lerl.config import parse as settings
    from lerl.run.trust import check_recipe

    words, flags = _split(arguments)
    trust = _trusted(words, flags)
    if len(words) != 1:
        given = " and ".join(words) or "none"
        example = "whole_session --quick" if command == "experiment" else "quickstart"
        raise UsageError(f"give one recipe, such as lerl {command} {example}, given {given}; see lerl {command} --help")
    recipe = settings.find_recipe(words[0], OF_RECIPES.get(command, ""))
    named = "out" in flags
    out = flags.pop("out", None)
    if named and not out:
        raise UsageError("--out needs a folder")
    config = settings.configure(recipe, flags)
    _refuse_unread(command, flags)
    check_recipe(recipe, trust)
    return recipe, Path(out) if out else None, config, [name.removesuffix("+") for name in flags]


def _trusted(words: list[str], flags: dict[str, str | None]) -> bool:
    """Whether --trust is among the flags, which loses it; a word that follows it is none of its own."""
    if "trust" not in flags:
        return False
    words += filter(None, [flags.pop("trust")])
    return True


def _refuse_unread(command: str, flags: Iterable[str]) -> None:
    """Refuse flags that the command would take no notice of."""
    for flag in flags:
        for start, reader in UNREAD[command].items():
            if flag.startswith(start):
                raise UsageError(f"--{flag} does nothing for lerl {command}, only for {reader}; leave it out")


def _note_ineffective(config: "Config", flags: Iterable[str]) -> None:
    """Say which flags change nothing beside the other settings."""
    from lerl.run.rows import ineffective

    for flag, why in ineffective(config, flags).items():
        print(f"lerl: note: --{flag} changes nothing here, since {why}", file=sys.stderr)


def _split(arguments: Sequence[str]) -> tuple[list[str], dict[str, str | None]]:
    """Words that stand alone, and flags, given as --key value or --key=value, by key; None where no value follows."""
    words: list[str] = []
    flags: dict[str, str | None] = {}
    given: set[str] = set()
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        key, equals, value = word.partition("=")
        if not word.startswith("-"):
            words.append(word)
            continue
        if key.removesuffix("+") in given:
            raise UsageError(f"{key} is given twice; give it once")
        given.add(key.removesuffix("+"))
        if equals or not rest or rest[0].startswith("--"):
            flags[key.lstrip("-")] = value if equals else None
        else:
            flags[key.lstrip("-")] = rest.pop(0)
    return words, flags


def _recipe_help(command: str, text: str, arguments: Sequence[str], options: str = "[--out FOLDER]") -> str:
    from lerl.config import parse as settings

    words, _ = _split([argument for argument in arguments if argument not in ("-h", "--help")])
    holding = OF_RECIPES.get(command, "")
    config = settings.load(settings.find_recipe(words[0], holding)) if words else None
    keys = settings.known_keys(config).items()
    flags = {name: key for name, key in keys if not key.nested and not name.startswith(tuple(UNREAD[command]))}
    parser = settings.flag_parser(flags)
    parser.usage = f"lerl {command} RECIPE [--any.key VALUE ...] [--seed N] {options}"
    values = f"of {words[0]}" if words else "before the recipe"
    parser.description = (
        f"{text} RECIPE is one of {', '.join(settings.recipes(holding))}, or a path that ends in .yaml. Every key of "
        f"the configuration that the command reads is a flag; defaults are those {values}."
    )
    return parser.format_help()


def _evaluate(arguments: list[str]) -> None:
    parser = _Parser("lerl evaluate", description="Evaluate a trained run again, as it was trained.")
    parser.add_argument("run", metavar="RUN", type=Path, help="a folder that lerl train wrote")
    _add_trust(parser)
    given = parser.parse_args(arguments)
    run = given.run

    from lerl.run.evaluate import evaluate

    config = evaluate(run, given.trust)
    _print_comparison([run], out=run, bootstrap=config.evaluation.bootstrap)
    _print_calls(run)


def _add_trust(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--trust", action="store_true", help="let the run use code and addresses that its config.yaml names"
    )


def _compare(arguments: list[str]) -> None:
    parser = _runs_parser("compare", f"Print a table of runs that differ in nothing but the seed. {SENSITIVITY_HELP}")
    parser.add_argument("--sensitivity", action="store_true", help="play the agents among other users, as said above")
    parser.add_argument("--json", action="store_true", help="with --sensitivity: print it for programs")
    _add_trust(parser)
    given = parser.parse_intermixed_args(arguments)  # options may stand between runs
    if given.sensitivity:
        _sensitivity(given)
        return
    if given.trust:
        raise UsageError("--trust goes with --sensitivity; a comparison runs nothing of what runs hold")
    if given.json:
        raise UsageError("--json goes with --sensitivity; a comparison's JSON is summary.json in --out FOLDER")
    _print_comparison(
        given.runs, given.out, given.reference, bootstrap=given.bootstrap, allow_different=given.allow_different
    )


def _sensitivity(given: argparse.Namespace) -> None:
    if given.allow_different:
        raise UsageError("--sensitivity needs runs that differ in nothing but the seed; leave out --allow-different")
    if given.out is None and len(given.runs) > 1:
        raise UsageError("say with --out where the sensitivity of several runs goes")
    out = given.out or given.runs[0] / "sensitivity"

    from lerl.experiment import sensitivity
    from lerl.report.compare import show

    try:
        found = sensitivity.sensitivity(given.runs, out, given.reference, given.bootstrap, trust=given.trust)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("the same command goes on") from None
    if given.json:
        print(sensitivity.as_json(found))
        return
    show(sensitivity.table(found))
    print("\n".join(sensitivity.verdict_lines(found)))
    print(f"written: {out / sensitivity.REPORT} and {out / sensitivity.PICTURE}.png, as .svg besides")


def _plot(arguments: list[str]) -> None:
    parser = _runs_parser("plot", "Draw runs that differ in nothing but the seed.")
    given = parser.parse_intermixed_args(arguments)
    if given.out is None and len(given.runs) > 1:
        raise UsageError("say with --out where pictures of several runs go")
    options = {"bootstrap": given.bootstrap, "allow_different": given.allow_different, "reference": given.reference}
    _print_pictures(given.runs, given.out or given.runs[0] / PICTURES, **options)


def _runs_parser(command: str, description: str) -> _Parser:
    parser = _Parser(f"lerl {command}", description=description, allow_abbrev=False)
    parser.add_argument("runs", metavar="RUN", nargs="+", type=Path, help="folders that lerl train wrote")
    parser.add_argument("--out", metavar="FOLDER", type=Path, help="where files go")
    parser.add_argument("--reference", metavar="ROW", help="the row that the others are held against")
    parser.add_argument("--bootstrap", metavar="N", type=int, default=2000, help="draws behind the intervals (2000)")
    parser.add_argument("--allow-different", action="store_true", help="runs may differ in more than the seed")
    return parser


def _print_comparison(runs: Sequence[Path], out: Path | None, reference: str | None = None, **options: Any) -> None:
    from lerl.report import compare

    summary = compare.compare(runs, out, reference=reference, **options)
    compare.show(compare.table(summary))
    if reference is not None:
        compare.show(compare.difference_table(summary, reference))


def _print_pictures(runs: Sequence[Path], out: Path, **options: Any) -> None:
    from lerl.report.plots import plot

    paths = plot(runs, out, **options)
    print("pictures, each as .svg besides:")
    for path in paths:
        if path.suffix != ".svg":
            print(f"  {path}")


def _plan(arguments: list[str]) -> None:
    if any(argument.partition("=")[0] == "--estimate" for argument in arguments):
        _estimate(arguments)
        return
    parser = _Parser(
        "lerl plan",
        usage=PLAN_USAGE,
        description=PLAN_HELP,
        epilog=f"{ESTIMATE_HELP} See lerl plan --estimate RECIPE --help.",
        allow_abbrev=False,
    )
    parser.add_argument("--run", metavar="RUN", required=True, type=Path, help="a folder that lerl train wrote")
    parser.add_argument(
        "--user", metavar="N", type=int, help="an evaluation or training user's number (the first user judged)"
    )
    parser.add_argument("--steps", metavar="M", type=int, default=0, help="slates shown before the plan (0)")
    _add_trust(parser)
    given = parser.parse_args(arguments)

    from lerl.llm import explain as plan

    plan.show(plan.explain(given.run, given.user, given.steps, given.trust))


def _estimate(arguments: list[str]) -> None:
    words, flags = _split([argument for argument in arguments if argument not in ("-h", "--help")])
    as_json, trust = "json" in flags, _trusted(words, flags)
    recipes = [*words, *filter(None, (flags.pop("estimate"), flags.pop("json", None)))]
    if {"-h", "--help"} & set(arguments):
        print(_recipe_help("plan --estimate", ESTIMATE_HELP, recipes, "[--json]"), end="")
        return
    if len(recipes) != 1:
        given = " and ".join(recipes) or "none"
        raise UsageError(
            f"give one recipe, such as lerl plan --estimate quickstart, given {given}; see lerl plan --help"
        )

    from lerl.config import parse as settings
    from lerl.llm import cost as estimate
    from lerl.report.compare import show
    from lerl.run.trust import check_recipe

    recipe = settings.find_recipe(recipes[0])
    config = settings.configure(recipe, flags)
    _refuse_unread("plan --estimate", flags)
    check_recipe(recipe, trust)
    _note_ineffective(config, flags)
    found = estimate.estimate(config)
    if as_json:
        print(estimate.as_json(found))
        return
    show(estimate.table(found))
    for line in estimate.notes(found):
        print(line)


def _distill(arguments: list[str]) -> None:
    parser = _Parser("lerl distill", description=DISTILL_HELP, allow_abbrev=False)
    parser.add_argument(
        "run", metavar="RUN", type=Path, help="a folder that lerl train wrote, with a chat model's plans"
    )
    _add_trust(parser)
    given = parser.parse_args(arguments)
    run = given.run

    from lerl.cli.data import print_rows
    from lerl.llm import distill

    print_rows(distill.rows(distill.distill(run, given.trust)))
    print(f"plan with it: {distill.next_command(run)}")


def _experiment(arguments: list[str]) -> None:
    options = {name: f"--{name}" in arguments for name in ("plan", "quick", "resume")}
    rest = [word for word in arguments if word not in ("--plan", "--quick", "--resume")]
    if {"-h", "--help"} & set(arguments):
        usage = "[--out FOLDER] [--plan] [--quick] [--resume]"
        print(_recipe_help("experiment", EXPERIMENT_HELP, rest, usage), end="")
        return
    recipe, out, config, flags = _configured("experiment", rest)
    folder = out or Path(f"runs/{recipe.stem}-{'quick' if options['quick'] else 'experiment'}")

    from lerl.experiment import schedule as conduct
    from lerl.experiment import verdict
    from lerl.experiment.spec import overridden
    from lerl.files import RunError
    from lerl.report.compare import show

    for flag, names in overridden(config, flags).items():
        print(f"lerl: note: --{flag} does not count for {', '.join(names)}; the recipe says it there", file=sys.stderr)
    if options.pop("plan"):
        show(conduct.cost(config, folder, options["quick"], flags))
        return
    try:
        whole, failed = conduct.run(config, folder, **options, say=lambda line: print(line, flush=True), given=flags)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("the same command with --resume goes on") from None
    if found := verdict.judge(whole, folder):
        print("\n".join(verdict.markdown(found)))
        print(f"written: {', '.join(map(str, verdict.write(found, whole, folder)))}")
    if failed:
        raise RunError(failed)


def _fidelity(arguments: list[str]) -> None:
    parser = _Parser("lerl fidelity", description=FIDELITY_HELP, allow_abbrev=False)
    add = parser.add_argument
    add("folder", metavar="FOLDER", type=Path, help="a folder that lerl data import or prepare wrote")
    add("--topics", choices=("categories", "hidden"), default="categories", help="what bores people (categories)")
    add("--users", metavar="N", type=_whole(2, 1_000_000), default=1000, help="most held-out users to compare (1000)")
    add("--seed", metavar="N", type=_whole(0, 2**32 - 1), default=0, help="of all draws (0)")
    add("--out", metavar="FOLDER", type=Path, help="where fidelity.json and the pictures go (the folder itself)")
    add("--json", action="store_true", help="print it for programs")
    given = parser.parse_args(arguments)

    from lerl.envs.files import write_whole
    from lerl.users import fidelity

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    found, page = fidelity.measure(given.folder, topics=given.topics, seed=given.seed, users=given.users, report=say)
    out = given.out or given.folder
    out.mkdir(parents=True, exist_ok=True)
    write_whole(out / "fidelity.json", fidelity.as_json(found) + "\n")
    picture = fidelity.draw(found, page, given.folder.name, out)[0]
    if given.json:
        print(fidelity.as_json(found))
        return
    print("\n".join(fidelity.lines(found)))
    print(f"written: {out / 'fidelity.json'} and {picture}, as .svg besides")


def _probe(arguments: list[str]) -> None:
    parser = _Parser("lerl planner-probe", description=PROBE_HELP, allow_abbrev=False)
    add = parser.add_argument
    add("--model", metavar="PROVIDER:NAME", required=True, help="such as openai:gpt-4.1-mini or ollama:llama3.1")
    add("--base-url", "--base_url", metavar="URL", help="of its endpoint, where that is not the provider's own")
    add("--client", choices=("langchain", "openai"), help=argparse.SUPPRESS)
    add("--prompts", metavar="FOLDER", help="with prompt texts of your own")
    add("--pairs", metavar="N", type=_whole(1, 10_000), default=20, help="of histories, two questions each (20)")
    add("--timeout", metavar="S", type=float, default=30.0, help="seconds that an answer may take (30)")
    add("--temperature", metavar="T", type=_temperature, default=0.0, help="of its answers, null to send none (0)")
    add("--answer-tokens", metavar="N", type=int, default=600, help="most tokens of an answer (600)")
    add("--concurrency", metavar="N", type=int, default=8, help="questions under way at once (8)")
    add("--seed", metavar="N", type=_whole(0, 2**32 - 1), default=0, help="of the users in the histories (0)")
    add("--json", action="store_true", help="print it for programs")
    given = vars(parser.parse_args(arguments))
    pairs, seed, as_json, client = (given.pop(name) for name in ("pairs", "seed", "json", "client"))
    if client == "openai":
        warnings.warn("--client openai is left out: every chat model is asked through LangChain now", stacklevel=2)

    from lerl.cli.data import print_rows
    from lerl.config.schema import PlannerConfig
    from lerl.llm import probe

    found = probe.probe(PlannerConfig(name="llm", fallback="random", **given), pairs, seed)
    if as_json:
        print(probe.as_json(found))
    else:
        print_rows(probe.rows(found))


def _fit(arguments: list[str]) -> None:
    parser = _Parser("lerl fit", description=FIT_HELP, allow_abbrev=False)
    add = parser.add_argument
    add("folder", metavar="FOLDER", type=Path, help="a folder that lerl data import or prepare wrote")
    add("--model", required=True, choices=("latent", "sequence"), help="what to fit")
    add("--seed", metavar="N", type=_whole(0, 2**32 - 1), default=0, help="of the training (0)")
    add("--epochs", metavar="N", type=_whole(1, 1000), help="at most so many passes over the log")
    add("--dynamics", action="store_true", help="fit how people tire, drift and differ, for data.users fitted; minutes")
    add("--json", action="store_true", help="print it for programs")
    given = parser.parse_args(arguments)

    from lerl.report.compare import show
    from lerl.run.progress import Progress
    from lerl.users.evaluate import table
    from lerl.users.fit import fit_users

    try:
        with Progress() as progress:
            found = fit_users(
                given.folder,
                given.model,
                seed=given.seed,
                epochs=given.epochs,
                dynamics=given.dynamics,
                report=progress.report,
            )
    except KeyboardInterrupt:
        raise KeyboardInterrupt("the same command goes on with the fit") from None
    if given.json:
        print(found.json())
        return
    show(table(found.judgement))
    for line in found.notes:
        print(line)
    print(f"written: {', '.join(map(str, found.files))}")


def _bench(arguments: list[str]) -> None:
    parser = _Parser("lerl bench", description=BENCH_HELP, allow_abbrev=False)
    add = parser.add_argument
    add("--rows", metavar="NAME,...", help="measure these alone")
    add("--repeats", metavar="N", type=_whole(1, 1000), default=7, help="turns of both sides (7)")
    add("--peers", metavar="FOLDER", type=Path, help="where peers are, or are installed")
    add("--out", metavar="FOLDER", type=Path, help="where bench.json and the growth curves go (nowhere)")
    add("--json", action="store_true", help="print it for programs")
    given = parser.parse_args(arguments)

    from lerl.bench import cases as bench
    from lerl.bench import timing as measured
    from lerl.envs.files import write_whole

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    rows = None if given.rows is None else given.rows.split(",")
    found = bench.measure(rows, given.peers, given.repeats, say)
    print(measured.as_json(found) if given.json else "\n".join(measured.lines(found)))
    if given.out is not None:
        given.out.mkdir(parents=True, exist_ok=True)
        write_whole(given.out / "bench.json", measured.as_json(found) + "\n")
        bench.draw(found, given.out)


def _temperature(text: str) -> float | None:
    try:
        return None if text == "null" else float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a number from 0 to 2, or null, given {text!r}") from None


def _whole(least: int, most: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not text.isdecimal() or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"must be a whole number from {least} to {most}, given {text!r}")
        return int(text)

    return read


def _data(arguments: list[str]) -> None:
    from lerl.cli.data import run

    run(_Parser("lerl data", description="Make data sets ready to train on.", allow_abbrev=False), arguments)


COMMANDS: dict[str, Callable[[list[str]], None]] = {
    "train": _train,
    "tune": _tune,
    "evaluate": _evaluate,
    "compare": _compare,
    "plot": _plot,
    "plan": _plan,
    "distill": _distill,
    "experiment": _experiment,
    "fidelity": _fidelity,
    "planner-probe": _probe,
    "fit": _fit,
    "bench": _bench,
    "data": _data,
}
