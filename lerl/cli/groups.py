"""Which folders of a command line are the runs of one group, and which are groups to compare."""

from collections.abc import Sequence
from pathlib import Path

from lerl.cli.parser import UsageError
from lerl.files import RunError, seed_runs
from lerl.report.load import seed_of


def read_groups(words: Sequence[Path]) -> dict[str, list[Path]]:
    """Folders by the name of their group.

    Runs of different seeds are one group, without a name, and so is a folder of seeds alone. Otherwise each word is a
    group: NAME=FOLDER, or a folder, whose name is then the group's. A NAME that is given again adds to its group.

    Raises:
        UsageError: two folders without a NAME are called the same.
        RunError: a folder is neither a run nor a folder of seeds.
    """
    given = [_named(str(word)) for word in words]
    folders = [folder for _, folder in given]
    if not any(name for name, _ in given) and (len(given) == 1 or _of_different_seeds(folders)):
        return {"": folders}
    groups, named = dict[str, list[Path]](), set[str]()
    for name, folder in given:
        own = name or folder.resolve().name
        if own in groups and not (name and name in named):
            raise UsageError(f"two groups are called {own!r}; give them names, such as A={folder}")
        named.add(name)
        groups.setdefault(own, []).append(folder)
    if len(groups) == 1:
        return {"": folders}
    return groups


def _named(word: str) -> tuple[str, Path]:
    """NAME=FOLDER taken apart; a folder whose name holds = stays whole."""
    name, equals, folder = word.partition("=")
    if not equals or Path(word).exists():
        return "", Path(word)
    if not name or not folder:
        raise UsageError(f"a group is given as NAME=FOLDER, given {word!r}")
    return name, Path(folder)


def _of_different_seeds(folders: Sequence[Path]) -> bool:
    """Whether these are runs of one group."""
    if any(map(seed_runs, folders)):
        return False
    try:
        seeds = [seed_of(folder) for folder in folders]
    except RunError:
        return True  # which reading the group says better
    return len(set(seeds)) == len(seeds)
