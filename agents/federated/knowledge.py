"""From learned vectors to what agents may know: each person's taste and the scale of log-odds, found on the clients.

A person's vector is solved on the person's own device. The four numbers that turn scores into log-odds (of the score,
the item's offset and the person's offset, and one for all) are a logistic regression on interactions that were kept
from the rounds, by Newton's method: a client sends a gradient and a curvature, 20 numbers in each of NEWTON rounds.
"""

import io
import json
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from shlex import quote
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from lerl.agents.federated.clients import ClientError, Clients, tastes
from lerl.agents.federated.fit import Federated
from lerl.envs.files import write_whole
from lerl.envs.population import Knowledge, Population
from lerl.envs.schema import DataError, held_out
from lerl.envs.store import KNOWLEDGE_FILE, MissingDataError

Doubles = NDArray[np.float64]
Ints = NDArray[np.int64]

NEWTON = 8
"""Rounds in which the scale of log-odds is found."""

PRIOR = 5.0
"""Interactions at even odds that a person's offset is held by."""


@dataclass(frozen=True)
class Curvature:
    """What a client sends for the scale of log-odds.

    Attributes:
        gradient: (4,) float64. curvature: (4, 4) float64.
    """

    gradient: Doubles
    curvature: Doubles


@dataclass(frozen=True)
class Learned:
    """What a file of learned knowledge holds: nothing of any person.

    Attributes:
        item_vectors: (I, W + 1) float32, the last number an offset. popularity: (I,) float32, sums to 1.
        scale: (4,) float64, of the score, the item's and the person's offset, and for all. about: how it was made.
    """

    item_vectors: NDArray[np.float32]
    popularity: NDArray[np.float32]
    scale: Doubles
    about: dict[str, Any]

    def save(self, path: Path) -> None:
        """Write it to a file, whole or not at all."""
        stream = io.BytesIO()
        about = np.frombuffer(json.dumps(self.about, sort_keys=True).encode(), np.uint8)
        np.savez(
            stream, item_vectors=self.item_vectors, popularity=self.popularity, scale=self.scale, about=about,
        )  # fmt: skip
        write_whole(path, stream.getvalue())

    @staticmethod
    def load(path: Path) -> "Learned":
        """What `save` wrote; reading executes nothing from the file.

        Raises:
            ValueError: the file is damaged, or holds something else. OSError: it is missing.
        """
        try:
            with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as kept:
                about = json.loads(kept["about"].tobytes())
                return Learned(kept["item_vectors"], kept["popularity"], kept["scale"], dict(about))
        except (ValueError, KeyError, TypeError, EOFError, BadZipFile) as error:
            raise ValueError("it is damaged, or holds something else") from error

    def knowledge(self, population: Population) -> Knowledge:
        """What agents may know of a population: its users' tastes are solved from what is known of each.

        Raises:
            ValueError: it was learned of other items, or from other interactions.
        """
        if self.about.get("learned_of") != digest(population):
            raise ValueError("it was learned of other items or users than the folder holds now")
        of_score, of_item, of_user, constant = self.scale
        own, offsets = _people(population, self.item_vectors.astype(np.float64))
        ones = np.ones((len(own), 1))
        items = self.item_vectors * np.append(np.ones(self.item_vectors.shape[1] - 1), of_item)
        return Knowledge(
            items.astype(np.float32),
            np.hstack([of_score * own, ones]).astype(np.float32),
            (of_user * offsets + constant).astype(np.float32),
            self.popularity,
        )


def with_federated(population: Population, folder: Path) -> Population:
    """The population whose agents know what `lerl fit --knowledge federated` learned; its users stay as they are.

    Raises:
        MissingDataError: nothing was learned in the folder.
        DataError: the file is damaged, or of other items.
    """
    path = folder / KNOWLEDGE_FILE
    again = f"`lerl fit {quote(str(folder))} --knowledge federated`"
    if not path.is_file():
        raise MissingDataError(f"data.knowledge is federated, and {path} is not there; make it with {again}")
    try:
        return replace(population, knowledge=Learned.load(path).knowledge(population))
    except ValueError as error:
        raise DataError(f"{path} cannot be used ({error}); make it again with {again}") from error


def digest(population: Population) -> str:
    """A name of what is learned from: a population's items, what is known of its users, and who of them are clients."""
    parts = [repr(population.catalog.item_ids).encode(), population.history.tobytes(), population.training.tobytes()]
    return blake2b(b"".join(parts), digest_size=16).hexdigest()


def clients_of(population: Population) -> Clients:
    """The training users as clients, without the interactions that are kept from the rounds.

    Raises:
        ClientError: none of them has an interaction.
    """
    rows = population.history[population.training[population.history[:, 0]] & ~_kept(population)]
    if not len(rows):
        raise ClientError(
            f"no training user of {population.name} has an interaction in the half of the log that agents know; a "
            "federation needs some: prepare a log with more interactions, without --dense"
        )
    users, items, clicked = rows.T.astype(np.int64)
    return Clients.of(users, items, clicked.astype(np.float64), len(population.catalog))


def learned(found: Federated, population: Population, about: dict[str, Any]) -> Learned:
    """What agents may know from what a federation found."""
    vectors = found.vectors.astype(np.float32)
    clicks = found.met * len(clients_of(population)) / (1.0 + np.exp(-vectors[:, -1].astype(np.float64))) + 1.0
    popularity = (clicks / clicks.sum()).astype(np.float32)
    return Learned(
        vectors, popularity, _scale(population, vectors.astype(np.float64)), about | {"learned_of": digest(population)}
    )


def _kept(population: Population) -> NDArray[np.bool_]:
    """(N,) which of the known interactions are kept from the rounds."""
    return held_out(population.history[:, 0].astype(np.int64), population.history[:, 1].astype(np.int64))


def _people(population: Population, vectors: Doubles) -> tuple[Doubles, Doubles]:
    """(U, W) each user's own vector and (U,) offset, zeros for a user of whom nothing is known."""
    rows = population.history[~_kept(population)].astype(np.int64)
    own, offsets = np.zeros((len(population.training), vectors.shape[1] - 1)), np.zeros(len(population.training))
    if len(rows):
        clients = Clients.of(rows[:, 0], rows[:, 1], rows[:, 2].astype(np.float64), len(vectors))
        there = np.unique(rows[:, 0])
        own[there] = tastes(clients, vectors)
        clicks, met = np.bincount(rows[:, 0], rows[:, 2], len(offsets)), np.bincount(rows[:, 0], minlength=len(offsets))
        share = (clicks + PRIOR / 2) / (met + PRIOR)
        offsets = np.log(share) - np.log1p(-share)
    return own, offsets


def _scale(population: Population, vectors: Doubles) -> Doubles:
    """(4,) the scale of log-odds, in rounds of Newton's method over training users."""
    own, offsets = _people(population, vectors)
    rows = population.history[population.training[population.history[:, 0]] & _kept(population)].astype(np.int64)
    if not len(rows) or len(np.unique(rows[:, 2])) < 2:
        raise ClientError(
            "too few interactions are left to scale log-odds by: clicks and non-clicks are needed; use a larger log"
        )
    users, items, clicked = rows.T
    score = np.einsum("nd,nd->n", own[users], vectors[items, :-1])
    features = np.stack([score, vectors[items, -1], offsets[users], np.ones(len(rows))], axis=1)
    found = np.array([1.0, 1.0, 1.0, 0.0])
    parts = [np.flatnonzero(users == user) for user in np.unique(users)]
    for _ in range(NEWTON):
        messages = [_curvature(features[part], clicked[part], found) for part in parts]
        gradient = np.sum([message.gradient for message in messages], axis=0)
        curvature = np.sum([message.curvature for message in messages], axis=0) + 1e-6 * np.eye(4)
        found = found + np.linalg.solve(curvature, gradient)
    return np.asarray(found)


def _curvature(features: Doubles, clicked: Ints, scale: Doubles) -> Curvature:
    """What a client sends of its interactions (n, 4) that were kept."""
    chance = 1.0 / (1.0 + np.exp(-np.clip(features @ scale, -30.0, 30.0)))
    weighed = features * (chance * (1 - chance))[:, None]
    return Curvature(features.T @ (clicked - chance), features.T @ weighed)
