"""Shared by the commands that take a recipe and dotted flags: reading them, and printing their help."""

import sys
import textwrap
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from lerl.cli.parser import HelpShown, UsageError

if TYPE_CHECKING:
    from lerl.config.keys import Key
    from lerl.config.schema import Config

HELP_FLAGS = {"-h", "--help", "--help-all"}
WIDTH = 80  # columns

SECTION_OF = {"tune": "tune", "experiment": "experiment"}
"""The section that a recipe must hold for a command."""

UNREAD = {
    "train": {"tune.": "lerl tune", "experiment.": "lerl experiment"},
    "tune": {"experiment.": "lerl experiment"},
    "experiment": {"tune.agent": "lerl tune", "tune.row": "lerl tune", "agents": "lerl train"},
    "loop": {
        "tune.": "lerl tune",
        "experiment.": "lerl experiment",
        **dict.fromkeys(("env.horizon", "env.days"), "lerl train"),
        **dict.fromkeys(("evaluation.replicates", "evaluation.batch_size", "evaluation.keep_sessions"), "lerl train"),
        "evaluation.deterministic": "lerl train",
    },
    "plan --estimate": {"tune.": "lerl tune", "experiment.": "lerl experiment"},
}
"""Keys that a command does not read, by what they begin with, and the command that reads them."""


class Request(NamedTuple):
    """A recipe with flags laid over it.

    Attributes:
        recipe: its file. out: the folder for output, None where none is given. config: the configuration.
        flags: the keys that flags gave. switches: the flags without a value. track: the tracker that lerl train is
            told, None where it is told none. own: values of the command's other flags.
    """

    recipe: Path
    out: Path | None
    config: "Config"
    flags: list[str]
    switches: set[str]
    track: str | None
    own: dict[str, str | None]


class CommandLine(NamedTuple):
    """A command line taken apart.

    Attributes:
        words: what is no flag. flags: their text by name, None where no value follows. switches: flags without a value.
    """

    words: list[str]
    flags: dict[str, str | None]
    switches: set[str]


def split(arguments: Sequence[str], switches: Collection[str] = ()) -> CommandLine:
    """Take a command line apart.

    Args:
        arguments: words, and flags as --key value or --key=value. switches: names of flags that take no value.

    Raises:
        UsageError: a flag is given twice, or a switch has a value.
    """
    found = CommandLine([], {}, set())
    given: set[str] = set()
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        key, equals, value = word.partition("=")
        name = key.lstrip("-")
        if not word.startswith("-"):
            found.words.append(word)
            continue
        if key.removesuffix("+") in given:
            raise UsageError(f"{key} is given twice; give it once")
        given.add(key.removesuffix("+"))
        if name in switches:
            if equals:
                raise UsageError(f"{key} takes no value, given {value!r}")
            found.switches.add(name)
        elif equals or not rest or rest[0].startswith("--"):
            found.flags[name] = value if equals else None
        else:
            found.flags[name] = rest.pop(0)
    return found


def one_recipe(words: Sequence[str], command: str, example: str) -> str:
    """The only word that is given.

    Raises:
        UsageError: there is none, or another one.
    """
    if len(words) == 1:
        return words[0]
    given = " and ".join(words) or "none"
    page = command.partition(" --")[0]
    raise UsageError(f"give one recipe, such as lerl {command} {example}, given {given}; see lerl {page} --help")


def read_request(
    command: str, arguments: Sequence[str], switches: Collection[str] = (), own: Collection[str] = ()
) -> Request:
    """The recipe and the flags of a command; with --print-config nothing else happens.

    Args:
        command: such as "train". arguments: what follows it. switches: the command's flags that take no value.
        own: names of its flags with a value that are no keys of the configuration.

    Raises:
        UsageError, SettingsError: the message says what is wrong and what is allowed.
        HelpShown: the configuration was printed.
    """
    from lerl.config.parse import configure, dump
    from lerl.config.recipes import find_recipe

    words, flags, given = split(arguments, {"trust", "print-config", *switches})
    name = one_recipe(words, command, "whole_session --quick" if command == "experiment" else "quickstart")
    recipe = find_recipe(name, SECTION_OF.get(command, ""))
    if "out" in flags and not flags["out"]:
        raise UsageError("--out needs a folder")
    out = flags.pop("out", None)
    track = pop_track(flags) if command == "train" else None
    apart = {name: flags.pop(name) for name in own if name in flags}
    refuse_unread(command, flags)
    config = configure(recipe, flags)
    if "print-config" in given:
        print(dump(config), end="")
        raise HelpShown
    if recipe.name == "config.yaml":  # of a run, perhaps of somebody else
        from lerl.run.trust import check_recipe

        check_recipe(recipe, "trust" in given)
    keys = [key.removesuffix("+") for key in flags]
    return Request(recipe, Path(out) if out else None, config, keys, given, track, apart)


def pop_track(flags: dict[str, str | None]) -> str | None:
    """The tracker that --track names, taken out of the flags; None where there is no such flag."""
    if "track" in flags and not flags["track"]:
        raise UsageError("--track needs a tracker: mlflow, wandb, tensorboard, or your own as my_module:MyTracker")
    return flags.pop("track", None)


def refuse_unread(command: str, flags: Iterable[str]) -> None:
    """Refuse flags that the command would ignore."""
    for flag in flags:
        for start, reader in UNREAD[command].items():
            if flag.startswith(start):
                raise UsageError(f"--{flag} does nothing for lerl {command}, only for {reader}; leave it out")


def note_ineffective(config: "Config", flags: Iterable[str]) -> None:
    """Say which flags change nothing beside the other settings."""
    from lerl.run.specs import ineffective

    for flag, why in ineffective(config, flags).items():
        print(f"lerl: note: --{flag} changes nothing here, since {why}", file=sys.stderr)


def print_help(command: str, text: str, arguments: Sequence[str], switches: Collection[str] = ()) -> None:
    """Print the short help of a command, or with --help-all every key that it reads.

    Args:
        command: such as "tune". text: the short help, in which {recipes} stands for the recipes that the command takes.
        arguments: a recipe among them gives the defaults. switches: the command's flags that take no value.
    """
    from lerl.config.recipes import recipes

    holding = SECTION_OF.get(command, "")
    if "--help-all" not in arguments:
        names = f"RECIPE is one of {', '.join(recipes(holding))}, or a path ending in .yaml."
        print(text.replace("{recipes}", textwrap.fill(names, WIDTH)), end="")
        return

    from lerl.config.keys import known_keys
    from lerl.config.parse import load
    from lerl.config.recipes import find_recipe

    words, _, _ = split([word for word in arguments if word not in HELP_FLAGS], switches)
    config = load(find_recipe(words[0], holding)) if words else None
    unread = tuple(UNREAD[command])
    keys = [key for name, key in known_keys(config).items() if not key.nested and not name.startswith(unread)]
    print(f"usage: lerl {command} RECIPE [--KEY VALUE ...]\n")
    defaults = f"of {words[0]}" if words else "that a recipe overrides"
    print(textwrap.fill(f"All keys that lerl {command} reads, with the defaults {defaults}.", WIDTH))
    section = None
    for key in keys:
        if section != (section := key.name.rpartition(".")[0]):
            print(f"\n{section}: {key.section}" if section else "")
        print("\n".join(_described(key)))


def _described(key: "Key") -> list[str]:
    """One key with its meaning, what it takes and its default."""
    default = "null" if key.default is None else str(key.default)
    default = default.lower() if isinstance(key.default, bool) else default
    if isinstance(key.default, list):
        default = f"[{', '.join(map(str, key.default))}]"
    text = f"{key.help.rstrip('.')} ({key.allowed}; default: {default})"
    return [
        f"  --{key.name} {_placeholder(key)}",
        *textwrap.wrap(text, WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6),
    ]


def _placeholder(key: "Key") -> str:
    for kind, word in ((list, "LIST"), (bool, "BOOL"), (float, "NUMBER"), (int, "N")):
        if kind in key.types:
            return word
    return "TEXT"
