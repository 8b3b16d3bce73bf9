"""Federations of made-up clients: two kinds of people, each of whom likes one half of the items."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from lerl.agents.federated import clients as module
from lerl.agents.federated.clients import ClientError, Clients, Shared, answer, first_vectors, sum_answers, tastes
from lerl.agents.federated.fit import Faults, Plan, Rounds, fit_federated, sparse_bytes, upload
from lerl.agents.federated.judge import leave_one_out, ndcg
from lerl.agents.federated.messages import MessageError
from lerl.agents.federated.server import Adam, Robust, Round, Server, Table

ITEMS, SMALL = 40, Plan(rounds=12, levels=2, size=13, width=4)


@cache
def people(count: int = 60) -> Clients:
    draw = np.random.default_rng(0)
    users = np.repeat(np.arange(count), 16)
    items = np.concatenate([draw.permutation(ITEMS)[:16] for _ in range(count)])
    clicked = ((items % 2) == (users % 2)) != (draw.random(len(items)) < 0.1)
    return Clients.of(users, items, clicked.astype(float), ITEMS)


@cache
def words() -> np.ndarray:
    """Texts that tell the two halves apart, and a little of each item."""
    return np.column_stack([np.arange(ITEMS) % 2, np.random.default_rng(1).random((ITEMS, 3))]).astype(np.float32)


def told_apart(vectors: np.ndarray) -> float:
    """How much more people like their half of the items, in standard deviations."""
    scores = tastes(people(), vectors) @ vectors[:, :-1].T
    own = (np.arange(ITEMS)[None] % 2) == (np.arange(len(people()))[:, None] % 2)
    return float((scores[own].mean() - scores[~own].mean()) / scores.std())


@pytest.mark.parametrize(
    "plan",
    [SMALL, replace(SMALL, schedule="blend"), replace(SMALL, channels=("taste",)), replace(SMALL, mode="dense"),
     replace(SMALL, mode="sparse")],
)  # fmt: skip
def test_every_kind_of_federation_learns_what_people_like(plan: Plan) -> None:
    found = fit_federated(people(), words(), replace(plan, rounds=30))
    assert told_apart(first_vectors(ITEMS, 4, 0)) < 1.0 < told_apart(found.vectors)
    again = fit_federated(people(), words(), replace(plan, rounds=30))
    assert (found.vectors == again.vectors).all()
    assert (found.vectors != fit_federated(people(), words(), replace(plan, rounds=30, seed=1)).vectors).any()


def test_a_fixed_gate_gives_taste_its_share_of_all_rounds() -> None:
    rounds, kinds = Rounds(replace(SMALL, gate=0.5), words(), ITEMS), []
    for _ in range(6):
        rounds.ask()
        kinds.append(rounds._now)
        done = rounds.begin(1)
        done.receive_sum(np.zeros(done.shape), np.zeros(done.shape[0]), 1, 1)
        rounds.end(done)
    assert kinds == [0, 1, 0, 1, 0, 1]
    with pytest.raises(ValueError, match="gate must be from 0 to 1, given 2"):
        replace(SMALL, gate=2.0)


def test_one_code_for_each_item_is_dense() -> None:
    rounds = Rounds(replace(SMALL, mode="dense"), None, ITEMS)
    asked = rounds.ask()
    assert asked.sizes == (ITEMS,)
    own = Rounds(replace(SMALL, channels=("text",), levels=1, size=ITEMS, rate=0.1), None, ITEMS)
    draw = np.random.default_rng(2).permutation(ITEMS).astype(np.int16).reshape(-1, 1)
    own._tables[0] = Table(draw, (ITEMS,))
    for one in (rounds, own):
        if one is own:
            one.ask()
        for _ in range(5):
            done = one.begin(len(people()))
            shared = Shared.of(one.server.vectors, one._tables[0].rows, ITEMS)
            for client in range(len(people())):
                done.receive(client, answer(people(), client, shared).to_bytes())
            one.end(done)
            one.ask()
    assert np.abs(rounds.server.vectors - own.server.vectors).max() < 1e-6


def test_an_upload_is_the_gradient_of_the_loss_summed_by_code() -> None:
    """Against finite differences of the loss as it is written down."""
    vectors = np.random.default_rng(3).normal(0, 0.5, (ITEMS, 5))
    rows = np.column_stack([np.arange(ITEMS) % 7, 7 + np.arange(ITEMS) % 5])
    shared, client = Shared.of(vectors, rows, 12), 3
    own = tastes(people(), vectors)[client]
    met = slice(people().starts[client], people().starts[client + 1])
    items, clicked = people().items[met], people().clicked[met]

    def loss(at: np.ndarray) -> float:
        scores = at[:, :-1] @ own
        weights = np.full(ITEMS, module.UNMET)
        weights[items] = 1.0
        target = np.zeros(ITEMS)
        target[items] = clicked
        odds = at[items, -1]
        return float(0.5 * (weights * (target - scores) ** 2).sum() + (np.logaddexp(0, odds) - clicked * odds).sum())

    sent = answer(people(), client, shared)
    for row, column in ((0, 0), (3, 2), (8, 1), (11, 4)):
        step = np.zeros_like(vectors)
        step[(rows == row).any(axis=1), column] = 1e-5
        slope = (loss(vectors + step) - loss(vectors - step)) / 2e-5
        assert sent.codebooks[row, column] == pytest.approx(-slope, rel=1e-3, abs=1e-4)
    assert sent.counts[:7].sum() == len(items)


def test_sums_over_clients_are_those_of_their_messages_bit_for_bit() -> None:
    plain = fit_federated(people(), words(), SMALL)
    each = fit_federated(people(), words(), SMALL, faults=Faults())
    assert (plain.vectors == each.vectors).all()
    assert plain.upload == each.upload
    shared = Shared.of(first_vectors(ITEMS, 4, 0), np.arange(ITEMS).reshape(-1, 1), ITEMS)
    books, counts = sum_answers(people(), shared)
    assert counts.sum() == len(people().items)
    assert books.shape == (ITEMS, 5)


def test_bytes_depend_on_codes_alone() -> None:
    """With twice the items as with these, for codes; dense grows."""
    more = Clients(people().items, people().clicked, people().starts, 2 * ITEMS)
    text = np.vstack([words(), words() + 2])
    assert fit_federated(more, text, SMALL).upload == fit_federated(people(), words(), SMALL).upload == 12 + 4 * 26 * 6
    dense = replace(SMALL, mode="dense")
    assert fit_federated(more, text, dense).upload == 12 + 4 * 80 * 6


def test_rows_of_a_sparse_upload_are_items_and_every_code_changes_in_one_of_codes() -> None:
    shared = Shared.of(first_vectors(ITEMS, 4, 0), np.arange(ITEMS).reshape(-1, 1), ITEMS)
    sent = upload(people(), 0, shared, replace(SMALL, mode="sparse"), 0)
    touched, met = np.flatnonzero((sent.codebooks != 0).any(axis=1)), people().items[: people().starts[1]]
    assert set(met) <= set(touched)
    assert sparse_bytes(sent) == 8 + len(touched) * 4 * (1 + 5 + 1)
    rows = np.column_stack([np.arange(ITEMS) % 7, 7 + np.arange(ITEMS) % 5])
    codes = answer(people(), 0, Shared.of(first_vectors(ITEMS, 4, 0), rows, 12))
    assert (codes.codebooks[:, :-1] != 0).all()


def test_an_item_that_nobody_met_moves_with_its_codes() -> None:
    found = fit_federated(people().without(np.array([4, 5])), words(), replace(SMALL, channels=("text",), rounds=30))
    alike = found.vectors[:, :-1] / np.linalg.norm(found.vectors[:, :-1], axis=1, keepdims=True)
    own, other = alike[4] @ alike[0::2].mean(axis=0), alike[4] @ alike[1::2].mean(axis=0)
    assert own > other


def test_counts_tell_how_often_items_were_met() -> None:
    found = fit_federated(people(), words(), replace(SMALL, rounds=30))
    met = np.bincount(people().items, minlength=ITEMS)
    assert np.corrcoef(found.met, met)[0, 1] > 0.5


def test_clients_that_drop_out_send_garbage_or_repeat_are_survived() -> None:
    faults = Faults(dropped=0.3, garbage=0.2, repeated=0.2)
    found = fit_federated(people(), words(), replace(SMALL, rounds=30), faults=faults)
    assert told_apart(found.vectors) > 1.0
    assert 0.2 < found.missed / (30 * 60) < 0.4
    assert 0.1 < found.refused / (30 * 60) < 0.3
    assert 0.1 < found.repeated / (30 * 60) < 0.3


def test_a_round_in_which_nobody_comes_changes_nothing() -> None:
    found = fit_federated(people(), words(), SMALL, faults=Faults(dropped=1.0))
    assert (found.vectors == first_vectors(ITEMS, 4, 0)).all()
    assert found.missed == 12 * 60


@pytest.mark.parametrize("robust", ["capped", "trimmed", "median"])
def test_robust_means_withstand_a_client_that_shouts(robust: str) -> None:
    table = Table(np.arange(ITEMS, dtype=np.int16).reshape(-1, 1), (ITEMS,))
    vectors = first_vectors(ITEMS, 4, 0)
    shared = Shared.of(vectors, table.rows, ITEMS)
    sent = [answer(people(), client, shared) for client in range(60)]
    found = {}
    for name, kind in (("plain", "mean"), ("shouted", "mean"), (robust, robust)):
        done = Round(table, 5, kind, limit=float(np.median([np.linalg.norm(one.codebooks) for one in sent])))  # type: ignore[arg-type]
        for client, one in enumerate(sent):
            loud = replace(one, codebooks=one.codebooks * np.float32(1e4)) if client == 7 and name != "plain" else one
            done.receive(client, loud.to_bytes())
        books, weight = done.mean()
        found[name] = books / np.maximum(weight, 1e-9)[:, None]
    away = {name: np.abs(one - found["plain"]).max() for name, one in found.items()}
    assert away[robust] < away["shouted"] / 50


@pytest.mark.parametrize("robust", ["mean", "capped", "trimmed", "median"])
@pytest.mark.parametrize("count", [-1.0, 2.0, 1e30])
def test_a_client_with_counts_that_cannot_be_changes_nothing(robust: Robust, count: float) -> None:
    """Each item has a code of its own, so that each count is at most 1."""
    table = Table(np.arange(ITEMS, dtype=np.int16).reshape(-1, 1), (ITEMS,))
    shared = Shared.of(first_vectors(ITEMS, 4, 0), table.rows, ITEMS)
    rounds = [Round(table, 5, robust, limit=1.0) for _ in range(2)]
    for client in range(20):
        for done in rounds:
            assert done.receive(client, answer(people(), client, shared).to_bytes())
    honest = answer(people(), 20, shared)
    assert not rounds[1].receive(20, replace(honest, counts=np.full(ITEMS, count, np.float32)).to_bytes())
    assert (rounds[1].accepted, rounds[1].refused) == (20, 1)
    for one, other in zip(*(done.mean() for done in rounds), strict=True):
        assert (one == other).all()


def test_counts_with_noise_are_taken_and_an_item_met_again_counts_once() -> None:
    found = fit_federated(people(), words(), replace(SMALL, clip=1.0, noise=2.0))
    assert found.refused == 0
    again = Clients(np.array([3, 3, 5]), np.ones(3), np.array([0, 3]), ITEMS)
    shared = Shared.of(first_vectors(ITEMS, 4, 0), np.arange(ITEMS).reshape(-1, 1), ITEMS)
    assert np.flatnonzero(answer(again, 0, shared).counts).tolist() == [3, 5]
    assert answer(again, 0, shared).counts.max() == 1.0


def test_texts_that_are_all_the_same_have_codes_dealt_by_chance_and_other_errors_stay() -> None:
    same = np.ones((300, 3), np.float32)
    rounds = Rounds(replace(SMALL, size=26), same, 300)
    assert "dealt by chance: 300 items have the same digits" in rounds.notes[0]
    with pytest.raises(ValueError, match="size must be from 2"):
        Rounds(replace(SMALL, size=1), words(), ITEMS)


def test_a_second_message_of_a_client_counts_once_and_garbage_is_counted() -> None:
    table = Table(np.arange(ITEMS, dtype=np.int16).reshape(-1, 1), (ITEMS,))
    message = answer(people(), 0, Shared.of(first_vectors(ITEMS, 4, 0), table.rows, ITEMS)).to_bytes()
    done = Round(table, 5)
    assert done.receive(0, message)
    assert not done.receive(0, message)
    assert not done.receive(1, message[:-1])
    assert not done.receive(2, b"")
    assert (done.accepted, done.repeated, done.refused, done.bytes) == (1, 1, 2, len(message))


def test_a_code_that_nobody_used_keeps_its_value() -> None:
    steps = Adam(0.1, (2, 1)).step(np.array([[1.0], [0.0]]))
    assert steps[0, 0] == pytest.approx(0.1)
    assert steps[1, 0] == 0.0


def test_noise_cannot_be_drawn_again_from_the_seed() -> None:
    plan = replace(SMALL, clip=1.0, noise=2.0)
    one, other = (fit_federated(people(), words(), plan).vectors for _ in range(2))
    assert (one != other).any()
    same = [fit_federated(people(), words(), plan, noise=np.random.default_rng(5)).vectors for _ in range(2)]
    assert (same[0] == same[1]).all()
    cut = [fit_federated(people(), words(), replace(plan, noise=0.0)).vectors for _ in range(2)]
    assert (cut[0] == cut[1]).all()
    assert (cut[0] != one).any()


def test_without_words_codes_are_dealt_by_chance_and_that_is_said() -> None:
    found = fit_federated(people(), None, SMALL)
    assert "dealt to them by chance" in found.notes[0]


def test_bad_input_gets_one_clear_line() -> None:
    with pytest.raises(ClientError, match="no clients"):
        Clients(np.zeros(0, np.int64), np.zeros(0), np.zeros(1, np.int64), 3)
    with pytest.raises(ClientError, match=r"client 1 has no interactions \(1 such\)"):
        Clients(np.array([0, 1]), np.ones(2), np.array([0, 1, 1, 2]), 3)
    with pytest.raises(ClientError, match="below 2"):
        Clients(np.array([0, 2]), np.ones(2), np.array([0, 2]), 2)
    with pytest.raises(ValueError, match="noise needs a clip"):
        Plan(noise=1.0)
    with pytest.raises(ValueError, match="more levels or a larger size"):
        fit_federated(people(), words(), replace(SMALL, levels=1, size=8))
    with pytest.raises(MessageError, match="never sent"):
        Server(first_vectors(3, 2, 0)).device.receive(Rounds(SMALL, None, 3).ask().__class__(
            np.ones((2, 3), np.float32), 5, (2,), np.zeros((0, 1), np.int16)))  # fmt: skip


def test_clicks_are_kept_from_clients_and_ranked_among_all_items() -> None:
    split = leave_one_out(people(), 0)
    assert len(split.clients.items) == len(people().items) - 2 * len(split.judged)
    for place, client in enumerate(split.judged[:10]):
        own = split.clients.items[split.clients.starts[client] : split.clients.starts[client + 1]]
        assert split.test[place] not in own
        assert split.valid[place] not in own
    none = np.zeros((ITEMS, 3))
    left = ITEMS - 14
    expected = sum(1 / np.log2(place + 1) for place in range(1, 11)) / left  # any place, with the same chance
    assert ndcg(split, none).mean() == pytest.approx(expected)


def test_counts_of_several_tables_of_codes_give_a_client_away() -> None:
    """What the page warns of: no message names an item, and a server that keeps a client's messages finds them out."""
    found = np.ones(ITEMS, bool)
    met = people().items[: people().starts[1]]
    for seed in range(40):
        draw = np.random.default_rng(seed).integers(13, size=(ITEMS, 2))
        rows = draw + np.array([0, 13])
        counts = answer(people(), 0, Shared.of(first_vectors(ITEMS, 4, 0), rows, 26)).counts
        found &= (counts[rows] > 0).all(axis=1)
        assert found[met].all()
    assert set(np.flatnonzero(found)) == set(met)
