"""From an interaction log to item vectors and user tastes: once for the truth, once for what may be known of it.

Each half of the log gets a model of its own: alternating least squares on confidences (Hu, Koren and Volinsky 2008,
Collaborative filtering for implicit feedback datasets), extended to signed confidences: a click is a preference of 1,
an item that was rated without a click a preference of 0, both held with confidence 40; everything else a preference of
0 held with confidence 1. Item vectors see training users only; every user's vector is then folded in by the same least
squares. A logistic regression on held-out interactions turns the score into the log-odds of a click.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import polars as pl
from implicit.cpu.als import AlternatingLeastSquares  # type: ignore[import-untyped, unused-ignore]
from numpy.typing import NDArray
from scipy.sparse import csr_matrix  # type: ignore[import-untyped, unused-ignore]
from scipy.special import expit, logit  # type: ignore[import-untyped, unused-ignore]
from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped, unused-ignore]
from sklearn.metrics import roc_auc_score  # type: ignore[import-untyped, unused-ignore]
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped, unused-ignore]

from lerl.envs.catalog import Catalog
from lerl.envs.logs.sample import Sample
from lerl.envs.population import Kinds, Knowledge, Population, Truth
from lerl.envs.schema import KIND_PREFIX, DataError, check_log, held_out, positions, training_users, truth_half

CONFIDENCE = 40.0
REGULARIZATION = 30.0
ITERATIONS = 15
ITEM_PRIOR = 10.0
USER_PRIOR = 5.0
CALIBRATION_BINS = 10
USERS_AT_ONCE, SCORES_AT_ONCE = 512, 1 << 25
"""Users, and scores of 8 bytes, that are compared at a time, at most."""

CONSTANT = 1e-9
"""A row of log-odds with a standard deviation times sqrt(I) below this is constant but for rounding."""

COMPARED = 2_000
"""Evaluation users of a sample by whom truth and knowledge are compared, at most."""

Array = NDArray[np.float64]
Counts = tuple[NDArray[np.int64], NDArray[np.int64]]


@dataclass(frozen=True)
class Interactions:
    """N rows of a log, by positions.

    Attributes:
        users: (N,) int64, positions among the users.
        items: (N,) int64, positions in the catalog.
        clicks: (N,) bool.
    """

    users: NDArray[np.int64]
    items: NDArray[np.int64]
    clicks: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.users)

    def where(self, keep: NDArray[np.bool_]) -> "Interactions":
        """The rows for which `keep`, (N,) bool, is true."""
        return Interactions(self.users[keep], self.items[keep], self.clicks[keep])


@dataclass(frozen=True)
class TasteModel:
    """Log-odds of a click = user vector . item vector + item offset + user offset.

    Attributes:
        item_vectors: (I, d) float32; zero for an item without a fitted interaction.
        item_offsets: (I,) float32.
        user_vectors: (U, d) float32; zero for a user without a fitted interaction.
        user_offsets: (U,) float32, the intercept included.
    """

    item_vectors: NDArray[np.float32]
    item_offsets: NDArray[np.float32]
    user_vectors: NDArray[np.float32]
    user_offsets: NDArray[np.float32]

    def score(self, users: NDArray[np.int64], items: NDArray[np.int64]) -> Array:
        """User vector . item vector for pairs of users and items, (N,) each, to (N,) float64."""
        products: Array = np.einsum("nd,nd->n", self.user_vectors[users], self.item_vectors[items], dtype=np.float64)
        return products

    def log_odds(self, users: NDArray[np.int64], items: NDArray[np.int64]) -> Array:
        """Log-odds of a click: pairs of users and items, (N,) each, to (N,) float64."""
        return self.score(users, items) + self.item_offsets[items] + self.user_offsets[users]

    def of(self, users: NDArray[np.int64]) -> "TasteModel":
        """The model with only some users, (N,) int64 positions, in their order."""
        return replace(self, user_vectors=self.user_vectors[users], user_offsets=self.user_offsets[users])

    def truth(self) -> Truth:
        """The model as a population's truth, which makes its arrays read-only."""
        return Truth(self.item_vectors, self.item_offsets, self.user_vectors, self.user_offsets)


@dataclass(frozen=True)
class Fit:
    """How well a taste model predicts the held-out interactions of evaluation users, who are not in its item vectors.

    Attributes:
        auc: chance that a click is ranked above a non-click.
        calibration_error: expected calibration error, see `calibration_error`.
        mean_predicted: mean predicted probability of a click.
        base_rate: share of clicks.
        interactions: how many interactions these were.
    """

    auc: float
    calibration_error: float
    mean_predicted: float
    base_rate: float
    interactions: int


@dataclass(frozen=True)
class FittedPopulation:
    """A fitted population.

    Attributes:
        population: the population.
        truth_fit: how well the truth predicts.
        knowledge_fit: how well the knowledge predicts.
        correlation: of the two, see `agreement`.
        kinds: how well the chance of each kind of feedback beside the click predicts, by name.
    """

    population: Population
    truth_fit: Fit
    knowledge_fit: Fit
    correlation: float
    kinds: Mapping[str, Fit] = field(default_factory=dict)


def fit_population(
    name: str,
    catalog: Catalog,
    log: pl.DataFrame,
    *,
    weights: Mapping[str, float] | None = None,
    dim: int = 8,
    seed: int = 0,
    sample: Sample | None = None,
) -> FittedPopulation:
    """Fit truth and knowledge on the two hashed halves of a log.

    The result is the same, bit for bit, for the same log in any order of its rows.

    Args:
        name: the data set's name.
        catalog: its items.
        log: see `lerl.envs.schema.SCHEMA`; it numbers items as `Catalog.numbers` does.
        weights: of several kinds of feedback, the click's first; the log has a column `feedback.NAME` for the others.
        dim: length of the vectors, 1 or more.
        seed: for the start of the least squares, 0 or more.
        sample: which of the log's users the population has, where these are not all; and how often each item of the
            catalog was met and clicked by all users, of whom the log may have only some.

    Raises:
        DataError: the frame is not a log, has an item that is not in the catalog, or too few interactions to fit and
            judge.
        ValueError: `dim` or `seed` is out of range.
    """
    _check_settings(dim, seed)
    check_log(log)
    log = _in_order(log)
    user_ids = np.unique(log["user"].to_numpy())
    training = training_users(user_ids)
    rows = _rows(catalog.numbers, user_ids, log)
    ids = log["user"].to_numpy(), log["item"].to_numpy()
    in_truth, kept = truth_half(*ids), held_out(*ids)
    known = rows.where(~in_truth)
    of_truth, of_known = (None, None) if sample is None else (_counts(sample, "truth"), _counts(sample, "knowledge"))
    in_half = rows.where(in_truth), kept[in_truth]
    truth, truth_fit = fit_taste(*in_half, training, len(catalog), dim=dim, seed=seed, counts=of_truth)
    guess, guess_fit = fit_taste(known, kept[~in_truth], training, len(catalog), dim=dim, seed=seed, counts=of_known)
    kinds, kind_fits = _fit_kinds(weights or {}, log.filter(in_truth), truth, in_half[0], training)
    popular = _popular(known, training, len(catalog)) if sample is None else sample.count("popular")
    history = _history(known, log.filter(~in_truth))
    if sample is not None:
        chosen = np.searchsorted(user_ids, sample.users)
        truth, guess, training, history = truth.of(chosen), guess.of(chosen), training[chosen], _of(history, chosen)
    knowledge = _knowledge(guess, _shares(popular))
    population = Population(name, catalog, truth.truth(), knowledge, training, history, kinds=kinds)
    compared = np.flatnonzero(~training)[: None if sample is None else COMPARED]
    correlation = agreement(truth, guess, compared)
    return FittedPopulation(population, truth_fit, guess_fit, correlation, kind_fits)


def _fit_kinds(
    weights: Mapping[str, float], log: pl.DataFrame, truth: TasteModel, rows: Interactions, training: NDArray[np.bool_]
) -> tuple[Kinds | None, dict[str, Fit]]:
    """The kinds of feedback beside the click, fitted to the truth's rows only, and how well each predicts.

    For each kind, the items' smoothed log-odds come from the fitted interactions of training users, and a logistic
    regression on (log-odds of the click, item offset) from their held-out ones, as for clicks.
    """
    names = tuple(weights)
    if len(names) < 2:
        return None, {}
    kept, fits, slopes, offsets = _held_out(log), {}, [], []
    for name in names[1:]:
        kind = Interactions(rows.users, rows.items, log[f"{KIND_PREFIX}{name}"].to_numpy())
        seen, calibrate = kind.where(~kept & training[rows.users]), kind.where(kept & training[rows.users])
        judge = kind.where(kept & ~training[rows.users])
        _check_enough(calibrate, "training", name)
        _check_enough(judge, "evaluation", name)
        base = (seen.clicks.sum() + 1) / (len(seen) + 2)
        offset = _offsets(seen.items, seen.clicks, len(truth.item_offsets), ITEM_PRIOR, base)
        features = np.stack([truth.log_odds(calibrate.users, calibrate.items), offset[calibrate.items]], axis=1)
        with threadpool_limits(limits=1):
            regression = LogisticRegression(C=1e6, tol=1e-8, max_iter=1000).fit(features, calibrate.clicks)
        slope, of_item = regression.coef_[0]
        slopes.append(slope)
        offsets.append(of_item * offset + regression.intercept_[0])
        log_odds = slope * truth.log_odds(judge.users, judge.items) + offsets[-1][judge.items]
        fits[name] = _judged(judge.clicks, expit(log_odds))
    given = np.array(list(weights.values()))
    arrays = (given / given.sum()).astype(np.float32), np.array(slopes, np.float32), np.array(offsets, np.float32)
    return Kinds(names, *arrays), fits


def fit_dense(
    name: str,
    catalog: Catalog,
    log: pl.DataFrame,
    known: pl.DataFrame,
    *,
    dim: int = 8,
    seed: int = 0,
) -> FittedPopulation:
    """A population whose truth comes from a dense log, in which nearly every user met every item, its knowledge from
    another log.

    The dense log becomes the population's matrix; the truth's vectors, for topics, drift and missing entries, are
    fitted to it. Knowledge is fitted to all users and items of the other log, and that of the population's users and
    items is taken. The users have no known history with the catalog.

    Args:
        name: the data set's name.
        catalog: the items of `log`.
        log: the dense log, see `lerl.envs.schema.SCHEMA`; it numbers items as `Catalog.numbers` does.
        known: the other log, without the pairs of a user and an item that `log` has.
        dim: length of the vectors, 1 or more.
        seed: for the start of the least squares, 0 or more.

    Raises:
        DataError: a frame is not a log, they share a pair, or one has too few interactions to fit and judge.
        ValueError: `dim` or `seed` is out of range.
    """
    _check_settings(dim, seed)
    _check_apart(log, known)
    log, known = _in_order(log), _in_order(known)
    user_ids = np.unique(log["user"].to_numpy())
    training = training_users(user_ids)
    rows = _rows(catalog.numbers, user_ids, log)
    truth, truth_fit = fit_taste(rows, _held_out(log), training, len(catalog), dim=dim, seed=seed)
    guess, guess_fit, popularity = _fit_known(known, catalog.numbers, user_ids, dim=dim, seed=seed)
    dense = np.full((len(user_ids), len(catalog)), -1, np.int8)
    dense[rows.users, rows.items] = rows.clicks
    population = Population(
        name=name,
        catalog=catalog,
        truth=truth.truth(),
        knowledge=_knowledge(guess, popularity),
        training=training,
        history=np.zeros((0, 3), np.int32),
        dense=dense,
    )
    correlation = agreement(truth, guess, np.flatnonzero(~training))
    return FittedPopulation(population, truth_fit, guess_fit, correlation)


def _check_apart(log: pl.DataFrame, known: pl.DataFrame) -> None:
    """Refuse frames that are not logs, or share a pair of a user and an item."""
    for frame in (log, known):
        check_log(frame)
    shared = log.join(known, on=["user", "item"], how="semi")
    if len(shared):
        user, item = shared.row(0)[:2]
        raise DataError(f"user {user} and item {item} occur in both logs; what is known must not be in the truth")


def _fit_known(
    known: pl.DataFrame, numbers: NDArray[np.int64], user_ids: NDArray[np.int64], *, dim: int, seed: int
) -> tuple[TasteModel, Fit, NDArray[np.float32]]:
    """A model and popularities fitted to all users and items of a log; those of some, (U,) and (I,), are kept."""
    every_user = np.unique(np.concatenate([user_ids, known["user"].to_numpy()]))
    every_item = np.unique(np.concatenate([numbers, known["item"].to_numpy()]))
    rows, training = _rows(every_item, every_user, known), training_users(every_user)
    model, fit = fit_taste(rows, _held_out(known), training, len(every_item), dim=dim, seed=seed)
    users, items = np.searchsorted(every_user, user_ids), positions(every_item, numbers)
    popularity = _shares(_popular(rows, training, len(every_item)))[items]
    kept = TasteModel(
        model.item_vectors[items], model.item_offsets[items], model.user_vectors[users], model.user_offsets[users]
    )
    return kept, fit, popularity / popularity.sum()


def fit_taste(
    rows: Interactions,
    kept: NDArray[np.bool_],
    training: NDArray[np.bool_],
    items: int,
    *,
    dim: int,
    seed: int,
    counts: Counts | None = None,
) -> tuple[TasteModel, Fit]:
    """Fit, calibrate and judge one model.

    Args:
        rows: N interactions of all users.
        kept: (N,) bool, interactions kept from fitting: those of training users calibrate the model, those of
            evaluation users judge it.
        training: (U,) bool, the users whose interactions make the item vectors and offsets.
        items: how many items there are.
        dim: length of the vectors.
        seed: for the start of the least squares.
        counts: see `fit_raw`.

    Raises:
        DataError: too few interactions to fit, calibrate and judge.
    """
    calibrate = rows.where(kept & training[rows.users])
    judge = rows.where(kept & ~training[rows.users])
    _check_enough(calibrate, "training")
    _check_enough(judge, "evaluation")
    with threadpool_limits(limits=1):
        raw = fit_raw(rows.where(~kept), training, items, dim=dim, seed=seed, counts=counts)
        model = calibrated(raw, calibration(raw, calibrate))
        return model, judged(model, judge)


def judged(model: TasteModel, rows: Interactions) -> Fit:
    """How well a model predicts interactions that it was not fitted to; both clicks and non-clicks must be there."""
    return _judged(rows.clicks, expit(model.log_odds(rows.users, rows.items)))


def _judged(clicks: NDArray[np.bool_], predicted: Array) -> Fit:
    return Fit(
        auc=float(roc_auc_score(clicks, predicted)),
        calibration_error=calibration_error(clicks, predicted),
        mean_predicted=float(predicted.mean()),
        base_rate=float(clicks.mean()),
        interactions=len(clicks),
    )


def calibration_error(clicks: NDArray[np.bool_], predicted: Array) -> float:
    """Expected calibration error: sum over bins b of n_b / n * |share of clicks in b - mean prediction in b|.

    The 10 bins hold equally many interactions, in order of prediction (Naeini, Cooper and Hauskrecht 2015, Obtaining
    well calibrated probabilities using Bayesian binning, with bins of equal mass instead of equal width).

    Args:
        clicks: (N,) bool.
        predicted: (N,) probabilities.
    """
    order = np.argsort(predicted, kind="stable")
    gaps = [
        abs(clicks[part].mean() - predicted[part].mean()) * len(part)
        for part in np.array_split(order, CALIBRATION_BINS)
        if len(part)
    ]
    return float(sum(gaps) / len(order))


def agreement(one: TasteModel, other: TasteModel, users: NDArray[np.int64]) -> float:
    """Pearson correlation of two models' log-odds over all items, within each user, averaged over users.

    For truth and knowledge it says how much of the truth a recommender can know. A user for whom either model gives all
    items the same log-odds counts as 0.

    Args:
        one, other: models of the same I items and U users.
        users: (N,) int64, positions of the users to average over.
    """
    at_once = max(1, min(USERS_AT_ONCE, SCORES_AT_ONCE // len(one.item_vectors)))
    blocks = np.array_split(users, -(-len(users) // at_once) or 1)
    return float(np.concatenate([_correlations(one, other, block) for block in blocks]).mean())


def _correlations(one: TasteModel, other: TasteModel, users: NDArray[np.int64]) -> Array:
    first, second = _standardised(one, users), _standardised(other, users)
    products: Array = np.einsum("ui,ui->u", first, second)
    return products


def _standardised(model: TasteModel, users: NDArray[np.int64]) -> Array:
    """(u, I) log-odds, each row with mean 0 and length 1; a constant row becomes zeros."""
    scores: Array = np.einsum("ud,id->ui", model.user_vectors[users], model.item_vectors, dtype=np.float64)
    scores += model.item_offsets
    scores -= scores.mean(axis=1, keepdims=True)
    length = np.linalg.norm(scores, axis=1, keepdims=True)
    standardised = np.zeros_like(scores)
    np.divide(scores, length, out=standardised, where=length > CONSTANT)
    return standardised


def _held_out(log: pl.DataFrame) -> NDArray[np.bool_]:
    return held_out(log["user"].to_numpy(), log["item"].to_numpy())


def _in_order(log: pl.DataFrame) -> pl.DataFrame:
    """The log in order of time; by each user's `position` where the log has it and some times are not known."""
    by = "position" if "position" in log.columns and log["time"].null_count() else "time"
    return log.sort(by, "item", "user", nulls_last=True)


def _history(known: Interactions, log: pl.DataFrame) -> NDArray[np.int32]:
    """(N, 3) rows of user, item and click from the log's rows, in their order; a user's at one time by `position`."""
    rows = np.stack([known.users, known.items, known.clicks], axis=1).astype(np.int32)
    if "position" not in log.columns or log["time"].null_count():
        return rows
    keys = log["time"].to_numpy(), known.users
    moved = np.empty_like(rows)
    moved[np.lexsort(keys)] = rows[np.lexsort((log["position"].to_numpy(), *keys))]
    return moved


def _check_settings(dim: int, seed: int) -> None:
    if dim < 1:
        raise ValueError(f"dim, the length of the vectors, must be 1 or more, given {dim}")
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed must be from 0 to 2**32 - 1, given {seed}")


def _check_enough(rows: Interactions, split: str, kind: str = "clicks") -> None:
    clicks = int(rows.clicks.sum())
    if 0 < clicks < len(rows):
        return
    raise DataError(
        f"too few interactions to calibrate and judge a half of the log: of its held-out interactions of {split} users "
        f"{clicks} are {kind} and {len(rows) - clicks} are not, and both are needed; use a larger log"
    )


def _rows(numbers: NDArray[np.int64], user_ids: NDArray[np.int64], log: pl.DataFrame) -> Interactions:
    """The log's rows, in their order, as positions among sorted user ids (U,) and item numbers (I,)."""
    users, items = np.searchsorted(user_ids, log["user"].to_numpy()), positions(numbers, log["item"].to_numpy())
    return Interactions(users, items, log["click"].to_numpy())


def fit_raw(
    rows: Interactions,
    training: NDArray[np.bool_],
    items: int,
    *,
    dim: int,
    seed: int,
    taste_rows: Interactions | None = None,
    counts: Counts | None = None,
) -> TasteModel:
    """Vectors and smoothed log-odds before calibration.

    Args:
        rows: N interactions.
        training: (U,) bool, users whose rows the item vectors and offsets are fitted to.
        items: how many items there are.
        dim: length of the vectors.
        seed: for the start of the least squares.
        taste_rows: the interactions that the users' vectors and offsets are fitted to; `rows` where None.
        counts: how often training users met and clicked each item, (I,) each, where `rows` has only some of them; the
            item offsets and the base rate are fitted to that.

    Raises:
        DataError: no training user has an interaction.
    """
    taste_rows = taste_rows or rows
    seen = rows.where(training[rows.users])
    if not len(seen):
        raise DataError("no training user has an interaction to fit; use a larger log")
    met, clicked = counts or _item_counts(seen, items)
    base = (clicked.sum() + 1) / (met.sum() + 2)
    with threadpool_limits(limits=1):  # the same bits on any number of cores
        als = AlternatingLeastSquares(
            factors=dim,
            regularization=REGULARIZATION,
            iterations=ITERATIONS,
            use_cg=False,
            random_state=seed,
            num_threads=1,
        )
        als.fit(_signed(seen, len(training), items)[training], show_progress=False)
        user_vectors = als.recalculate_user(np.arange(len(training)), _signed(taste_rows, len(training), items))
    return TasteModel(
        item_vectors=als.item_factors,
        item_offsets=_smoothed(met, clicked, ITEM_PRIOR, base),
        user_vectors=user_vectors,
        user_offsets=_offsets(taste_rows.users, taste_rows.clicks, len(training), USER_PRIOR, base),
    )


def _signed(rows: Interactions, users: int, items: int) -> csr_matrix:
    """(U, I) confidences, negative where an item was met without a click."""
    confidences = np.where(rows.clicks, CONFIDENCE, -CONFIDENCE).astype(np.float32)
    return csr_matrix((confidences, (rows.users, rows.items)), shape=(users, items))


def _offsets(
    index: NDArray[np.int64], clicks: NDArray[np.bool_], size: int, prior: float, base: float
) -> NDArray[np.float32]:
    """(size,) log-odds of a click per item or per user, as if each had `prior` more interactions at the base rate."""
    return _smoothed(np.bincount(index, minlength=size), np.bincount(index[clicks], minlength=size), prior, base)


def _item_counts(rows: Interactions, items: int) -> Counts:
    return np.bincount(rows.items, minlength=items), np.bincount(rows.items[rows.clicks], minlength=items)


def _smoothed(met: NDArray[np.int64], clicked: NDArray[np.int64], prior: float, base: float) -> NDArray[np.float32]:
    """The same from how often each was met and clicked, (size,) each."""
    return np.asarray(logit((clicked + prior * base) / (met + prior)), dtype=np.float32)


def _counts(sample: Sample, half: str) -> Counts:
    """How often all training users met and clicked each item in the fitted interactions of a half, (I,) each."""
    return sample.count(f"{half}_seen"), sample.count(f"{half}_clicked")


def calibration(raw: TasteModel, rows: Interactions) -> Array:
    """(4,) coefficients of score, item offset and user offset, and the intercept, of a logistic regression on rows."""
    score = raw.score(rows.users, rows.items)
    features = np.stack([score, raw.item_offsets[rows.items], raw.user_offsets[rows.users]], axis=1)  # (N, 3)
    regression = LogisticRegression(C=1e6, tol=1e-8, max_iter=1000).fit(features, rows.clicks)
    return np.append(regression.coef_[0], regression.intercept_)


def calibrated(raw: TasteModel, coefficients: Array) -> TasteModel:
    """The model with the coefficients of `calibration` folded into its vectors and offsets."""
    of_score, of_item, of_user, intercept = coefficients
    return TasteModel(
        item_vectors=raw.item_vectors,
        item_offsets=(of_item * raw.item_offsets).astype(np.float32),
        user_vectors=(of_score * raw.user_vectors).astype(np.float32),
        user_offsets=(of_user * raw.user_offsets + intercept).astype(np.float32),
    )


def _knowledge(model: TasteModel, popularity: NDArray[np.float32]) -> Knowledge:
    """The model with the item offsets as a last column of the item vectors, for which every taste has a 1."""
    ones = np.ones((len(model.user_vectors), 1), dtype=np.float32)
    return Knowledge(
        item_vectors=np.hstack([model.item_vectors, model.item_offsets[:, None]]),  # (I, d + 1)
        tastes=np.hstack([model.user_vectors, ones]),  # (U, d + 1)
        user_offsets=model.user_offsets,
        popularity=popularity,
    )


def _popular(rows: Interactions, training: NDArray[np.bool_], items: int) -> NDArray[np.int64]:
    """(I,) training users' clicks of each item."""
    return np.bincount(rows.items[rows.clicks & training[rows.users]], minlength=items)


def _shares(clicks: NDArray[np.int64]) -> NDArray[np.float32]:
    """(I,) share of clicks, each item counted once more than it was clicked."""
    counts = clicks + 1.0
    return np.asarray(counts / counts.sum(), dtype=np.float32)


def _of(history: NDArray[np.int32], users: NDArray[np.int64]) -> NDArray[np.int32]:
    """The rows (user, item, click) of some users, in order, who are numbered anew in that order."""
    places = np.searchsorted(users, history[:, 0]).clip(max=len(users) - 1)
    kept = users[places] == history[:, 0]
    return np.column_stack([places[kept], history[kept, 1:]]).astype(np.int32)
