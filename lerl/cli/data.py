"""The commands of `lerl data`: import, get, prepare and describe."""

import argparse
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from lerl.cli.parser import Parser, UsageError
from lerl.cli.where import add_where, pool_of, read_beside, take_where
from lerl.envs.text import one_line
from lerl.users.next_command import LOGS, train_command

if TYPE_CHECKING:
    from lerl.envs.prepare import PrepareReport

FORMATS = "movielens, goodbooks, kuairand, kuairec"
SETS = (
    "movielens-100k", "movielens-1m", "movielens-latest-small", "goodbooks-10k", "kuairand-pure", "kuairec",
)  # fmt: skip

LONGEST_VECTOR = 512  # numbers in an item vector

IMPORT = """\
Prepare your own log for training. FILE is CSV with a header, or Parquet. Columns that no flag names are guessed from
their names, and the choice is printed; an empty name ('') means no column. If several rows have the same user and item,
one is kept.
"""

GET = """\
Download a public data set from its publisher, verify it and unpack it. After an interruption, the same command
goes on with the download.
"""


def run_data(arguments: list[str]) -> None:
    """lerl data"""
    parser = Parser("lerl data", description="Make data sets ready to train on.", allow_abbrev=False)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, add in {
        "import": _add_import,
        "get": _add_get,
        "prepare": _add_prepare,
        "describe": _add_describe,
    }.items():
        add(commands, name)
    given = vars(parser.parse_args(arguments))
    given.pop("command")(**given)


def _add(commands: Any, name: str, command: Callable[..., None], help: str, description: str = "") -> Any:
    added = commands.add_parser(name, help=help, description=description or f"{help}.", allow_abbrev=False)
    added.set_defaults(command=command)
    return added


def _add_import(commands: Any, name: str) -> None:
    added = _add(commands, name, _import, "a log of your own to a folder that lerl train can use", IMPORT)
    add = added.add_argument
    add("--interactions", metavar="FILE", required=True, type=Path, help="CSV or Parquet: user, item, click or rating")
    add("--items", metavar="FILE", type=Path, help="CSV or Parquet: titles and categories of items")
    add("--user", metavar="COLUMN", help="the column of users")
    add("--item", metavar="COLUMN", help="the column of items")
    add("--click", metavar="COLUMN", help="the column of clicks: 0 and 1, or false and true")
    add("--rating", metavar="COLUMN", help="the column of ratings")
    add("--click-from", metavar="R", type=float, help="a rating of R or more is a click (4 where ratings end at 5)")
    add("--time", metavar="COLUMN", help="the column of times, numbers or dates")
    help = "unit of times that are numbers: s, ms, us or ns, since 1970 or since another date (guessed)"
    add("--time-unit", metavar="UNIT", help=help)
    add("--item-id", metavar="COLUMN", help="in --items, the column of ids")
    add("--title", metavar="COLUMN", help="in --items, the column of titles")
    add("--categories", metavar="COLUMN", help="in --items, the column of categories")
    help = "what separates several categories in one cell, '' for one category per cell (guessed, and printed)"
    add("--separator", metavar="TEXT", help=help)
    help = "what separates the cells of CSV files (a comma; a tab in .tsv and in RecBole's .inter and .item)"
    add("--delimiter", metavar="CHARACTER", help=help)
    add("--min-interactions", metavar="N", type=int, default=1, help="leave out users who met fewer items (1)")
    _add_output(add, "memory then goes by them, not by the log")
    add_where(added, "--users", "parts of the log")


def _add_get(commands: Any, name: str) -> None:
    add = _add(commands, name, _get, "download a public data set", GET).add_argument
    add("name", metavar="NAME", choices=SETS, help=", ".join(SETS))
    add("--out", metavar="FOLDER", type=Path, help="where to unpack it (data/raw/NAME)")
    add("--url", metavar="URL", help="a mirror of the archive, with its .md5 beside it where the publisher has one")


def _add_prepare(commands: Any, name: str) -> None:
    add = _add(commands, name, _prepare, "a data set as published to a folder that lerl train can use").add_argument
    add("folder", metavar="FOLDER", type=Path, help="where the data set's files are")
    add("--format", required=True, help=f"the data set's layout: {FORMATS}")
    help = "with kuairec: users of the small matrix, for env.response lookup"
    add("--dense", action="store_true", default=argparse.SUPPRESS, help=help)
    help = "with kuairand: kinds of feedback and their weights, the click first, as in long_view=1,is_like=0.5"
    add("--feedback", metavar="KINDS", type=_weights, default=argparse.SUPPRESS, help=help)
    _add_output(add, "the files are read whole before")


def _add_describe(commands: Any, name: str) -> None:
    add = _add(commands, name, _describe, "what a prepared folder holds, in numbers and pictures").add_argument
    add("folder", metavar="FOLDER", type=Path, help="a folder that lerl data import or prepare wrote")
    add("--out", metavar="FOLDER", type=Path, help="where to write pictures (the folder itself)")


def _add_output(add: Any, sampled: str) -> None:
    add("--out", metavar="FOLDER", required=True, type=Path, help="where to write")
    add("--dim", metavar="N", type=_dim, default=8, help=f"length of the item vectors, up to {LONGEST_VECTOR} (8)")
    add("--seed", metavar="N", type=int, default=0, help="seed of the random initial values of the fit (0)")
    help = f"simulate a sample of N users; {sampled}"
    add("--users", metavar="N", type=int, default=argparse.SUPPRESS, help=help)
    add("--overwrite", action="store_true", help="replace a data set prepared before")


def _dim(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= LONGEST_VECTOR:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 to {LONGEST_VECTOR}, given {text!r}")
    return int(text)


def _weights(text: str) -> dict[str, float]:
    """Kinds of feedback with weights, as in "long_view=1,is_like=0.5"."""
    weights: dict[str, float] = {}
    for part in text.split(","):
        name, _, number = (side.strip() for side in part.partition("="))
        try:
            weight = float(number)
        except ValueError:
            weight = -1.0
        if not name or name in weights or not 0 < weight < float("inf"):
            wanted = "must be names, each once, with weights above 0, as in long_view=1,is_like=0.5"
            raise argparse.ArgumentTypeError(f"{wanted}; given {text!r}")
        weights[name] = weight
    return weights


def _import(interactions: Path, items: Path | None, out: Path, **given: Any) -> None:
    from lerl.envs.logs.custom import Choices
    from lerl.envs.prepare import import_logs

    begun = perf_counter()
    options: dict[str, Any] = {name: given.pop(name) for name in ("dim", "seed", "overwrite", "users") if name in given}
    beside = read_beside(*take_where(given))
    if beside and "users" not in options:
        raise UsageError("--workers and --cluster go with --users: without it the log is read whole, in one process")
    with _locked_where_replaced(out, options["overwrite"]), pool_of(beside) as pool:
        if pool is not None:
            options["executor"] = pool
        report = import_logs(interactions, items, out, choices=Choices(**given), note=_note, **options)
    print_rows([*report.rows(), *(_used(begun) if "users" in options else [])])
    _say_next(out, report, LOGS)


def _get(name: str, out: Path | None, url: str | None) -> None:
    from lerl.envs.download.sources import SOURCES, fetch
    from lerl.run.progress import Transfer

    folder = out or Path("data/raw") / name
    with Transfer(name) as transfer:
        verified = fetch(name, folder, address=url, report=transfer.report)
    print(f"unpacked to {folder}, verified by: {verified}")
    there, format = shlex.quote(str(folder)), SOURCES[name].format
    print(f"make it ready to train on with: lerl data prepare --format {format} {there} --out data/{name}")


def _prepare(format: str, folder: Path, out: Path, **options: Any) -> None:
    from lerl.config.recipes import recipes
    from lerl.envs.prepare import prepare

    begun = perf_counter()
    with _locked_where_replaced(out, options["overwrite"]):
        report = prepare(format, folder, out, note=_note, **options)
    print_rows([*report.rows(), *(_used(begun) if "users" in options else [])])
    _say_next(out, report, format if format in recipes() else LOGS, dense=options.get("dense", False))


def _describe(folder: Path, out: Path | None) -> None:
    from lerl.users.describe import describe, draw

    found = describe(folder)
    print_rows(found.rows())
    page = draw(found, out or folder)[0]
    print(f"pictures: {page}, also as .svg")


@contextmanager
def _locked_where_replaced(out: Path, overwrite: bool) -> Iterator[None]:
    """Let no other command work in a data set that is being replaced."""
    from lerl.envs.store import ABOUT_FILE
    from lerl.run.locks import locked

    with locked(out) if overwrite and (out / ABOUT_FILE).is_file() else nullcontext():
        yield


def _note(line: str) -> None:
    print(line, flush=True)


def print_rows(rows: Sequence[tuple[str, str]]) -> None:
    """Print labels and values as two columns."""
    width = max(len(label) for label, _ in rows)
    for label, value in rows:
        print(f"{label:<{width}}  {one_line(value)}")


def _used(begun: float) -> list[tuple[str, str]]:
    """Time since `begun` and the most memory of this process, where the system says it."""
    try:
        import resource
    except ImportError:  # on Windows
        return [("time", f"{perf_counter() - begun:,.0f} s")]
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9
    return [("time, most memory", f"{perf_counter() - begun:,.0f} s, {most:.1f} GB")]


def _say_next(out: Path, report: "PrepareReport", recipe: str, dense: bool = False) -> None:
    """Commands that go on from a prepared folder, the last of which trains on it as it is."""
    there, train = shlex.quote(str(out)), train_command(out, report.items, report.directions, recipe)
    print(f"written to {out}; look at it with: lerl data describe {there}")
    if dense:
        print(f"train on it: {train} --data.users assumed --env.response lookup")
        return
    if report.ordered:
        print(f"fit its users to its times, then train: lerl fit {there} --model latent --dynamics && {train}")
    else:
        print("the log has no complete times, so boredom, fatigue and drift are assumed, not fitted")
    print(f"train on it as it is: {train} --data.users assumed")
