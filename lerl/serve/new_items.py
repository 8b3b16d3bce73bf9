"""Items that came after training: where they stand among those that were there, by categories or by a vector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lerl.agents.belief.model import UserModel
from lerl.envs.catalog import Axis, Catalog
from lerl.envs.population import Knowledge, Truth
from lerl.envs.topics import unit_rows
from lerl.run.artifacts import ArtifactStore
from lerl.run.task import Task


class NewItem(NamedTuple):
    """One item.

    Attributes:
        id: the shop's. categories: names of the catalog's; if empty, those of the most similar item.
        vector: (D - 1,) or (D,) of the agents' space, the last the offset in log-odds; the mean of its categories'
            items where None.
    """

    id: str
    categories: tuple[str, ...] = ()
    vector: tuple[float, ...] | None = None


class NewItemError(ValueError):
    """An item that cannot be added; the message says why, and what is allowed."""


def read_items(given: Mapping[str, Sequence[Any]]) -> list[NewItem]:
    """Items by id: names of categories, or the numbers of a vector."""
    items = []
    for identifier, about in given.items():
        words = all(isinstance(one, str) for one in about)
        if not len(about) or isinstance(about, str):
            raise NewItemError(f"item {identifier!r} needs categories or a vector, given {about!r}")
        items.append(NewItem(identifier, tuple(about)) if words else NewItem(identifier, (), tuple(map(float, about))))
    return items


def as_kept(one: Sequence[Any]) -> NewItem:
    """An item as a store keeps it, in JSON."""
    identifier, categories, vector = one
    return NewItem(identifier, tuple(categories), None if vector is None else tuple(vector))


def fresh_items(task: Task, added: Sequence[NewItem], given: Sequence[NewItem]) -> list[NewItem]:
    """Those of the given items that are new.

    Args:
        task: as it was trained. added: since. given: perhaps there already.

    Raises:
        NewItemError: an id that is there already, with other categories or another vector.
    """
    catalog, since = task.population.catalog, {item.id: item for item in added}
    trained = {identifier: number for number, identifier in enumerate(catalog.item_ids)}
    fresh = []
    for item in given:
        if item.id in trained:
            number = trained[item.id]
            vector = task.population.knowledge.item_vectors[number]
            names = [catalog.categories.names[c] for c in np.flatnonzero(catalog.categories.membership[number])]
            same = set(item.categories) == set(names) if item.vector is None else _equal(item.vector, vector)
        elif item.id in since:
            other = since[item.id]
            same = set(item.categories) == set(other.categories) and item.vector == other.vector
        else:
            fresh.append(item)
            continue
        if not same:
            raise NewItemError(
                f"item {item.id!r} is in the catalog already, with other categories or another vector, and an item "
                "cannot be changed; give it as it was, or under another id"
            )
    return fresh


def _equal(given: Sequence[float], known: NDArray[np.float32]) -> bool:
    """Whether a vector, with an offset or without, is one (D,) of the catalog's."""
    return len(given) >= len(known) - 1 and np.array_equal(np.array(given, np.float32), known[: len(given)])


class Growth:
    """A task with more items, n of them new.

    Args:
        task: as it was trained. items: the new ones, in the order in which they came.

    Attributes:
        task: with them. like: (n,) which known item each is most like: the groups of what has no categories, and what
            was learned of items, come from there.

    Raises:
        NewItemError: a category that is not there, or a vector of another length.
    """

    def __init__(self, task: Task, items: Sequence[NewItem]) -> None:
        self._known = known = task.population.knowledge
        catalog = task.population.catalog
        self._vectors = np.array([self._vector(catalog, item) for item in items], np.float32)
        units = unit_rows(known.item_vectors[:, :-1])
        self.like: NDArray[np.int64] = np.argmax(unit_rows(self._vectors[:, :-1]) @ units.T, axis=1)
        self.task = self._grown(task, items)

    def _vector(self, catalog: Catalog, item: NewItem) -> NDArray[np.float32]:
        vectors, names = self._known.item_vectors, catalog.categories.names
        unknown = [name for name in item.categories if name not in names]
        if unknown:
            raise NewItemError(f"item {item.id!r} has category {unknown[0]!r}, the catalog's are {', '.join(names)}")
        if item.vector is None:
            rows = catalog.categories.membership[:, [names.index(name) for name in item.categories]].any(axis=1)
            if not rows.any():
                raise NewItemError(f"item {item.id!r} is in categories without items, so give it a vector")
            return np.asarray(vectors[rows].mean(axis=0), np.float32)
        width = vectors.shape[1]
        whole = np.array(item.vector, np.float32)
        if len(whole) not in (width - 1, width) or not np.isfinite(whole).all():
            raise NewItemError(
                f"item {item.id!r} needs a vector of {width - 1} finite numbers, or {width} with an offset, given "
                f"{len(item.vector)}"
            )
        return whole if len(whole) == width else np.append(whole, vectors[:, -1].mean()).astype(np.float32)

    def _grown(self, task: Task, items: Sequence[NewItem]) -> Task:
        people, like = task.population, self.like
        catalog, known, truth = people.catalog, people.knowledge, people.truth
        names = catalog.categories.names
        own = np.array([[name in item.categories for name in names] for item in items], bool)
        own = np.where(own.any(axis=1, keepdims=True), own, catalog.categories.membership[like])
        axis = Axis(task.axis.names, np.concatenate([task.axis.membership, task.axis.membership[like]]))
        if task.axis is catalog.categories:
            axis = Axis(names, np.concatenate([catalog.categories.membership, own]))
        ids = tuple(item.id for item in items)
        popularity = np.append(known.popularity, np.full(len(items), known.popularity.min()))
        grown = replace(
            people,
            catalog=Catalog(
                catalog.item_ids + ids,
                catalog.titles + ids,
                Axis(names, np.concatenate([catalog.categories.membership, own])),
            ),
            knowledge=Knowledge(
                np.concatenate([known.item_vectors, self._vectors]),
                known.tastes,
                known.user_offsets,
                (popularity / popularity.sum()).astype(np.float32),
            ),
            truth=Truth(
                np.concatenate([truth.item_vectors, truth.item_vectors[like]]),
                np.concatenate([truth.item_offsets, truth.item_offsets[like]]),
                truth.user_vectors,
                truth.user_offsets,
            ),
            dense=None,
            kinds=None,
            response=None,
            collective=None,
        )
        return replace(task, population=grown, axis=axis)

    def model(self, model: UserModel) -> UserModel:
        """What was learned of people and items, with the new ones: as known, shifted as items were in the mean."""
        vectors, offsets = self._vectors[:, :-1], self._vectors[:, -1]
        shift = float((model.offsets - self._known.item_vectors[:, -1]).mean())
        like: dict[str, Any] = {
            name: np.concatenate([getattr(model, name), getattr(model, name)[self.like]])
            for name in ("fills", "suffers", "doubts", "groups")
        }
        return model._replace(
            vectors=np.ascontiguousarray(np.concatenate([model.vectors, vectors])),
            offsets=np.concatenate([model.offsets, offsets + np.float32(shift)]).astype(np.float32),
            units=np.concatenate([model.units, unit_rows(vectors)]),
            **like,
        )


class GrownStore(ArtifactStore):
    """A run's fitted parts, for a catalog that has grown since.

    Args:
        store: the run's. growth: since then.
    """

    def __init__(self, store: ArtifactStore, growth: Growth) -> None:
        super().__init__(store.folder, store.how)
        self._growth = growth

    def load_belief(self, items: int, dim: int, early: bool = False) -> UserModel:
        """What was learned of people and items, the new ones included."""
        return self._growth.model(super().load_belief(items - len(self._growth.like), dim, early))
