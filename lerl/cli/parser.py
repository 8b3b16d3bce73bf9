"""What all commands share: words and flags of a command line, and errors that say how it is used."""

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from lerl.config.schema import Config


OF_RECIPES = {"tune": "tune", "experiment": "experiment"}
"""The section that a recipe has to hold for a command."""


UNREAD = {
    "train": {"tune.": "lerl tune", "experiment.": "lerl experiment"},
    "tune": {"experiment.": "lerl experiment"},
    "experiment": {"tune.agent": "lerl tune", "agents": "lerl train"},
    "plan --estimate": {"tune.": "lerl tune", "experiment.": "lerl experiment"},
}
"""Keys that a command does not read, by what they begin with, and the command that reads them."""


class UsageError(ValueError):
    """A command line that cannot be used."""


class HelpShown(Exception):
    """All that was asked for was help."""


class _Once(argparse.Action):
    """Keeps a value, and refuses a second one where argparse would take the last."""

    given = False

    def __call__(self, parser: argparse.ArgumentParser, namespace: Any, values: Any, name: str | None = None) -> None:
        if self.given:
            parser.error(f"{name} is given twice; give it once")
        self.given = True
        setattr(namespace, self.dest, values)


class Parser(argparse.ArgumentParser):
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
        raise HelpShown


def configured(command: str, arguments: list[str]) -> tuple[Path, Path | None, "Config", list[str]]:
    """The recipe's file, the folder for output where one is given, the recipe with flags over it, and their keys."""
    from lerl.config import parse as settings
    from lerl.run.trust import check_recipe

    words, flags = split(arguments)
    trust = trusted(words, flags)
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
    refuse_unread(command, flags)
    check_recipe(recipe, trust)
    return recipe, Path(out) if out else None, config, [name.removesuffix("+") for name in flags]


def trusted(words: list[str], flags: dict[str, str | None]) -> bool:
    """Whether --trust is among the flags, which loses it; a word that follows it is none of its own."""
    if "trust" not in flags:
        return False
    words += filter(None, [flags.pop("trust")])
    return True


def refuse_unread(command: str, flags: Iterable[str]) -> None:
    """Refuse flags that the command would take no notice of."""
    for flag in flags:
        for start, reader in UNREAD[command].items():
            if flag.startswith(start):
                raise UsageError(f"--{flag} does nothing for lerl {command}, only for {reader}; leave it out")


def note_ineffective(config: "Config", flags: Iterable[str]) -> None:
    """Say which flags change nothing beside the other settings."""
    from lerl.run.specs import ineffective

    for flag, why in ineffective(config, flags).items():
        print(f"lerl: note: --{flag} changes nothing here, since {why}", file=sys.stderr)


def split(arguments: Sequence[str]) -> tuple[list[str], dict[str, str | None]]:
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


def recipe_help(command: str, text: str, arguments: Sequence[str], options: str = "[--out FOLDER]") -> str:
    from lerl.config import parse as settings

    words, _ = split([argument for argument in arguments if argument not in ("-h", "--help")])
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


def add_trust(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--trust", action="store_true", help="let the run use code and addresses that its config.yaml names"
    )


def runs_parser(command: str, description: str) -> Parser:
    parser = Parser(f"lerl {command}", description=description, allow_abbrev=False)
    parser.add_argument("runs", metavar="RUN", nargs="+", type=Path, help="folders that lerl train wrote")
    parser.add_argument("--out", metavar="FOLDER", type=Path, help="where files go")
    parser.add_argument("--reference", metavar="ROW", help="the row that the others are held against")
    parser.add_argument("--bootstrap", metavar="N", type=int, default=2000, help="draws behind the intervals (2000)")
    parser.add_argument("--allow-different", action="store_true", help="runs may differ in more than the seed")
    return parser


def whole_number(least: int, most: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not text.isdecimal() or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"must be a whole number from {least} to {most}, given {text!r}")
        return int(text)

    return read
