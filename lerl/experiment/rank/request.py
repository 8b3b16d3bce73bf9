"""What is to be ranked: the data, how they are split, the rows with their settings, and the seeds."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

from lerl.agents.next_item.registry import ALWAYS, CONTROLS, all_settings, controls_of, row_class
from lerl.envs.logs.bundles import is_bundles, read_bundles
from lerl.envs.logs.sequences import Named, read_sequences
from lerl.envs.sequences import Choices, Split, all_but_the_test, by_time, completing, leave_one_out

ANY = Named()
OF_SEQUENCES = ("split", "items", *Named._fields)
"""Flags that mean nothing to a folder of bundles."""
LAST, TIME, LEARNED = "last", "time", "last+validation"
SPLITS = {LAST: leave_one_out, TIME: by_time, LEARNED: all_but_the_test}
"""How data may be split, by the name that --split takes."""


@dataclass(frozen=True)
class Data:
    """Where choices are, and how they are split.

    Attributes:
        path: a folder or a file, see `lerl.envs.logs.sequences.read_sequences`. items: a file of items, None for the
            one beside it. named: which column is what. split: one of SPLITS.
        exclude: whether items of a user's history are ranked behind all others.
        seed: of the order of what has the same time; the same for all rows and seeds.
    """

    path: Path
    items: Path | None = None
    named: Named = ANY
    split: str = LAST
    exclude: bool = False
    seed: int = 0

    def read(self) -> tuple[Choices, Split]:
        """All choices, and their split.

        Raises:
            DataError: the data cannot be used as they are.
            ValueError: they cannot be split so, or fewer than two users are left to judge: an interval is over users.
        """
        if is_bundles(self.path):
            choices, more = read_bundles(self.path, self.seed), "ten bundles of several items, better many more"
            split = completing(choices, self.seed)
        else:
            choices, more = read_sequences(self.path, self.items, self.named, seed=self.seed), "longer lists"
            split = SPLITS[self.split](choices)
        if (left := len(split.test)) < 2:
            who = "only one list" if left else "nobody"
            raise ValueError(
                f"{self.path}: {who} can be judged of {len(choices.users):,}, and an interval needs two; give {more} "
                f"({'; '.join(split.notes)})"
            )
        return choices, split


def check_bundles(path: Path, given: Collection[str]) -> None:
    """Refuse flags that a folder of bundles would ignore.

    Raises:
        ValueError: there is one among those given, by their names without --.
    """
    ignored = [f"--{name}" for name in OF_SEQUENCES if name in given]
    if ignored and is_bundles(path):
        raise ValueError(f"{path} holds bundles, for which {', '.join(ignored)} means nothing; leave it out")


class Trial(NamedTuple):
    """A row that is fitted with a seed, and judged."""

    row: str
    seed: int

    @property
    def name(self) -> str:
        """What people and files call it."""
        return f"{self.row}-seed{self.seed}"

    @property
    def flags(self) -> str:
        """The row by whose flags its settings are given."""
        return CONTROLS[self.row].of if self.row in CONTROLS else self.row


@dataclass(frozen=True)
class Request:
    """What `lerl rank` is asked for.

    Attributes:
        data: what is ranked. rows: settings by row, in the order of tables. seeds: at least one, each once.
    """

    data: Data
    rows: Mapping[str, Any]
    seeds: tuple[int, ...]

    def trials(self) -> list[Trial]:
        """All that is to be fitted; a row that learns nothing by chance is fitted once."""
        found = []
        for row in self.rows:
            kind = row_class(row)
            found += [Trial(row, seed) for seed in (self.seeds if kind.learns or kind.draws else self.seeds[:1])]
        return found


def request(
    data: Data,
    names: Sequence[str],
    seeds: Sequence[int],
    given: Mapping[str, Mapping[str, str]],
    epochs: int | None = None,
    controls: bool = False,
) -> Request:
    """A request; `popularity` and `counts` are among its rows whether asked for or not.

    Args:
        data: what is ranked. names: of rows and controls. seeds: of their training.
        given: settings as text, by row and field; those of a row are those of its controls too.
        epochs: at most so many, for rows that have epochs. controls: whether the controls of all rows are added.

    Raises:
        ValueError: there is no such row or setting, or a value is not allowed.
    """
    for name in names:
        row_class(name)
    wanted = list(dict.fromkeys((*ALWAYS, *names)))
    if controls:
        wanted = list(dict.fromkeys((*wanted, *controls_of(all_settings(wanted, given, epochs)))))
    known = {*wanted, *(CONTROLS[name].of for name in wanted if name in CONTROLS)}
    for name in given:
        if name not in known:
            raise ValueError(f"--{name}.{next(iter(given[name]))} is of a row that is not among --rows {wanted}")
    return Request(data, all_settings(wanted, given, epochs), tuple(seeds))


def digest(choices: Choices, split: Split, data: Data, texts: bool = False) -> str:
    """A name for what is judged: the same lists, split and rule, and texts for rows that read them, have the same."""
    parts = [repr((choices.users, choices.items, data.split, data.exclude)).encode()]
    parts += [one.tobytes() for one in (choices.lists.values, choices.lists.starts, split.test.users)]
    parts += [repr(sorted(choices.texts.items())).encode()] if texts else []
    return blake2b(b"".join(parts), digest_size=16).hexdigest()


def digests(choices: Choices, split: Split, asked: Request) -> dict[str, str]:
    """The name of what each row of a request reads, by row; see `digest`."""
    return {row: digest(choices, split, asked.data, row_class(row).reads_texts) for row in asked.rows}


def settings_of(asked: Request) -> dict[str, dict[str, Any]]:
    """The settings of every row, as JSON can hold them."""
    return {row: asdict(settings) for row, settings in asked.rows.items()}
