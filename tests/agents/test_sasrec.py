"""Next-item ranking: a planted order is learned, training repeats and goes on, and the agent reads what it should."""

import pickle
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from lerl.agents import sasrec
from lerl.agents.base import TaskSpec
from lerl.agents.hierarchical import Hierarchy
from lerl.agents.learners.checkpoint import write_weights
from lerl.agents.next_item.agent import NextItemAgent, clicked
from lerl.agents.sasrec import LENGTH, SASRec, SessionSASRec, fit_sasrec, load_sasrec
from lerl.envs.config import Leave
from lerl.envs.population import Population
from lerl.envs.session import SessionVectorEnv

ITEMS = 60
Sequences = list[NDArray[np.int64]]


def in_order(users: int, seed: int) -> Sequences:
    """Users who go through the items of one residue modulo 3 in a fixed order, from anywhere, 4 to 12 of them."""
    draw = np.random.default_rng(seed)
    order = np.random.default_rng(0).permutation(ITEMS // 3)
    given = []
    for _ in range(users):
        first, count = draw.integers(ITEMS // 3), draw.integers(4, 13)
        given.append(3 * order[(first + np.arange(count)) % len(order)] + draw.integers(3))
    return given


@pytest.fixture(scope="module")
def network() -> SASRec:
    return fit_sasrec(in_order(500, 1), ITEMS, 32, 5e-3, seed=0)


def padded(sequences: Sequence[Any]) -> NDArray[np.int64]:
    return np.array([[*one, *[-1] * (LENGTH - len(one))] for one in sequences])


def ranked(network: SASRec, sequences: Sequence[Any]) -> NDArray[np.int64]:
    """Items (N, I), the likeliest to come next first."""
    return np.argsort(-network.queries(padded(sequences)) @ network.vectors().T, axis=1)


def test_a_planted_order_is_predicted_far_above_popularity(network: SASRec):
    """Every item is clicked about equally often, so that popularity finds the next one among 60 once in 60 times."""
    others = in_order(200, 2)
    first = ranked(network, [one[:-1] for one in others])[:, 0]
    assert (first == [one[-1] for one in others]).mean() > 0.9
    counts = np.bincount(np.concatenate(in_order(500, 1)), minlength=ITEMS)
    assert (counts.argmax() == np.array([one[-1] for one in others])).mean() < 0.1


def test_what_lies_behind_the_newest_item_is_not_read(network: SASRec):
    long, short = padded([[3, 6, 9, 12]]), padded([[3, 6]])
    states = [network(torch.from_numpy(one)) for one in (long, short)]
    torch.testing.assert_close(states[0][:, :3], states[1][:, :3])
    assert not torch.allclose(states[0][:, 3], states[1][:, 3])


def test_scores_of_vectors_are_those_of_the_network(network: SASRec):
    sequences = padded([[0, 3], [], [7]])
    with torch.no_grad():
        states = network(torch.from_numpy(sequences))[torch.arange(3), torch.tensor([2, 0, 1])]
        scores = network.scores(states).numpy()
    np.testing.assert_allclose(network.queries(sequences) @ network.vectors().T, scores, rtol=1e-4, atol=1e-4)


def weights(network: SASRec) -> NDArray[np.float32]:
    return torch.cat([value.flatten() for value in network.state_dict().values()]).numpy()


def test_the_same_seed_gives_the_same_network_also_after_an_interruption(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sasrec, "EPOCHS", 4)

    def fit(seed: int, **options: Any) -> Any:
        return weights(fit_sasrec(in_order(60, 1), ITEMS, 8, 1e-2, seed=seed, **options))

    def stop(done: int, total: int, newest: str) -> None:
        assert total == 4
        assert newest.startswith("log loss ")
        if done == 2:
            raise KeyboardInterrupt

    whole = fit(0)
    with pytest.raises(KeyboardInterrupt):
        fit(0, checkpoint=tmp_path / "one.pt", report=stop)
    epochs: list[int] = []
    again = fit(0, checkpoint=tmp_path / "one.pt", report=lambda done, *_: epochs.append(done))
    assert epochs == [3, 4]
    np.testing.assert_array_equal(again, whole)
    other = fit(1, checkpoint=tmp_path / "one.pt")  # a checkpoint of another training is as good as none
    np.testing.assert_array_equal(other, fit(1))
    assert np.abs(other - whole).max() > 1e-3


def test_training_stops_when_users_set_aside_are_told_no_better(monkeypatch: pytest.MonkeyPatch):
    """Of users who click at random nothing is to be learned but how often; what is best of them is kept."""
    losses: list[float] = []
    draw = np.random.default_rng(0)
    noise = [draw.permutation(ITEMS)[:8] for _ in range(100)]
    fitted = fit_sasrec(
        noise, ITEMS, 16, 1e-2, seed=0, report=lambda done, total, newest: losses.append(float(newest[9:]))
    )
    assert len(losses) < 20
    assert int(np.argmin(losses)) == len(losses) - 1 - sasrec.STALE_EPOCHS
    kept: list[float] = []
    monkeypatch.setattr(sasrec, "EPOCHS", int(np.argmin(losses)) + 1)
    best = fit_sasrec(noise, ITEMS, 16, 1e-2, seed=0, report=lambda *given: kept.append(given[0]))
    np.testing.assert_array_equal(weights(fitted), weights(best))


def test_long_histories_are_learned_from_in_pieces_that_end_with_the_newest():
    pieces = sasrec._pieces([np.arange(120), np.arange(3)])
    assert [row[row >= 0].tolist() for row in pieces] == [
        list(range(70, 120)), list(range(20, 70)), list(range(20)), [0, 1, 2],
    ]  # fmt: skip


def test_clicks_alone_are_learned_from():
    known = np.array([[5, 1], [3, 0], [4, 1]], np.int32)
    assert [one.tolist() for one in clicked([known, known[1:2]])] == [[5, 4], []]
    with pytest.raises(ValueError, match="only 1 of them clicked"):
        fit_sasrec(clicked([known, known[1:2]]), 6, 8, 1e-3, seed=0)


def test_a_network_kept_on_disk_is_the_same(network: SASRec, tmp_path: Path):
    write_weights(network, tmp_path / "network.pt")
    again = load_sasrec(tmp_path / "network.pt", ITEMS, 32)
    sequences = padded(in_order(20, 3))
    np.testing.assert_array_equal(again.queries(sequences), network.queries(sequences))


class Harm:
    """A pickle that would leave a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_loading_executes_nothing(tmp_path: Path):
    torch.save({"item.weight": Harm(tmp_path / "harm")}, tmp_path / "network.pt")
    with pytest.raises(pickle.UnpicklingError):
        load_sasrec(tmp_path / "network.pt", ITEMS, 32)
    assert not (tmp_path / "harm").exists()


# the agent


@pytest.fixture
def meet(
    task: TaskSpec, network: SASRec, make_env: Callable[..., SessionVectorEnv], tmp_path: Path
) -> Callable[..., tuple[NextItemAgent, Any, Any]]:
    """An agent, and users whose sessions have begun, with what is known of them."""
    write_weights(network, tmp_path / "network.pt")
    row = SessionSASRec(ITEMS, SessionSASRec.sized(32, 5e-3))
    row.load(tmp_path / "network.pt")

    def made(known: Sequence[Any], diversity: float = 0.0) -> tuple[NextItemAgent, Any, Any]:
        env = make_env(len(known), leave=Leave("never"))
        agent = NextItemAgent(Hierarchy(task, len(known), diversity=diversity), row)
        observation, _ = env.reset(seed=0)
        rows = np.arange(len(known))
        agent.recall(rows, [np.array([(item, 1) for item in items], np.int32).reshape(-1, 2) for items in known])
        agent.begin(rows, observation, rows.astype(np.uint64))
        return agent, env, observation

    return made


def test_it_shows_what_comes_next_after_what_is_known_and_what_was_liked_since(meet: Any, network: SASRec):
    known: list[list[int]] = [[0, 3, 6], [], [1, 4], list(range(59, 1, -1))]
    agent, env, observation = meet(known)
    past = [list(one) for one in known]
    shown: list[list[int]] = [[] for _ in known]
    for _ in range(6):
        slates = agent.act(observation)
        order = ranked(network, [one[-LENGTH:] for one in past])
        for row, items in enumerate(shown):
            assert slates[row].tolist() == [item for item in order[row] if item not in items][:3]
            items += slates[row].tolist()
        observation, *_ = env.step(slates)
        for row, slate in enumerate(slates):
            answers = observation["recent_feedback"][row, -3:]
            past[row] += [item for item, click in zip(slate.tolist(), answers, strict=True) if click >= 0.5]
    assert past != known


def test_a_slot_forgets_the_user_before(meet: Any):
    known = np.array([[0, 1], [3, 1]], np.int32)
    agent, env, observation = meet([[0, 3, 6], [9]])
    env.step(agent.act(observation))
    observation, _ = env.reset(options={"reset_mask": np.array([True, False])})
    agent.recall(np.array([0]), [known])
    agent.begin(np.array([0]), observation, np.array([7], np.uint64))
    fresh, _, first = meet([[0, 3], [9]])
    np.testing.assert_array_equal(agent.act(observation)[0], fresh.act(first)[0])


def test_a_weight_makes_slates_more_diverse(meet: Any, task: TaskSpec):
    vectors = task.knowledge.item_vectors[:, :-1]
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    likeness = []
    for weight in (0.0, 10.0):
        agent, _, observation = meet([[0, 3, 6], [1], [2, 5], []], weight)
        slates = agent.act(observation)
        assert all(len(set(slate)) == 3 for slate in slates.tolist())
        likeness.append(np.mean([(units[slate] @ units[slate].T)[np.triu_indices(3, 1)].mean() for slate in slates]))
    assert likeness[1] < likeness[0]


def test_what_is_known_of_users_comes_in_order_and_from_them_alone(population: Population):
    rows = [[2, 7, 1], [0, 5, 0], [2, 1, 0], [0, 9, 1], [2, 7, 1]]
    few = replace(population, history=np.array(rows, np.int32))
    known = few.known(np.array([2, 1, 0]))
    assert [one.tolist() for one in known] == [[[7, 1], [1, 0], [7, 1]], [], [[5, 0], [9, 1]]]
