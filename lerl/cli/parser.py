"""Shared by the commands with a fixed set of flags: an argparse parser with one-line errors, and common flags."""

import argparse
import sys
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn


class UsageError(ValueError):
    """A command line that cannot be used."""


class HelpShown(Exception):
    """All that was wanted was help."""


def say(line: str) -> None:
    """Print a line on standard error at once."""
    print(line, file=sys.stderr, flush=True)


class _Once(argparse.Action):
    """Keeps a value, and refuses a second one where argparse would take the last."""

    given = False

    def __call__(self, parser: argparse.ArgumentParser, namespace: Any, values: Any, name: str | None = None) -> None:
        if self.given:
            parser.error(f"{name} is given twice; give it once")
        self.given = True
        setattr(namespace, self.dest, values)


class Parser(argparse.ArgumentParser):
    """Raises where argparse would print its usage and exit, and takes each option once."""

    def __init__(self, *given: Any, **options: Any) -> None:
        super().__init__(*given, **options)
        self.register("action", None, _Once)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        if self._subparsers is None and not self.allow_abbrev:
            self._refuse_unknown(args or ())
        return super().parse_known_args(args, namespace)

    def _refuse_unknown(self, words: Sequence[str]) -> None:
        """Name a misspelt option, before argparse names the one that is missing instead."""
        for name in (word.partition("=")[0] for word in words):
            if name.startswith("--") and name != "--" and name not in self._option_string_actions:
                close = get_close_matches(name, self._option_string_actions, 1)
                self.error(f"unrecognized arguments: {name}{f' (did you mean {close[0]}?)' if close else ''}")

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see {self.prog} --help")

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        raise HelpShown


def add_trust(parser: argparse.ArgumentParser) -> None:
    """The flag --trust, for commands that run what a run's config.yaml names."""
    parser.add_argument(
        "--trust", action="store_true", help="allow the code and the addresses in the run's config.yaml"
    )


def add_json(parser: argparse.ArgumentParser, condition: str = "") -> None:
    """The flag --json."""
    parser.add_argument("--json", action="store_true", help=f"{condition}print JSON instead of text")


def runs_parser(command: str, description: str, out: str = "FOLDER") -> Parser:
    """A parser for a command that reads several runs."""
    parser = Parser(f"lerl {command}", description=description, allow_abbrev=False)
    parser.add_argument(
        "runs", metavar="RUN", nargs="+", type=Path, help="folders that lerl train wrote, also with --seeds"
    )
    parser.add_argument("--out", metavar=out, type=Path, help="where to write files")
    parser.add_argument("--reference", metavar="NAME", help="the agent (of groups, the group) to compare others with")
    parser.add_argument("--bootstrap", metavar="N", type=int, default=2000, help="draws behind the intervals (2000)")
    parser.add_argument("--allow-different", action="store_true", help="runs may differ in more than the seed")
    return parser


def whole_number(least: int, most: int) -> Callable[[str], int]:
    """A type for argparse: a whole number between bounds."""

    def read(text: str) -> int:
        if not text.isdecimal() or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"must be a whole number from {least} to {most}, given {text!r}")
        return int(text)

    return read


def temperature(text: str) -> float | None:
    """A type for argparse: the temperature of a chat model's answers, None to send none."""
    try:
        return None if text == "null" else float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a number from 0 to 2, or null, given {text!r}") from None
