"""`lerl fit --knowledge federated --compare`: codes beside what is sent in full, what is collected, and controls."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lerl.agents.federated.clients import Clients
from lerl.agents.federated.fit import RATES, Plan, fit_federated
from lerl.agents.federated.judge import Split, by_scores, leave_one_out, ndcg
from lerl.agents.federated.knowledge import clients_of
from lerl.envs.draws import seed_from
from lerl.envs.store import OWN_LOGS, load_population
from lerl.users.federated import texts_of

Doubles = NDArray[np.float64]

GRID: Mapping[str, tuple[float, ...]] = {"codes": (0.01, 0.03, 0.1), "dense": (0.03, 0.1, 0.3), "sparse": (0.03, 0.1)}
"""Rates of which the one is taken that is best on validation items of the first seed, after TRIED rounds."""

TRIED = 40
"""Rounds, at most, of each rate that is tried."""

ALS = ((8, 30.0, 40.0), (16, 10.0, 10.0), (16, 30.0, 40.0), (32, 10.0, 10.0))
"""Width, shrinkage and confidence of the central factorisation that are tried."""

NEW = 0.1
"""Share of items that no client met, where new items are judged."""


@dataclass(frozen=True)
class Row:
    """A row of the table.

    Attributes:
        name: what it is. bytes: of an upload in a round, the mean; NaN where a log is collected.
        ndcg: (S, J) NDCG at 10 of each seed and client, whole ranking. rate: that was taken; NaN where there is none.
    """

    name: str
    bytes: float
    ndcg: tuple[Doubles, ...]
    rate: float

    @property
    def mean(self) -> float:
        """Over seeds and clients."""
        return float(np.mean([one.mean() for one in self.ndcg]))

    def share(self, other: "Row") -> tuple[float, float, float]:
        """The mean as a share of another row's, and its 95 % interval: paired, over clients and seeds, by the delta
        method."""
        own, theirs = np.concatenate(self.ndcg), np.concatenate(other.ndcg)
        ratio, left = own.mean() / theirs.mean(), own - own.mean() / theirs.mean() * theirs
        half = 1.96 * left.std() / np.sqrt(len(left)) / theirs.mean()
        return float(ratio), float(ratio - half), float(ratio + half)


def compare(
    folder: Path, plan: Plan, seeds: int, *, noisy: float = 0.0, say: Callable[[str], object] = print
) -> list[Row]:
    """Judge all rows on clicks that were kept from each client.

    Args:
        folder: as `lerl data prepare` or `import` left it. plan: of the codes; the others have its rounds and width.
            Where it is robust, clips or has noise, codes with and without that are compared, beside dense uploads.
        seeds: of splits, first vectors and codes. noisy: share of clients whose items are replaced by chance ones.
        say: told what is done.
    """
    population = load_population(folder, format=OWN_LOGS)
    text, _ = texts_of(population)
    clients = clients_of(population)
    splits = [_noisy(leave_one_out(clients, plan.seed + n), noisy, plan.seed + n) for n in range(seeds)]
    rows = [_popularity(splits), _central(splits, plan.seed)]
    wanted = _guarded(plan) if guarded(plan) else _wanted(plan, clients.catalog)
    rates = dict[str, float]()
    for name, (one, shuffle) in wanted.items():
        if one.mode not in rates:
            rates[one.mode] = _best_rate(splits[0], text, one)
        rows.append(_federated(name, splits, text, replace(one, rate=rates[one.mode]), shuffle))
        say(f"{name}: NDCG@10 {rows[-1].mean:.4f}")
    return rows


def guarded(plan: Plan) -> bool:
    """Whether uploads are averaged otherwise than by their mean, clipped, or given noise."""
    return plan.robust != "mean" or plan.clip > 0


def _guarded(plan: Plan) -> dict[str, tuple[Plan, bool]]:
    """Codes with and without what guards them, by the names of rows; and whether texts are shuffled."""
    plain, name = replace(plan, robust="mean", clip=0.0, noise=0.0), f"codes {plan.levels}x{plan.size}"
    words: list[str] = [plan.robust] if plan.robust != "mean" else []
    words += [f"clip {plan.clip:g}, noise {plan.noise:g}"] if plan.clip else []
    return {
        "dense": (replace(plain, mode="dense"), False),
        name: (plain, False),
        f"{name}, {', '.join(words)}": (plan, False),
    }


def _wanted(plan: Plan, catalog: int) -> dict[str, tuple[Plan, bool]]:
    """What is compared, by the names of rows; and whether texts are shuffled."""
    size = plan.size // 2 if (plan.size // 2) ** plan.levels >= 2 * catalog else plan.size
    half = replace(plan, size=size, schedule="blend")  # as many bytes as in turns, where so few codes will do
    return {
        "dense": (replace(plan, mode="dense"), False),
        "sparse": (replace(plan, mode="sparse"), False),
        f"codes {plan.levels}x{plan.size}, two channels in turns": (plan, False),
        f"codes {half.levels}x{half.size}, two channels blended": (half, False),
        "codes, taste in half of all rounds": (replace(plan, gate=0.5), False),
        "codes, taste alone": (replace(plan, channels=("taste",)), False),
        "codes, text alone": (replace(plan, channels=("text",)), False),
        "codes, shuffled text alone": (replace(plan, channels=("text",)), True),
    }


def compare_new(folder: Path, plan: Plan, seeds: int, *, say: Callable[[str], object] = print) -> list[Row]:
    """Judge codes of texts, and the same dealt by chance, on items that no client met, ranked among these.

    Args and result: see `compare`. A tenth of the items is new, drawn by the seed.
    """
    population = load_population(folder, format=OWN_LOGS)
    text, _ = texts_of(population)
    clients, rows = clients_of(population), list[Row]()
    drawn = [_new_items(clients, plan.seed + n) for n in range(seeds)]
    for name, one, shuffle in (
        ("new items: codes, two channels in turns", plan, False),
        ("new items: the same, text codes shuffled", plan, True),
        ("new items: codes, text alone", replace(plan, channels=("text",)), False),
        ("new items: the same, codes shuffled", replace(plan, channels=("text",)), True),
    ):
        judged, sizes = list[Doubles](), list[float]()
        for seed, (split, new) in enumerate(drawn):
            found = fit_federated(split.clients, text, replace(one, seed=plan.seed + seed), shuffle=shuffle)
            judged.append(ndcg(split, found.vectors, among=new))
            sizes.append(found.upload)
        rows.append(Row(name, float(np.mean(sizes)), tuple(judged), RATES["codes"]))
        say(f"{name}: NDCG@10 {rows[-1].mean:.4f}")
    return rows


def lines(rows: list[Row]) -> list[str]:
    """The table as text: bytes beside dense ones, NDCG beside that of dense with a 95 % interval, by seed."""
    whole = next((row for row in rows if row.name == "dense"), None)
    width = max(len(row.name) for row in rows)
    found = [f"{'':{width}}  bytes up  of dense  NDCG@10  of dense               by seed"]
    for row in rows:
        size = "       -         -" if np.isnan(row.bytes) else f"{row.bytes:8,.0f}"
        if not np.isnan(row.bytes):
            size += f"  {row.bytes / whole.bytes:8.1%}" if whole else "         -"
        of = f"{'-':>8}{'':15}"
        if whole:
            share, low, high = row.share(whole)
            of = f"{share:8.1%} " + f"[{low:.1%}, {high:.1%}]".ljust(16)
        found.append(
            f"{row.name:{width}}  {size}  {row.mean:7.4f}  {of}  {' '.join(f'{x.mean():.4f}' for x in row.ndcg)}"
        )
    return found


def as_json(rows: list[Row]) -> list[dict[str, Any]]:
    """The rows for programs; None where there is no number."""
    return [
        {
            "row": row.name,
            "upload_bytes": None if np.isnan(row.bytes) else row.bytes,
            "rate": None if np.isnan(row.rate) else row.rate,
            "ndcg": row.mean,
            "ndcg_by_seed": [float(one.mean()) for one in row.ndcg],
        }
        for row in rows
    ]


def _new_items(clients: Clients, seed: int) -> tuple[Split, NDArray[np.int64]]:
    """Clients without the items that are new, of whom those are judged who clicked one; and which are new."""
    draw = np.random.default_rng(seed_from(seed, "new items"))
    new = draw.random(clients.catalog) < NEW
    users = np.repeat(np.arange(len(clients)), np.diff(clients.starts))
    kept = ~new[clients.items]
    there = np.unique(users[kept])
    clicks = np.flatnonzero(~kept & (clients.clicked > 0) & np.isin(users, there))
    clicks = clicks[np.lexsort((draw.random(len(clicks)), users[clicks]))]
    owners, first = np.unique(users[clicks], return_index=True)
    if not len(owners):
        raise ValueError("no client clicked one of the items that were to be new; give a larger log")
    left = Clients.of(users[kept], clients.items[kept], clients.clicked[kept], clients.catalog)
    test = clients.items[clicks[first]]
    return Split(left, np.searchsorted(there, owners), test, test), np.flatnonzero(new)


def _federated(name: str, splits: list[Split], text: Any, plan: Plan, shuffle: bool) -> Row:
    found = [
        fit_federated(split.clients, text, replace(plan, seed=plan.seed + seed), shuffle=shuffle)
        for seed, split in enumerate(splits)
    ]
    judged = tuple(ndcg(split, one.vectors) for split, one in zip(splits, found, strict=True))
    return Row(name, float(np.mean([one.upload for one in found])), judged, float(plan.rate or 0))


def _best_rate(split: Split, text: Any, plan: Plan) -> float:
    short = replace(plan, rounds=min(plan.rounds, TRIED))

    def worth(rate: float) -> float:
        return float(
            ndcg(split, fit_federated(split.clients, text, replace(short, rate=rate)).vectors, valid=True).mean()
        )

    return max(GRID[plan.mode], key=worth)


def _popularity(splits: list[Split]) -> Row:
    found = []
    for split in splits:
        clicks = np.bincount(split.clients.items, split.clients.clicked, split.clients.catalog).astype(np.float64)
        found.append(by_scores(split, np.ones((len(split.judged), 1)), clicks[:, None]))
    return Row("popularity", np.nan, tuple(found), np.nan)


def _central(splits: list[Split], seed: int) -> Row:
    """The factorisation of a collected log, with the settings that are best on validation items of the first seed."""
    scores = [_als(splits[0], *settings, seed, True).mean() for settings in ALS]
    best = ALS[int(np.argmax(scores))]
    return Row("central factorisation", np.nan, tuple(_als(one, *best, seed, False) for one in splits), np.nan)


def _als(split: Split, width: int, shrink: float, confidence: float, seed: int, valid: bool) -> Doubles:
    from implicit.cpu.als import AlternatingLeastSquares
    from scipy.sparse import csr_matrix
    from threadpoolctl import threadpool_limits

    clients = split.clients
    values = np.where(clients.clicked > 0, confidence, -confidence).astype(np.float32)
    matrix = csr_matrix((values, clients.items, clients.starts), shape=(len(clients), clients.catalog))
    with threadpool_limits(1):
        als = AlternatingLeastSquares(
            factors=width, regularization=shrink, iterations=15, use_cg=False, random_state=seed, num_threads=1
        )
        als.fit(matrix, show_progress=False)
    return by_scores(split, als.user_factors[split.judged], als.item_factors, valid=valid)


def _noisy(split: Split, share: float, seed: int) -> Split:
    """The same where a share of clients has met other items than it says: each item is replaced by a chance one."""
    if not share:
        return split
    draw = np.random.default_rng(seed_from(seed, "noisy clients"))
    clients = split.clients
    bad = draw.random(len(clients)) < share
    rows = np.repeat(bad, np.diff(clients.starts))
    items = clients.items.copy()
    items[rows] = draw.integers(clients.catalog, size=int(rows.sum()))
    judged = ~bad[split.judged]
    spoiled = Clients(items, clients.clicked, clients.starts, clients.catalog)
    return Split(spoiled, split.judged[judged], split.test[judged], split.valid[judged])
