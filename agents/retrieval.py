"""From virtual items to slates: exact top k by inner product among the items that a plan allows."""

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from lerl.envs import threads

TILE = 32  # items scored at once, a whole number of vector registers
LANES = 16  # groups of scored items whose best say what the best of all are at least
SPARE = 2  # of these more than a slate takes, as one may be avoided, or the same item again
CHUNK = 16  # tiles that a block of users is scored on before the next, where not all stay in the processor's cache
CACHED = 200_000  # numbers in tiles that do
BLOCK = 32  # users to a block at most
SCORED = 8_000_000  # scores of a block at most, unless one user's are more
UNPLANNED = -(2**40)  # in the place of a move, so that whatever is moved by it is out of sight
Best = tuple[NDArray[np.int32], NDArray[np.float32]]


# Compiled kernels that Numba keeps name this class: whoever renames it touches memory.py.
class Tiles(NamedTuple):
    """What kernels see of an index: the items of each category side by side, in tiles.

    Attributes:
        groups: (I, M) int32, each item's categories, -1 as padding.
        items: (T, TILE) int32, tiles of items, category after category, an item once in each of its own; those without
            any come last. Each category begins a tile, -1 as padding.
        starts: (C + 2,) int64, the tile with which each category begins.
        vectors: (T, D, TILE) float32, the items' vectors, NaN as padding.
        places: (I, max(M, 1)) int32, where in the flattened `items` each item is, 0 as padding.
        owners: (I, max(M, 1)) uint32, as which category's, C of those without any, C + 1 as padding.
    """

    groups: NDArray[np.int32]
    items: NDArray[np.int32]
    starts: NDArray[np.int64]
    vectors: NDArray[np.float32]
    places: NDArray[np.int32]
    owners: NDArray[np.uint32]


class ItemIndex:
    """Exact top k by inner product, which looks only at the items of categories that a plan allows.

    Args:
        vectors: (I, D) float32. groups: (I, M) int32, each item's categories, -1 as padding.

    Attributes:
        tiles: the items of each category side by side.
    """

    def __init__(self, vectors: NDArray[np.float32], groups: NDArray[np.int32]) -> None:
        rows, columns = np.nonzero(groups >= 0)
        lonely = np.flatnonzero((groups < 0).all(axis=1))
        count = int(groups.max(initial=-1)) + 1
        category = np.concatenate([groups[rows, columns], np.full(len(lonely), count)])
        order = np.argsort(category, kind="stable")
        sizes = np.bincount(category, minlength=count + 1)
        starts = np.concatenate([[0], np.cumsum(-(-sizes // TILE))])
        filled = np.arange(len(order)) - np.repeat(np.cumsum(sizes) - sizes, sizes)  # place within the category
        where = np.repeat(starts[:-1] * TILE, sizes) + filled
        flat = np.full(starts[-1] * TILE, -1, np.int32)
        flat[where] = np.concatenate([rows, lonely])[order]
        shape, columns = (len(groups), max(groups.shape[1], 1)), np.concatenate([columns, np.zeros(len(lonely), int)])
        places, owners = np.zeros(shape, np.int32), np.full(shape, count + 1, np.uint32)
        places[flat[where], columns[order]], owners[flat[where], columns[order]] = where, category[order]
        items = flat.reshape(-1, TILE)
        tiled = np.empty((len(items), vectors.shape[1], TILE), np.float32)
        for j in range(vectors.shape[1]):  # column by column: all at once would take twice the memory
            tiled[:, j] = np.where(items >= 0, vectors[items, j], np.float32(np.nan))
        self.tiles = Tiles(groups, items, starts, tiled, places, owners)

    def top(
        self,
        queries: NDArray[np.float32],
        allowed: NDArray[np.bool_],
        avoid: NDArray[np.bool_],
        shown: NDArray[np.int32],
        k: int,
        ends: NDArray[np.int64] | None = None,
    ) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
        """The k items of highest inner product with each query, among the eligible and not yet shown; exact.

        Where a plan leaves fewer than k, it is widened: first `avoid` is lifted, then `allowed`. Ties go to the item of
        the lower number. Items shown before are never shown again.

        Args:
            queries: (B, D) virtual items. allowed, avoid: (B, C) plans. shown: (B, S) items already shown, -1 as
                padding. k: items per slate. ends: (B,) where the padding of each row of `shown` begins, where known.

        Returns:
            Slates (B, k), best first, and whether the plan was widened (B,). A catalog with fewer than k items left
            leaves -1.
        """
        ends = np.full(len(shown), shown.shape[1]) if ends is None else np.minimum(ends, shown.shape[1])

        def top(at: slice) -> tuple[NDArray[Any], ...]:
            return _top_items(queries[at], self.tiles, allowed[at], avoid[at], shown[at], ends[at], k)

        slates, widened = threads.joined(top, len(queries), self.least)
        return slates, widened

    def best(self, queries: NDArray[np.float32], count: int) -> Best:
        """The `count` best items of each category for each query, whatever was shown, with their inner products.

        Returns:
            (B, C, count) int32, best first, -1 where a category has fewer; (B, C, count) float32.
        """
        least = threads.least(2 + self.tiles.vectors.size / 5_000)
        best, scores = threads.joined(lambda block: _best_items(queries[block], self.tiles, count), len(queries), least)
        return best, scores

    @property
    def least(self) -> int:
        """How many queries a block of `top` has at least, see `lerl.envs.threads`."""
        return threads.least(2 + self.tiles.vectors.size / 20_000)


@njit(cache=True)
def score_items(queries, b, columns, first, scores):  # type: ignore[no-untyped-def]
    """scores (n,) <- inner products of row b of queries (B, D) with n of columns (D, I), summed in the order of D."""
    scores[:] = 0.0
    for j in range(columns.shape[0]):
        weight = queries[b, j]
        for n in range(len(scores)):
            scores[n] += weight * columns[j, first + n]


def scored(queries: NDArray[np.float32], columns: NDArray[np.float32]) -> NDArray[np.float32]:
    """(B, I) inner products of queries (B, D) with columns (D, I), in the bits by which `ItemIndex` ranks items."""
    scores = np.empty((len(queries), columns.shape[1]), np.float32)

    def score(block: slice) -> None:
        _score_all(queries[block], columns, scores[block])

    threads.each(score, len(queries), threads.least(2 + columns.size / 5_000))
    return scores


@njit(cache=True, nogil=True)
def _score_all(queries, columns, scores):  # type: ignore[no-untyped-def]
    for b in range(len(queries)):
        score_items(queries, b, columns, 0, scores[b])


@njit(cache=True, forceinline=True)
def _score_tile(queries, b, tile, scores):  # type: ignore[no-untyped-def]
    """scores (TILE,) <- inner products of row b of queries (B, D) with a tile (D, TILE), summed in the order of D.

    The first up to nine rows at once, then eight at a time, added one after another: the bits of one at a time, an
    eighth of the stores. Fewer than nine are filled up by the last again, times nothing: a loop over a single row
    is compiled number by number.
    """
    dim, none = tile.shape[0], np.float32(0.0)
    head = min(2 + (dim - 2) % 8, dim)
    r1, r2, r3, r4 = min(1, head - 1), min(2, head - 1), min(3, head - 1), min(4, head - 1)
    r5, r6, r7, r8 = min(5, head - 1), min(6, head - 1), min(7, head - 1), min(8, head - 1)
    q0, q1, q2 = queries[b, 0], queries[b, r1] if head > 1 else none, queries[b, r2] if head > 2 else none
    q3, q4 = queries[b, r3] if head > 3 else none, queries[b, r4] if head > 4 else none
    q5, q6 = queries[b, r5] if head > 5 else none, queries[b, r6] if head > 6 else none
    q7, q8 = queries[b, r7] if head > 7 else none, queries[b, r8] if head > 8 else none
    for n in range(TILE):
        half = q0 * tile[0, n] + q1 * tile[r1, n] + q2 * tile[r2, n] + q3 * tile[r3, n] + q4 * tile[r4, n]
        half = half + q5 * tile[r5, n] + q6 * tile[r6, n]
        scores[n] = half + q7 * tile[r7, n] + q8 * tile[r8, n]
    for j in range(head, dim, 8):
        q0, q1, q2, q3 = queries[b, j], queries[b, j + 1], queries[b, j + 2], queries[b, j + 3]
        q4, q5, q6, q7 = queries[b, j + 4], queries[b, j + 5], queries[b, j + 6], queries[b, j + 7]
        for n in range(TILE):
            half = scores[n] + q0 * tile[j, n] + q1 * tile[j + 1, n] + q2 * tile[j + 2, n] + q3 * tile[j + 3, n]
            half = half + q4 * tile[j + 4, n] + q5 * tile[j + 5, n]
            scores[n] = half + q6 * tile[j + 6, n] + q7 * tile[j + 7, n]


@njit(cache=True)
def _end(items):  # type: ignore[no-untyped-def]
    """Where the padding of items (n,) begins, -1 up to the end: most of a session's slots."""
    end = len(items)
    while end >= 16:
        some = False
        for slot in range(end - 16, end):  # as one comparison of vectors
            some |= items[slot] >= 0
        if some:
            break
        end -= 16
    while end > 0 and items[end - 1] < 0:
        end -= 1
    return end


@njit(cache=True)
def mark(seen, items, value):  # type: ignore[no-untyped-def]
    """seen (I,) <- value for items (n,), -1 as padding."""
    for slot in range(_end(items)):
        if items[slot] >= 0:
            seen[items[slot]] = value


@njit(cache=True, nogil=True)
def _top_items(queries, tiles, allowed, avoid, shown, ends, k):  # type: ignore[no-untyped-def]
    users, vectors, starts = len(queries), tiles.vectors, tiles.starts
    slates, widened = np.full((users, k), -1, np.int32), np.zeros(users, np.bool_)
    moves, counts = np.empty((users, len(starts)), np.int64), np.empty(users, np.int64)
    for b in range(users):
        counts[b] = _lay_out(b, 0, starts, allowed, avoid, moves[b])
    most = counts.max() if users else 0
    block = 1 if vectors.size <= CACHED else max(1, min(BLOCK, SCORED // (max(most, 1) * TILE)))
    scores, wider = np.empty((block, most + 1, TILE), np.float32), np.empty((len(vectors) + 1, TILE), np.float32)
    move = np.empty(len(starts), np.int64)
    for b in range(users):
        if b % block == 0:
            _score_block(queries, b, min(b + block, users), vectors, starts, moves, scores)
        earlier, avoided = shown[b, : ends[b]], avoid[b, : avoid.shape[1] if avoid[b].any() else 0]
        count = _pick(tiles, avoided, scores[b % block], counts[b], moves[b], earlier, 0, slates[b])
        for level in range(1, 3):
            if count == k:
                break
            widened[b], size = True, _lay_out(b, level, starts, allowed, avoid, move)
            for c in range(len(starts) - 1):
                if move[c] != UNPLANNED:
                    for t in range(starts[c], starts[c + 1]):
                        _score_tile(queries, b, vectors[t], wider[t + move[c]])
            count = _pick(tiles, avoided[:0], wider, size, move, earlier, count, slates[b])
    return slates, widened


@njit(cache=True)
def _lay_out(b, level, starts, allowed, avoid, moves):  # type: ignore[no-untyped-def]
    """moves (C + 2,) <- how many rows on the tiles of planned categories are, laid one after another; how many tiles.

    At level 0 as planned, at 1 without `avoid`, at 2 all. UNPLANNED for the others, and in the end for padding.
    """
    count = 0
    for c in range(len(starts) - 1):
        planned = c < len(starts) - 2 and allowed[b, c] and not (level == 0 and avoid[b, c])
        moves[c] = UNPLANNED
        if planned or level == 2:  # the last are items without a category, which no plan names
            moves[c] = count - starts[c]
            count += starts[c + 1] - starts[c]
    moves[-1] = UNPLANNED
    return count


@njit(cache=True)
def _score_block(queries, first, end, vectors, starts, moves, scores):  # type: ignore[no-untyped-def]
    """scores (n, t, TILE) <- those of users first to end: a few tiles for all users, and then the next."""
    for c in range(len(starts) - 1):
        for chunk in range(starts[c], starts[c + 1], CHUNK):
            for b in range(first, end):
                if moves[b, c] != UNPLANNED:
                    for t in range(chunk, min(chunk + CHUNK, starts[c + 1])):
                        _score_tile(queries, b, vectors[t], scores[b - first, t + moves[b, c]])


@njit(cache=True)
def _pick(tiles, avoided, scores, size, moves, earlier, begun, slate):  # type: ignore[no-untyped-def]
    """Fill a slate from place `begun` on with the best scored items of `size` tiles; how many it then holds.

    Those shown earlier and those it holds already are struck out first, and those of categories that are avoided,
    (C,) bool, are left out; (0,) where none is.
    """
    flat, names, count, last = scores.ravel(), tiles.items.ravel(), begun, len(slate) - 1
    starts, groups, avoids = tiles.starts, tiles.groups, len(avoided) > 0
    tops, hits = np.empty(len(slate), np.float32), np.empty(TILE, np.int64)
    _strike(flat, earlier, moves, tiles.places, tiles.owners)
    _strike(flat, slate[:begun], moves, tiles.places, tiles.owners)
    bar = _bar(scores[:size], len(slate) + SPARE)
    while True:
        sure = bar == -np.inf
        for c in range(len(starts) - 1):
            if moves[c] != UNPLANNED:
                for t in range(starts[c] + moves[c], starts[c + 1] + moves[c]):
                    some = False
                    for n in range(TILE):  # as one comparison of vectors
                        some |= scores[t, n] >= bar
                    if some:
                        found = 0
                        for n in range(TILE):  # those that reach it, without a branch for each
                            hits[found] = n
                            found += scores[t, n] >= bar
                        for hit in range(found):
                            n = hits[hit]
                            if scores[t, n] >= bar:
                                item = names[(t - moves[c]) * TILE + n]
                                if not (avoids and _any_avoided(item, groups, avoided)):
                                    count = _offer(item, scores[t, n], begun, count, slate, tops)
                                    if count > last:
                                        bar = max(bar, tops[last])
        if count > last or sure:
            return count
        bar = np.float32(-np.inf)  # some of what reached it may not be shown, or is the same item again


@njit(cache=True, forceinline=True)
def _strike(flat, struck, moves, places, owners):  # type: ignore[no-untyped-def]
    """-inf into scores ((t + 1) * TILE,) wherever items (n,) are, -1 as padding; into the last where they are not."""
    for slot in range(len(struck)):
        item = struck[slot]
        if item >= 0:
            for m in range(places.shape[1]):
                place = places[item, m] + moves[owners[item, m]] * TILE
                flat[np.uint64(place if place >= 0 else len(flat) - 1)] = -np.inf


@njit(cache=True, forceinline=True)
def _bar(scores, count):  # type: ignore[no-untyped-def]
    """A score that `count` of scores (t, TILE) reach; -inf where none is known.

    The best of each lane are scores of n different places, so that the least of the n greatest of these will do.
    """
    lanes, best = np.full(TILE, -np.inf, np.float32), np.full(count, -np.inf, np.float32)
    for t in range(len(scores)):
        for n in range(len(lanes)):
            lanes[n] = scores[t, n] if scores[t, n] > lanes[n] else lanes[n]
    for n in range(LANES):
        top = lanes[n]
        for other in range(n + LANES, TILE, LANES):
            top = max(top, lanes[other])
        place = len(best)
        while place > 0 and best[place - 1] < top:
            place -= 1
            if place + 1 < len(best):
                best[place + 1] = best[place]
        if place < len(best):
            best[place] = top
    return best[-1]


@njit(cache=True, forceinline=True)
def _any_avoided(item, groups, avoided):  # type: ignore[no-untyped-def]
    """Whether any of an item's categories is avoided (C,)."""
    found = False
    for m in range(groups.shape[1]):
        found |= groups[item, m] >= 0 and avoided[groups[item, m]]
    return found


@njit(cache=True, forceinline=True)
def _offer(item, score, begun, count, slate, tops):  # type: ignore[no-untyped-def]
    """Put an item where it belongs among `count` in a slate, from place `begun` on; how many the slate then holds.

    An item of two categories comes twice: its scores are the same bits, so that it meets itself.
    """
    place, last = count, len(slate) - 1
    while place > begun and (tops[place - 1] < score or (tops[place - 1] == score and slate[place - 1] > item)):
        place -= 1
    if place > last or not score > -np.inf or (place > begun and slate[place - 1] == item):
        return count
    for moved in range(min(count, last), place, -1):
        slate[moved], tops[moved] = slate[moved - 1], tops[moved - 1]
    slate[place], tops[place] = item, score
    return min(count + 1, len(slate))


@njit(cache=True)
def best_unseen(queries, b, tiles, category, seen, names, tops):  # type: ignore[no-untyped-def]
    """names (n,), tops (n,) <- a category's best items that were not seen (I,), best first; -1 and -inf beyond."""
    items, vectors = tiles.items, tiles.vectors
    scores = np.empty(TILE, np.float32)
    names[:], tops[:] = -1, -np.inf
    last = len(names) - 1
    for t in range(tiles.starts[category], tiles.starts[category + 1]):
        _score_tile(queries, b, vectors[t], scores)
        for n in range(TILE):
            if scores[n] > tops[last] and items[t, n] >= 0 and not seen[items[t, n]]:
                place = last
                while place > 0 and tops[place - 1] < scores[n]:
                    tops[place], names[place] = tops[place - 1], names[place - 1]
                    place -= 1
                tops[place], names[place] = scores[n], items[t, n]


@njit(cache=True, nogil=True)
def _best_items(queries, tiles, count):  # type: ignore[no-untyped-def]
    categories = len(tiles.starts) - 2  # without those of no category
    best = np.empty((len(queries), categories, count), np.int32)
    tops = np.empty((len(queries), categories, count), np.float32)
    seen = np.zeros(tiles.items.max() + 1, np.bool_)
    for c in range(categories):
        for b in range(len(queries)):
            best_unseen(queries, b, tiles, c, seen, best[b, c], tops[b, c])
    return best, tops


def eligible_items(
    groups: NDArray[np.int32],
    allowed: NDArray[np.bool_],
    avoid: NDArray[np.bool_],
    shown: NDArray[np.int32],
    least: int,
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """The items that may be shown next, and whether the plan was widened for want of them.

    A plan that leaves too few is widened as in `ItemIndex.top`: `avoid` is lifted first, then `allowed`, and what was
    shown before is never eligible; but what the plan left has no precedence then. When nothing is left, item 0 stands
    in; its slot stays empty.

    Args:
        groups: (I, M) each item's categories, -1 as padding. allowed, avoid: (B, C) plans.
        shown: (B, S) items already shown, -1 as padding. least: how many there should be.

    Returns:
        (B, I) bool, at least one True per row, and (B,) bool.
    """
    mask, widened = np.empty((len(shown), len(groups)), np.bool_), np.empty(len(shown), np.bool_)

    def find(at: slice) -> None:
        _find_eligible(groups, allowed[at], avoid[at], shown[at], mask[at], widened[at], least)

    threads.each(find, len(shown), threads.least(1 + len(groups) / 500))
    return mask, widened


@njit(cache=True, nogil=True)
def _find_eligible(groups, allowed, avoid, shown, mask, widened, least):  # type: ignore[no-untyped-def]
    said = np.zeros(allowed.shape[1] + 1, np.uint8)  # of each category, 1 for allowed and 2 for avoided; last, of none
    for b in range(len(shown)):
        for level in range(3):
            widened[b] = level > 0
            for c in range(allowed.shape[1]):
                said[c] = allowed[b, c] + 2 * (avoid[b, c] and level == 0)
            for item in range(len(groups)):
                of = np.uint8(0)
                for m in range(groups.shape[1]):
                    of |= said[groups[item, m]]  # -1 is the last
                mask[b, item] = of == 1 or level == 2
            mark(mask[b], shown[b], False)
            count = mask[b].sum()
            if count >= least:
                break
        if count == 0:
            mask[b, 0] = True
