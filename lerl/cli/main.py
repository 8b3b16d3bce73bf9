"""The command line: which function runs which command, and how errors are reported.

Each command imports what it needs only when it runs, so that help and errors are quick.
"""

import errno
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout, suppress
from difflib import get_close_matches
from pathlib import Path

from lerl.cli.audit import run_audit
from lerl.cli.bench import run_bench
from lerl.cli.completion import run_completion
from lerl.cli.data import run_data
from lerl.cli.experiments import run_experiment, run_tune
from lerl.cli.export import run_export
from lerl.cli.loop import run_loop
from lerl.cli.parser import HelpShown, Parser, UsageError
from lerl.cli.planners import run_distill, run_plan, run_probe
from lerl.cli.rank import run_rank
from lerl.cli.report import run_report
from lerl.cli.runs import run_compare, run_evaluate, run_plot
from lerl.cli.serve import run_serve
from lerl.cli.train import run_train
from lerl.cli.users import run_fidelity, run_fit
from lerl.envs.files import FULL
from lerl.report.streams import Lasting
from lerl.startup import collect_seldom, install_hint

HELP = """\
usage: lerl COMMAND ... [--debug]

Train recommenders on simulated users, and measure whether people stay
satisfied over a whole session. Start with: lerl train quickstart

one run:
  train RECIPE              train and evaluate the agents of a recipe
  train --resume RUN        continue a run that was interrupted
  evaluate RUN              evaluate a trained run again, also in other worlds
  report RUN                a page: results in words, and sessions to replay
  recipes                   list the recipes that come with lerl
  serve RUN                 serve a trained agent over HTTP
  export RUN                sessions of its agents, for offline RL

many runs:
  train RECIPE --seeds 0-4  a run for each seed, and one table of all
  compare RUN...            one table of runs that differ only in their seed
  compare A=RUN B=RUN       two configurations on the same users and seeds
  plot RUN...               pictures of them
  tune RECIPE               search better settings for one agent
  experiment RECIPE         agents x conditions x seeds, with a verdict
  loop RECIPE               agents retrained on what they caused, over days

without simulated users:
  rank FOLDER               next-item recommenders, judged by full ranking

your own data:
  data import               make a log of your own ready to train on
  data get NAME             download a public data set
  data prepare FOLDER       make a public data set ready to train on
  data describe FOLDER      what a prepared folder holds
  fit FOLDER                fit simulated users to a prepared folder
  fidelity FOLDER           compare simulated sessions with real ones

chat models as planners:
  plan --estimate RECIPE    what a chat model will cost
  plan --run RUN            show one plan: prompt, answer and result
  planner-probe             test whether a chat model reacts to feedback
  audit --model NAME        may this planner be trusted: reasons, cues
  audit --planner NAME      the same of any other planner, such as a rule
  audit RUN                 the same of what a run recorded; asks nothing
  distill RUN               train a network that replaces the chat model

other:
  bench                     how fast lerl is on this machine
  completion SHELL          shell completion: bash, zsh or fish
  --version                 print the version

`lerl COMMAND --help` tells more; --debug shows where an error came from.

exit codes:
  0    done
  1    failed for an unexpected reason: a bug
  2    the command, the configuration or the input cannot be used
  130  interrupted
  141  done, but the output was not read to its end
"""

MENDS = (
    dict.fromkeys(FULL, "make room and give the command again")
    | dict.fromkeys((errno.EEXIST, errno.ENOTDIR), "a folder is needed there; give another path")
    | dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "give another path, or the right to use this one")
)
"""What to do about errors of the system."""


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
        with suppress(HelpShown):
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
    if isinstance(error, SystemError) and isinstance(error.__cause__, KeyboardInterrupt):
        error, message = error.__cause__, ""  # Ctrl-C while compiled code was called
    if isinstance(error, KeyboardInterrupt):
        return _say(f"interrupted; {message}" if message else "interrupted", 130)
    if isinstance(error, ImportError) and (what_to_do := install_hint(error.name or "")):
        return _say(f"error: {what_to_do}", 2)
    if isinstance(error, MemoryError):
        return _say(f"error: this needs more memory than there is; give smaller sizes {message}".rstrip(), 2)
    if isinstance(error, OSError) or (isinstance(error, ValueError) and _raised_here(error)):
        caused = error.__cause__ and type(error).__name__ == "PluginError"  # by somebody's own code
        return _say(f"error: {_plain(error) or message}{hint if caused else ''}", 2)
    return _say(f"failed: {type(error).__name__}: {message}{hint}", 1)


def _plain(error: Exception) -> str:
    """What the system says about a file, without its number and with the mend; empty for errors of lerl's own."""
    if not isinstance(error, OSError) or error.strerror is None or not isinstance(error.filename, str | Path):
        return ""
    path = Path(error.filename)
    if path.suffix == ".partial":  # what write_whole writes before it moves it
        path = Path(error.filename2) if isinstance(error.filename2, str | Path) else path.parent
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
        from lerl import __version__

        print(__version__)
    elif first in ("-h", "--help"):
        print(HELP, end="")
    else:
        close = get_close_matches(first, COMMANDS, 1)
        given = f"unknown command {first!r}" if first else "no command given"
        hint = f". Did you mean {close[0]}? " if close else "; "
        raise UsageError(f"{given}{hint}lerl --help lists the commands")


def run_recipes(arguments: list[str]) -> None:
    """lerl recipes"""
    Parser("lerl recipes", description="List the recipes that come with lerl.").parse_args(arguments)

    from lerl.config.recipes import recipes, summary

    width = max(map(len, recipes()))
    for name in recipes():
        print(f"{name:<{width}}  {summary(name)}")


COMMANDS: dict[str, Callable[[list[str]], None]] = {
    "train": run_train,
    "evaluate": run_evaluate,
    "recipes": run_recipes,
    "compare": run_compare,
    "plot": run_plot,
    "report": run_report,
    "tune": run_tune,
    "experiment": run_experiment,
    "loop": run_loop,
    "rank": run_rank,
    "data": run_data,
    "fit": run_fit,
    "fidelity": run_fidelity,
    "serve": run_serve,
    "export": run_export,
    "plan": run_plan,
    "planner-probe": run_probe,
    "audit": run_audit,
    "distill": run_distill,
    "bench": run_bench,
    "completion": lambda arguments: run_completion(arguments, COMMANDS),
}
