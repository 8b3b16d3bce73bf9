"""A parametric model of what a log showed: which item came next, and when. No sequence of the log is replayed.

The next item is a choice among all that the user has not met (conditional logit, McFadden 1974, "Conditional logit
analysis of qualitative choice behavior"). An item's utility is its own, plus its similarity to recently shown items,
over three spans of memory, and to what the user met before. With some chance the sequence jumps: recent items then do
not count.
Coefficients start from maximum likelihood. Since errors accumulate over a sequence, they are then moved until sequences
generated for training users have the statistics of these users' sequences, and items' own utilities until items are
shown as often as in the log (the contraction of Berry, Levinsohn and Pakes, Econometrica 1995).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.optimize import minimize  # type: ignore[import-untyped, unused-ignore]
from scipy.sparse import csr_matrix  # type: ignore[import-untyped, unused-ignore]
from sklearn.decomposition import TruncatedSVD  # type: ignore[import-untyped, unused-ignore]

from lerl.envs.fitting.statistics import LAGS, WINDOW_LAGS, Background, Sequences, Statistics

SPANS = (1.0, 4.0, 20.0)  # interactions in which a memory fades to 1/e
DIM = 24  # length of item vectors
TOGETHER = 10  # interactions within which items count as shown together
EVENTS, RIVALS = 4000, 300  # of the likelihood: choices, and items that each is compared with
MOST_EACH = 1000  # interactions of a training user that are used, at most
CHOICES = 60_000  # interactions of training users whose statistics are matched, about
ROUNDS = 5
DAMPING = 0.7
PRIOR = 5.0
GAPS = (0.5, 60.0, 1800.0, 86_400.0)  # seconds, bounds between the classes of pauses

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Exposure:
    """A fitted model of what is shown.

    Attributes:
        features: (I, F) float64, by which items are compared: a vector of the items they were shown with, their main
            category and their popularity.
        own: (I,) float64, each item's own utility.
        weights: (S + 1, F) float64, weight of similarity in each feature, to each memory of `SPANS` and, last, to what
            the user met before.
        jump: chance in [0, 1] that the memories do not count.
        pauses: (G, G) float64, chances of each class of pause (columns) after another (rows).
        gaps: for each class of pause, quantiles of its pauses in seconds; empty where times are not known.
    """

    features: Floats
    own: Floats
    weights: Floats
    jump: float
    pauses: Floats
    gaps: tuple[Floats, ...]

    def imitate(self, before: Sequences, lengths: Ints, seed: int) -> Sequences:
        """Generate sequences that continue those of U users.

        Args:
            before: what the users met before, at least one item each.
            lengths: (U,) int64, how many interactions to generate, at least 1 each.
            seed: of the draws.

        Returns:
            The sequences, their clicks all 0.
        """
        rng = np.random.default_rng(seed)
        longest_first = np.argsort(-lengths, kind="stable")
        shown = np.full((len(lengths), int(lengths.max())), -1, np.int64)
        shown[longest_first] = self._chosen(before, lengths, longest_first, rng)
        users, step = np.nonzero(shown >= 0)
        return Sequences(users, shown[users, step], np.zeros(len(users)), self._times(before, users, step, rng))

    def _chosen(self, before: Sequences, lengths: Ints, order: Ints, rng: np.random.Generator) -> Ints:
        """(U, T) items of users, in an order of falling length; -1 beyond a user's length."""
        features, weights = self.features.astype(np.float32), self.weights.astype(np.float32)
        memory, keep = _memories(self.features, before)
        memory = memory[:, order].astype(np.float32)
        known = _known(self.features, self.own, before)[order].astype(np.float32)
        fixed = (known * weights[-1]) @ features.T + self.own.astype(np.float32)
        unmet = np.ones((len(order), len(features)), np.float32)
        unmet[np.argsort(order)[before.users], before.items] = 0.0
        shown = np.full((len(order), int(lengths.max())), -1, np.int64)
        seen = before.lengths[order]
        for step in range(shown.shape[1]):
            count = int((lengths > step).sum())
            fresh = (1 - keep[:, None] ** (seen[:count] + step)[None]).astype(np.float32)
            state = np.einsum("suf,su,sf->uf", memory[:, :count], 1 / fresh, weights[:-1])
            state[rng.random(count) < self.jump] = 0.0
            utility = state @ features.T
            utility += fixed[:count]
            utility -= utility.max(axis=1, keepdims=True)
            chance = np.exp(utility, out=utility)
            chance *= unmet[:count]
            items = _drawn(chance, rng.random(count))
            rows = np.arange(count)
            shown[rows, step], unmet[rows, items] = items, 0.0
            memory[:, :count] *= keep[:, None, None].astype(np.float32)
            memory[:, :count] += (1 - keep)[:, None, None].astype(np.float32) * features[items]
        return shown

    def _times(self, before: Sequences, users: Ints, steps: Ints, rng: np.random.Generator) -> Floats:
        """(N,) time of each interaction, seconds."""
        last = before.times[before.starts + before.lengths - 1]
        if not self.gaps or not np.isfinite(last).all():
            return np.full(len(users), np.nan)
        cumulated = np.cumsum(self.pauses, axis=1)
        classes = np.zeros(int(users.max()) + 1, np.int64)
        now, times = last.copy(), np.empty(len(users))
        rows_of = np.split(np.argsort(steps, kind="stable"), np.cumsum(np.bincount(steps))[:-1])
        for rows in rows_of:
            who = users[rows]
            classes[who] = (cumulated[classes[who]] < rng.random(len(who))[:, None]).sum(axis=1)
            place = rng.random(len(who))
            for number, gaps in enumerate(self.gaps):
                mine = classes[who] == number
                now[who[mine]] += gaps[(place[mine] * len(gaps)).astype(np.int64)]
            times[rows] = now[who]
        return times


def fit_exposure(
    training: Sequences, background: Background, seed: int, report: Callable[[str], object] | None = None
) -> Exposure:
    """Fit on the sequences of training users.

    Args:
        training: their sequences.
        background: of the statistics.
        seed: of all draws.
        report: called with a line on each step.
    """
    say = report or (lambda line: None)
    training = training.where(training.places < MOST_EACH)
    training = training.where(training.lengths[training.users] >= 4)
    say("exposure: what was shown together")
    features = _features(training, background)
    own = np.log(np.bincount(training.items, minlength=background.items) + 1.0)
    pauses, gaps = _pauses(training)
    say("exposure: likelihood")
    fitted = Exposure(features, own - own.mean(), _likelihood(training, features, own, seed), 0.05, pauses, gaps)
    return _ExposureMatching(training, background, seed).moved(fitted, say)


def _features(training: Sequences, background: Background) -> Floats:
    """(I, F) each item's vector of the items it was shown with, its main category and its popularity."""
    popularity = (background.popularity - background.popularity.mean()) / max(background.popularity.std(), 1e-9)
    categories = np.eye(int(background.main.max()) + 1)[background.main]
    return np.hstack([_vectors(training, background.items), categories, popularity[:, None]])


def _vectors(training: Sequences, items: int) -> Floats:
    """(I, d) unit vectors: positive pointwise mutual information of being shown together, factorised (Levy and
    Goldberg, "Neural word embedding as implicit matrix factorization", NeurIPS 2014)."""
    rows = [np.flatnonzero(training.places >= lag) for lag in range(1, TOGETHER + 1)]
    later = np.concatenate([training.items[row] for row in rows])
    earlier = np.concatenate([training.items[row - lag] for lag, row in enumerate(rows, 1)])
    ones = np.ones(2 * len(later), np.float32)
    pairs = (np.concatenate([later, earlier]), np.concatenate([earlier, later]))
    together = csr_matrix((ones, pairs), shape=(items, items)).tocoo()
    often = np.asarray(together.sum(axis=1), np.float64).ravel()
    smooth = often**0.75
    information = np.log(together.data * smooth.sum() / (often[together.row] * smooth[together.col]))
    positive = information > 0
    kept = (information[positive], (together.row[positive], together.col[positive]))
    svd = TruncatedSVD(min(DIM, items - 1), random_state=0)
    vectors = svd.fit_transform(csr_matrix(kept, shape=(items, items)))
    vectors = vectors / np.sqrt(np.maximum(svd.singular_values_, 1e-9))
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 0), np.float64)


def _groups(features: int) -> list[slice]:
    """Features that share a coefficient: the vector, the category, the popularity."""
    return [slice(0, DIM), slice(DIM, features - 1), slice(features - 1, features)]


def _spread(coefficients: Floats, features: int) -> Floats:
    """(S + 1, F) from one coefficient for each memory and group (S + 1, 3)."""
    parts = _groups(features)
    return np.concatenate(
        [np.repeat(coefficients[:, [number]], part.stop - part.start, axis=1) for number, part in enumerate(parts)],
        axis=1,
    )


def _memories(features: Floats, before: Sequences) -> tuple[Floats, Floats]:
    """(S, U, F) fading sums of the features of what users met, and (S,) the share of them that a step leaves."""
    keep = np.exp(-1 / np.array(SPANS))
    age = before.lengths[before.users] - 1 - before.places
    memory = np.empty((len(SPANS), len(before.lengths), features.shape[1]))
    for number, rate in enumerate(keep):
        fading = csr_matrix(
            ((1 - rate) * rate**age, (before.users, before.items)), shape=(len(before.lengths), len(features))
        )
        memory[number] = fading @ features
    return memory, keep


def _known(features: Floats, own: Floats, before: Sequences) -> Floats:
    """(U, F) users' features from their earlier interactions: mean vector and popularity, and for each category the
    logarithm of how much more often they met it than its items' utilities predict, shrunk to 0 as by `PRIOR` more
    interactions.
    """
    shape = (len(before.lengths), len(features))
    met = csr_matrix((np.ones(len(before)), (before.users, before.items)), shape=shape)
    known = np.asarray(met @ features, np.float64)
    part, count = _groups(features.shape[1])[1], before.lengths[:, None]
    usual = np.exp(own) @ features[:, part] / np.exp(own).sum() + 1e-6
    known[:, part] = count * np.log((known[:, part] + PRIOR * usual) / ((count + PRIOR) * usual))
    return known / count


def _likelihood(training: Sequences, features: Floats, own: Floats, seed: int) -> Floats:
    """(S + 1, F) weights of maximum likelihood, from a sample of choices of second halves among sampled rivals."""
    rng = np.random.default_rng([seed, 1])
    half = training.lengths // 2
    known = _known(features, own, training.where(training.places < half[training.users]))
    choices = np.flatnonzero(training.places >= np.maximum(half, 1)[training.users])
    choices = np.sort(rng.choice(choices, min(EVENTS, len(choices)), replace=False))
    share = np.exp(own) / np.exp(own).sum()
    rivals = 0.5 * share + 0.5 / len(own)
    offered = rng.choice(len(own), (len(choices), RIVALS), p=rivals)
    offered[:, 0] = training.items[choices]
    excluded = offered == offered[:, :1]
    met = csr_matrix((training.places + 1.0, (training.users, training.items)), shape=(len(half), len(own)))
    place = np.asarray(met[np.repeat(training.users[choices], RIVALS), offered.ravel()]).reshape(offered.shape)
    excluded |= (place > 0) & (place <= training.places[choices][:, None])
    excluded[:, 0] = False
    offset = np.where(excluded, -1e9, own[offered] - np.log(rivals[offered]))
    states = [*_states(training, features, choices), known[training.users[choices]]]
    likeness = np.stack(
        [
            np.einsum("ef,ekf->ek", state[:, part], features[:, part][offered])
            for state in states
            for part in _groups(features.shape[1])
        ],
        axis=-1,
    )

    def loss(coefficients: Floats) -> tuple[float, Floats]:
        utility = likeness @ coefficients + offset
        highest = utility.max(axis=1, keepdims=True)
        chance = np.exp(utility - highest)
        total = chance.sum(axis=1, keepdims=True)
        mean = np.einsum("ek,ekf->f", chance / total, likeness) / len(choices)
        value = (utility[:, :1] - highest - np.log(total)).mean()
        penalty = 1e-4 * coefficients
        return float(penalty @ coefficients - value), 2 * penalty + mean - likeness[:, 0].mean(axis=0)

    found = minimize(loss, np.zeros(likeness.shape[2]), jac=True, method="L-BFGS-B")
    return _spread(found.x.reshape(len(SPANS) + 1, -1), features.shape[1])


def _states(training: Sequences, features: Floats, choices: Ints) -> list[Floats]:
    """For each span, (E, F) the faded mean of the features of what was met before each choice."""
    found = []
    for span in SPANS:
        rate, state = np.exp(-1 / span), np.zeros((len(choices), features.shape[1]))
        for back in range(1, int(8 * span) + 1):
            rows = np.flatnonzero(training.places[choices] >= back)
            state[rows] += (1 - rate) * rate ** (back - 1) * features[training.items[choices[rows] - back]]
        found.append(state / (1 - rate ** training.places[choices])[:, None])
    return found


def _pauses(training: Sequences) -> tuple[Floats, tuple[Floats, ...]]:
    """Chances of one class of pause after another, and the pauses of each class; none where times are not known."""
    rows = np.flatnonzero(training.places >= 1)
    gap = training.times[rows] - training.times[rows - 1]
    if not np.isfinite(gap).all():
        return np.zeros((0, 0)), ()
    kinds = np.digitize(gap, GAPS)
    count = len(GAPS) + 1
    table = np.full((count, count), 0.1)
    follows = np.flatnonzero(training.places[rows] >= 2)
    np.add.at(table, (kinds[follows - 1], kinds[follows]), 1.0)
    gaps = tuple(np.quantile(gap[kinds == kind], np.linspace(0, 1, 101)) if (kinds == kind).any() else np.zeros(1)
                 for kind in range(count))  # fmt: skip
    return table / table.sum(axis=1, keepdims=True), gaps


class _ExposureMatching:
    """Moves a fitted model until the sequences it generates have the statistics of training users' sequences."""

    NAMES = (
        "effective categories per user",
        *(f"same category at lag {lag} over shuffled" for lag in LAGS),
        *(f"drift at lag {lag}" for lag in WINDOW_LAGS),
        "drift at lag 1, shuffled",
        "popularity autocorrelation at lag 1",
        "popularity autocorrelation at lag 5",
    )
    MOVED = ((0, 0), (1, 0), (2, 0), (3, 0), (0, 1), (1, 1), (2, 1), (3, 1), (0, 2), (1, 2), (2, 2), (3, 2))
    """Coefficients that are moved: memory (3 is what the user met before) and group of features."""

    def __init__(self, training: Sequences, background: Background, seed: int) -> None:
        rng = np.random.default_rng([seed, 2])
        count = len(training.lengths)
        chosen = np.zeros(count, bool)
        some = int(CHOICES / max((training.lengths / 2).mean(), 1.0))
        chosen[rng.choice(count, min(some, count), replace=False)] = True
        events = training.where(chosen[training.users])
        later = events.places >= (events.lengths // 2)[events.users]
        self.before, self.real = events.where(~later), events.where(later)
        self.background, self.seed = background, seed
        every = training.where(training.places >= (training.lengths // 2)[training.users])
        self.shares = _shares(every, background.items)
        found = Statistics(every, background).intervals(100, seed)
        self.names = [name for name in self.NAMES if name in found and name in Statistics(self.real, background).of()]
        self.wanted = np.array([found[name][0] for name in self.names])
        self.errors = np.array([(found[name][2] - found[name][1]) / 3.92 for name in self.names])

    def moved(self, fitted: Exposure, say: Callable[[str], object]) -> Exposure:
        """The best model of `ROUNDS` steps of Levenberg and Marquardt, items' own utilities being moved after each."""
        for _ in range(3):
            fitted = self._shown_as_often(fitted)
        best, least = fitted, np.inf
        for number in range(ROUNDS + 1):
            here = self._away(fitted)
            size = float(np.sqrt((here**2).mean()))
            say(f"exposure: {size:.1f} standard errors away after {number} of {ROUNDS} rounds")
            if size < least:
                best, least = fitted, size
            if number == ROUNDS:
                break
            slopes = np.stack(
                [self._away(_moved(fitted, self.MOVED, direction)) - here for direction in np.eye(len(self.MOVED) + 1)],
                1,
            )
            step = np.linalg.solve(slopes.T @ slopes + 3.0 * np.eye(slopes.shape[1]), -slopes.T @ here)
            fitted = _moved(fitted, self.MOVED, np.clip(step, -2, 2))
            for _ in range(2):
                fitted = self._shown_as_often(fitted)
        return best

    def _made(self, fitted: Exposure) -> Sequences:
        return fitted.imitate(self.before, self.real.lengths, self.seed)

    def _away(self, fitted: Exposure) -> Floats:
        """How far the statistics of generated sequences are from the training users', in standard errors."""
        found = Statistics(self._made(fitted), self.background).of()
        return (np.array([found[name][0] for name in self.names]) - self.wanted) / self.errors

    def _shown_as_often(self, fitted: Exposure) -> Exposure:
        change = np.log(self.shares / _shares(self._made(fitted), self.background.items))
        return replace(fitted, own=fitted.own + DAMPING * np.clip(change, -1, 1))


def _moved(fitted: Exposure, which: tuple[tuple[int, int], ...], point: Floats) -> Exposure:
    """The model with coefficients `which` and, last, the chance of a jump moved by `point` steps."""
    groups, weights = _groups(fitted.features.shape[1]), fitted.weights.copy()
    for (memory, group), size in zip(which, point, strict=False):
        weights[memory, groups[group]] += (0.8, 0.5, 0.2)[group] * size
    jump = 1 / (1 + np.exp(-(np.log(fitted.jump / (1 - fitted.jump)) + 0.7 * point[-1])))
    return replace(fitted, weights=weights, jump=float(jump))


@njit(cache=True)
def _drawn(chance, points):  # type: ignore[no-untyped-def]
    """(B,) items, each drawn with its share of the (B, I) chances."""
    items = np.zeros(len(points), np.int64)
    for b in range(len(points)):
        total = 0.0
        for item in range(chance.shape[1]):
            total += chance[b, item]
        wanted, below = points[b] * total, 0.0
        for item in range(chance.shape[1]):
            if chance[b, item] > 0.0:
                items[b] = item
                below += chance[b, item]
                if below > wanted:
                    break
    return items


def _shares(sequences: Sequences, items: int) -> Floats:
    """(I,) share of the interactions that each item has, each counted a little more than it was met."""
    counts = np.bincount(sequences.items, minlength=items) / len(sequences) + 0.1 / items
    return np.asarray(counts / counts.sum(), np.float64)
