"""The row between agents and the ceiling: knows the rules and the items, but not the person."""

import numpy as np
from numpy.typing import NDArray

from lerl.agents.base import Agent, Observation, Pause, TaskSpec
from lerl.agents.belief.agent import BeliefAgent, homes
from lerl.agents.belief.model import UserModel
from lerl.envs import dynamics
from lerl.envs.config import Drift
from lerl.envs.population import Population
from lerl.envs.session import SessionVectorEnv
from lerl.envs.simulator import UserSimulator

Floats = NDArray[np.float64]
NOTHING_LEFT = 1e300
"""-log of the boredom that a gap leaves where none lasts: not infinite, which times a gap of 0 is no number."""


class InformedAgent(Agent):
    """About what learning could reach: told items, topics and strengths as they are, it has to find out who is there.

    It is `BeliefAgent` with the simulator's own rules in the place of a learned model. What it expects of a new user
    is the true taste by linear regression on the known one, over the training users, and as uncertain as that leaves
    it. A taste drifts, but returns to nothing: it would to where it began, which is not what is known of it. Moods,
    likeness within a slate and why people leave are no part of its model. What privileged reaches beyond it is what
    knowing the person, and looking ahead, is worth; it is no bound.
    """

    def __init__(self, task: TaskSpec, count: int) -> None:
        self.task, self.count = task, count
        self._agent: BeliefAgent | None = None
        self._expected = np.zeros((0, 0))

    def watch(self, env: SessionVectorEnv) -> None:
        """Be given the users' environment, and read its rules, not its users.

        Raises:
            ValueError: users are not made of tastes and item vectors.
        """
        simulator = env.simulator
        if simulator.config.response != "latent":
            raise ValueError(
                f"the agent informed reads the rules of users made of tastes and item vectors, and env.response is "
                f"{simulator.config.response!r}; set that to 'latent', or leave informed out of agents"
            )
        self._expected, left = expected_tastes(simulator.population)
        self._agent = BeliefAgent(self.task, self.count, true_model(simulator, left))
        wander, rest, drift = simulator.config.return_.wander, simulator.config.return_.rest, simulator.config.drift
        self._agent.drifts = (wander.noise / drift.noise) ** 2 if wander.enabled and drift.noise > 0 else 0.0
        self._agent.fades = 1.0 / rest.boredom_fades if rest.enabled else NOTHING_LEFT

    def begin(self, rows: NDArray[np.int64], observation: Observation, keys: NDArray[np.uint64]) -> None:
        """New sessions in these slots."""
        known = homes(observation["taste"][rows], observation["taste_offset"][rows])
        self._watching.start(rows, np.column_stack([known, np.ones(len(rows))]) @ self._expected, keys)

    def begin_again(
        self, rows: NDArray[np.int64], observation: Observation, keys: NDArray[np.uint64], pause: Pause
    ) -> None:
        """The people in these slots are back; what fades, and how fast, it is told."""
        self._watching.begin_again(rows, observation, keys, pause)

    def attend(self, live: NDArray[np.bool_]) -> None:
        """Choose for these slots (B,) only."""
        self._watching.attend(live)

    def withhold(self, items: NDArray[np.int32]) -> None:
        """Leave these items (n,) out of slates until the next call."""
        self._watching.withhold(items)

    def act(self, observation: Observation) -> NDArray[np.int32]:
        """Slates (B, k)."""
        return self._watching.act(observation)

    @property
    def _watching(self) -> BeliefAgent:
        if self._agent is None:
            raise ValueError("the agent informed must watch an environment before it acts; call watch(env)")
        return self._agent


def expected_tastes(population: Population) -> tuple[Floats, Floats]:
    """Coefficients (d' + 2, d + 1) of true taste and level on known taste, level and 1; covariance of what is left."""
    users, known, truth = population.users("train"), population.knowledge, population.truth
    given = np.column_stack([homes(known.tastes[users], known.user_offsets[users]), np.ones(len(users))])
    wanted = np.column_stack([truth.user_vectors[users], truth.user_offsets[users]]).astype(np.float64)
    coefficients = np.asarray(np.linalg.lstsq(given, wanted, rcond=None)[0], np.float64)
    left = wanted - given @ coefficients
    return coefficients, left.T @ left / len(users) + 1e-6 * np.eye(left.shape[1])


def true_model(simulator: UserSimulator, spread: Floats) -> UserModel:
    """The simulator's rules as a model; `spread` (d + 1, d + 1) is what is not known of a new user."""
    truth, config, topics = simulator.population.truth, simulator.config, simulator.topics
    fills = np.zeros((len(topics), simulator.topic_count), np.float32)
    for column in topics.T:
        fills[np.flatnonzero(column >= 0), column[column >= 0]] = 1.0
    rates, drift = dynamics.rates(config), config.drift
    return UserModel(
        truth.item_vectors.copy(),
        truth.item_offsets.copy(),
        fills,
        fills / np.maximum(fills.sum(axis=1, keepdims=True), 1),
        spread,
        _noise(drift, truth.user_vectors[simulator.population.users("train")].astype(np.float64)),
        rates.boredom.weight if rates.boredom.enabled else 0.0,
        rates.boredom.keep,
        rates.fatigue.weight if rates.fatigue.enabled else 0.0,
        rates.fatigue.share,
        0.0,  # a taste returns to where it began, and what is known of the user is not where that was
    )


def _noise(drift: Drift, tastes: Floats) -> Floats:
    """Covariance (d + 1, d + 1) that a step adds: the random move, and shifts, roughly: taste follows by `revert`."""
    dim = tastes.shape[1]
    noise = np.zeros((dim + 1, dim + 1))
    if drift.enabled:
        length = (tastes**2).sum(axis=1).mean()
        shift = drift.shift_probability * drift.shift_size**2 * 2 * np.cov(tastes.T).reshape(dim, dim)
        noise[:dim, :dim] = drift.noise**2 * length / dim * np.eye(dim) + drift.revert * shift
    return noise
