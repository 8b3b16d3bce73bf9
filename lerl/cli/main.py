"""The command line: one function per command.

Each command imports what it needs only when it runs, so that help is quick.
"""

import errno
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from lerl import __version__
from lerl.cli.bench import run_bench
from lerl.cli.parser import (
    HelpShown,
    Parser,
    UsageError,
)
from lerl.cli.planners import (
    run_distill,
    run_plan,
    run_probe,
)
from lerl.cli.runs import (
    run_compare,
    run_evaluate,
    run_experiment,
    run_plot,
    run_train,
    run_tune,
)
from lerl.cli.users import run_fidelity, run_fit
from lerl.envs.files import FULL
from lerl.envs.plugins import PluginError
from lerl.report.streams import Lasting
from lerl.startup import collect_seldom

if TYPE_CHECKING:
    pass

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


def run_data(arguments: list[str]) -> None:
    from lerl.cli.data import run

    run(Parser("lerl data", description="Make data sets ready to train on.", allow_abbrev=False), arguments)


COMMANDS: dict[str, Callable[[list[str]], None]] = {
    "train": run_train,
    "tune": run_tune,
    "evaluate": run_evaluate,
    "compare": run_compare,
    "plot": run_plot,
    "plan": run_plan,
    "distill": run_distill,
    "experiment": run_experiment,
    "fidelity": run_fidelity,
    "planner-probe": run_probe,
    "fit": run_fit,
    "bench": run_bench,
    "data": run_data,
}
