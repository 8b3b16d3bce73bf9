"""What every recommender of the next item is: it learns from lists of items, and scores all items after a list."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from lerl.envs.sequences import Cases, Lists, last_aside

EpochReport = Callable[[int, int, str], object]
"""Called with epochs done, epochs at most, and words on the newest."""


class DivergedError(ValueError):
    """Scores or losses that are no numbers any more; the message says what to try."""


@dataclass(frozen=True)
class NoSettings:
    """Of a row that has nothing to set."""


@dataclass
class Fitted:
    """What a fit found, beside the recommender itself.

    Attributes:
        parameters: numbers that were learned. epochs: tried. best: the epoch that was kept, from 1; 0 without epochs.
        validation: NDCG@10 on validation users after each epoch.
        epoch_seconds: of an epoch and its validation, the median of those since the training was last gone on with; 0
            without any.
    """

    parameters: int
    epochs: int = 0
    best: int = 0
    validation: tuple[float, ...] = ()
    epoch_seconds: float = 0.0


class NextItem(ABC):
    """A row of `lerl rank`; a subclass is listed in `lerl.agents.next_item.registry`.

    Args:
        items: I, how many there are. settings: of the class `Settings`; its defaults where None.

    Attributes:
        Settings: a frozen dataclass; each field is a flag --ROW.FIELD of `lerl rank`.
        learns: whether it has epochs, and so takes time and differs between seeds.
        plays: whether it is an agent of sessions too, where it learns.
        draws: whether it differs between seeds without epochs.
        reads_texts: whether it reads what data say of items.
        session_row: what is fitted in its place for sessions, where that is another class.
        least: clicks that somebody needs to be learned from in sessions: one to know, one to learn, one to choose by.
        starts: whether it scores after an empty list too; in sessions popularity ranks there where it does not.
        texts: what data say of items, I texts by column.
        notes: what people should know of how it was fitted, one line each.
    """

    Settings: ClassVar[type] = NoSettings
    learns: ClassVar[bool] = False
    plays: ClassVar[bool] = True
    draws: ClassVar[bool] = False
    reads_texts: ClassVar[bool] = False
    session_row: ClassVar["type[NextItem] | None"] = None
    least: ClassVar[int] = 3
    starts: ClassVar[bool] = False
    texts: Mapping[str, Sequence[str]] = MappingProxyType({})
    notes: tuple[str, ...] = ()

    def __init__(self, items: int, settings: Any = None) -> None:
        self.items = items
        self.settings = self.Settings() if settings is None else settings

    def know(self, texts: Mapping[str, Sequence[str]]) -> None:
        """Told before a fit what data say of items: I texts by column, as `lerl.envs.sequences.Choices.texts`."""
        self.texts = texts

    def check(self) -> None:  # noqa: B027
        """Called after `know` and before any fit, for what can be refused at once.

        Raises:
            ValueError: it cannot learn from these data with these settings.
        """

    @abstractmethod
    def fit(
        self,
        train: Lists,
        validation: Cases,
        *,
        seed: int,
        checkpoint: Path | None = None,
        report: EpochReport | None = None,
    ) -> Fitted:
        """Learn from training lists; validation users choose among epochs and nothing else.

        Args:
            train: of each user, perhaps empty. validation: what came next. seed: of all draws.
            checkpoint: written after each epoch, gone on from if it is of the same training.
            report: how far it is.

        Raises:
            DivergedError: what was learned is no numbers any more.
        """

    @abstractmethod
    def scores(self, histories: Lists) -> NDArray[np.float32]:
        """(B, I) float32, higher for items that are likelier to come next after each of B histories."""

    @classmethod
    def sized(cls, width: int, rate: float) -> Any:
        """Its settings in sessions, where `train.hidden` is the width and `train.learning_rate` the rate."""
        return cls.Settings()

    def learn(
        self, clicks: Lists, *, seed: int, checkpoint: Path | None = None, report: EpochReport | None = None
    ) -> Fitted:
        """Learn, for sessions, from what training users clicked; each user's last click only chooses among epochs."""
        train, validation = last_aside(clicks)
        return self.fit(train, validation, seed=seed, checkpoint=checkpoint, report=report)

    def follower(self, slots: int) -> "Follower | None":
        """What reads the growing lists of so many sessions item by item; None where they are read anew each time."""
        return None

    def within(self, histories: Lists, allowed: NDArray[np.bool_], count: int) -> NDArray[np.float32]:
        """(B, I) float32 scores as of `scores`, -inf for items that are not allowed (B, I).

        Args:
            histories: B lists. allowed: what may be shown. count: how many of the best have to be right; of the others
                a search may say only that they are allowed.
        """
        return np.where(allowed, self.scores(histories), np.float32(-np.inf))

    @classmethod
    def files(cls, path: Path) -> tuple[Path, ...]:
        """What `save` writes for such a path."""
        return (path,)

    def save(self, path: Path) -> None:
        """Keep what was learned in a file, and in others beside it, as `files` says.

        Raises:
            NotImplementedError: it cannot be kept, and so is no agent in sessions.
        """
        raise NotImplementedError(f"{type(self).__name__} has no save(path) and load(path), which sessions need")

    def load(self, path: Path) -> None:
        """Take back what `save` kept; nothing in the files is executed.

        Raises:
            Exception: of many kinds, where the files are damaged, missing or of something else.
        """
        raise NotImplementedError(f"{type(self).__name__} has no save(path) and load(path), which sessions need")

    def same_code(self) -> NDArray[np.int64] | None:
        """(I,) int64 from 0, the same for items whose codes are the same; None for rows without codes."""
        return None

    def measure(self, train: Lists, validation: Cases) -> tuple[int, float]:
        """How many parameters it has, and how many seconds an epoch takes, measured on a few steps; 0 without epochs.

        What was fitted before is lost.
        """
        return 0, 0.0

    def about(self) -> dict[str, Any]:
        """Its settings, as JSON can hold them."""
        return asdict(self.settings)


class Follower(ABC):
    """A row that has read a list in each of S slots, and goes on from there: scores differ from those of the row by
    rounding alone."""

    @abstractmethod
    def scores(self, slots: NDArray[np.int64], histories: Lists) -> NDArray[np.float32]:
        """(B, I) float32 as `NextItem.scores`; slots: (B,), each once, in which B lists of one item or more are."""

    def within(
        self, slots: NDArray[np.int64], histories: Lists, allowed: NDArray[np.bool_], count: int
    ) -> NDArray[np.float32]:
        """(B, I) float32 as `NextItem.within`; slots as in `scores`."""
        return np.where(allowed, self.scores(slots, histories), np.float32(-np.inf))

    def forget(self, slots: NDArray[np.int64]) -> None:  # noqa: B027
        """Called when sessions of others begin in slots (B,): what was read there is not gone on with."""
