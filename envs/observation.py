"""What agents see of a session: its spaces, and how observations are made of the simulator's state."""

from collections.abc import Callable, Mapping
from operator import attrgetter, itemgetter
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from gymnasium.error import InvalidAction, ResetNeeded
from gymnasium.spaces import Box, Dict, Discrete, MultiDiscrete
from numba import njit
from numpy.typing import NDArray

from lerl.envs import threads
from lerl.envs.catalog import Axis
from lerl.envs.checks import check_type, did_you_mean
from lerl.envs.config import SimulatorConfig, configured
from lerl.envs.population import Population
from lerl.envs.render import draw, scene_of
from lerl.envs.sessions.lives import LifeSimulator, Lives
from lerl.envs.sessions.views import life_info, life_spaces, see_life
from lerl.envs.simulator import UserSimulator
from lerl.envs.state import Outcome, State

HISTORY = 20  # slates in an observation
SEE, SEE_SLOT = 0.06, 0.05  # microseconds that an observation and each slot of a slate take, about


Observation = dict[str, NDArray[Any]]


class Session:
    """What both views share: spaces, observations, checks and the state; batch is (B,), or () for one user."""

    def __init__(
        self,
        population: Population,
        batch: tuple[int, ...],
        split: str,
        config: SimulatorConfig | Mapping[str, Any] | None,
        axis: Axis | Mapping[str, Any] | None,
        reveal_hidden: bool,
        settings: dict[str, Any],
    ) -> None:
        check_type("population", population, Population)
        check_type("reveal_hidden", reveal_hidden, bool)
        if isinstance(axis, Mapping):
            axis = Axis.from_lists(axis, len(population.catalog))
        if axis is not None:
            check_type("axis", axis, Axis)
        self.population = population
        self.config = configured(config, settings)
        self.simulator = UserSimulator(population, self.config, split, axis)
        self.life = LifeSimulator(self.simulator) if self.config.horizon == "days" else None
        knowledge = population.knowledge
        self._known = tuple(Known(knowledge.tastes, knowledge.user_offsets, self.simulator.groups))
        self.reveal_hidden = reveal_hidden
        self.batch = batch
        k = self.config.slate_size
        self._shapes = ((*batch, k),) if k > 1 else (batch, (*batch, 1))
        self._least = threads.least(SEE + SEE_SLOT * k)
        self.state: State | None = None
        self.lives: Lives | None = None
        self.action_space = self._actions()
        self.observation_space = self._observations()

    def _actions(self) -> Discrete | MultiDiscrete:
        items, k = len(self.population.catalog), self.config.slate_size
        return Discrete(items) if k == 1 else MultiDiscrete(np.full(k, items))

    def _observations(self) -> gymnasium.Space[Any]:
        slots = HISTORY * self.config.slate_size
        categories = len(self.simulator.axis.names)
        tastes, offsets = self.population.knowledge.tastes, self.population.knowledge.user_offsets
        reach, offset_reach = float(np.abs(tastes).max()) or 1.0, float(np.abs(offsets).max()) or 1.0
        more: dict[str, gymnasium.Space[Any]] = {} if self.life is None else life_spaces(self.config)
        if self.simulator.roles is not None:
            more["recent_whole"] = Box(-1, 1, (HISTORY,), np.float32)
        return Dict(
            more
            | {
                "recent_items": Box(-1, len(self.population.catalog) - 1, (slots,), np.int32),
                "recent_categories": Box(-1, categories - 1, (slots,), np.int32),
                "recent_feedback": Box(-1, 1, (slots,), np.float32),
                "category_exposure": Box(0, 1, (categories,), np.float32),
                "category_feedback": Box(-1, 1, (categories,), np.float32),
                "last_categories": Box(0, 1, (categories,), np.float32),
                "time_left": Box(0, 1, (1,), np.float32),
                "taste": Box(-reach, reach, (tastes.shape[1],), np.float32),
                "taste_offset": Box(-offset_reach, offset_reach, (1,), np.float32),
            }
        )

    def chosen(self, options: dict[str, Any] | None, rows: NDArray[np.int64]) -> NDArray[np.int64] | None:
        """The users that `options["users"]` names for the given slots, or None."""
        if not options or "users" not in options:
            return None
        given, count = np.atleast_1d(as_array(options["users"])), self.batch[0] if self.batch else 1
        if given.dtype.kind not in "iu" or given.shape != (count,):
            raise ValueError(
                f"options['users'] must hold {count} whole numbers, one user per slot, "
                f"given an array of shape {given.shape} and type {given.dtype}"
            )
        users = given[rows].astype(np.int64)
        foreign = users[~np.isin(users, self.simulator.users)]
        if foreign.size:
            raise ValueError(
                f"options['users'] names user {foreign[0]}, who is outside this environment's split; "
                "its users are env.simulator.users"
            )
        return users

    def begin(
        self,
        rows: NDArray[np.int64],
        seeds: NDArray[np.uint64],
        sessions: NDArray[np.int64],
        users: NDArray[np.int64] | None,
    ) -> None:
        """Put fresh sessions, or lives, into the given slots, which rise."""
        if self.life is not None:
            if self.state is None or self.lives is None:
                self.state, self.lives = self.life.start(seeds, sessions, users)
            else:
                self.life.restart(self.state, self.lives, rows, seeds, sessions, users)
        elif self.state is None:
            self.state = self.simulator.start(seeds, sessions, users)
        else:
            self.simulator.restart(self.state, rows, seeds, sessions, users)

    def begin_and_observe(
        self,
        rows: NDArray[np.int64],
        seeds: NDArray[np.uint64],
        sessions: NDArray[np.int64],
        users: NDArray[np.int64] | None,
    ) -> Observation:
        """As `begin` and then `observe`; of many slots, each block is gone over once."""
        state = self.state
        if state is None or len(state) < 2 * self._least or self.simulator.own_code or self.life is not None:
            self.begin(rows, seeds, sessions, users)
            return self.observe()

        def begin(block: slice) -> None:
            first, end = np.searchsorted(rows, (block.start, block.stop))
            own, some = slice(first, end), None if users is None else users[first:end]
            self.simulator.restart(state, rows[own], seeds[own], sessions[own], some)

        return self.observe(begin)

    def checked(self, actions: Any, name: str) -> NDArray[np.int64]:
        """Actions as slates (B, k), or an error that says what was given and what to do."""
        if self.state is None:
            raise ResetNeeded(f"{name}.step was called before reset; call reset() first")
        given = as_array(actions)
        if given.dtype.kind not in "iu" or given.shape not in self._shapes:
            raise InvalidAction(
                f"{name}.step needs item numbers of an integer type in shape {self._shapes[0]}, "
                f"given an array of shape {given.shape} and type {given.dtype}{self._size_hint(given)}"
            )
        slates = np.ascontiguousarray(given, np.int64).reshape(-1, self.config.slate_size)  # (B, k)
        items = len(self.population.catalog)
        if _outside(slates, items):
            wrong = given[(given < 0) | (given >= items)][0]
            raise InvalidAction(
                f"{name}.step was given item {wrong}, but the catalog's items are 0 to {items - 1}; "
                "map your item identifiers to positions in the catalog"
            )
        return slates

    def _size_hint(self, given: NDArray[Any]) -> str:
        """What to do about slates of another size, where that is what is wrong."""
        k, size = self.config.slate_size, given.shape[-1] if given.ndim else 0
        if k > 1 and given.shape == self.batch:
            return f"; slates have {k} items here, make the environment with slate_size=1 for one item a step"
        if given.shape[:-1] == self.batch and given.ndim and size not in (0, k):
            return f"; for slates of {size} make the environment with slate_size={size}"
        return ""

    def observe(self, before: Callable[[slice], None] | None = None) -> Observation:
        """What a recommender may see of all users, each array (B, n); `before` is called with each block first."""
        state = self._state()
        users = len(state)
        seen = _blank(users, self.config.slate_size, len(self.simulator.axis.names), self._known[0].shape[1])
        history, arrays, config = _history(state), _seen(seen), self.config

        def see(block: slice) -> None:
            if before is not None:
                before(block)
            own, into = threads.cut(history, block), threads.cut(arrays, block)
            _see(own, self._known, config.slate_size, config.max_steps, into)

        if users < 2 * self._least and before is None:
            _see(history, self._known, config.slate_size, config.max_steps, arrays)
        else:
            threads.each(see, users, self._least)
        if self.simulator.roles is not None:
            seen["recent_whole"] = self._wholes()
        if self.lives is not None:
            seen |= see_life(self.lives, config)
        return seen

    def live(self, slates: NDArray[np.int64]) -> Outcome:
        """Show slates (B, k) to people who come back, where the horizon is days."""
        if self.life is None or self.lives is None:
            raise ResetNeeded("there are no lives before reset; call reset() first")
        return self.life.step(self._state(), self.lives, slates)

    def _wholes(self) -> NDArray[np.float32]:
        """(B, 20) clicks on the last whole slates, oldest first."""
        state = self._state()
        at = state.steps[:, None] - HISTORY + np.arange(HISTORY)
        found: NDArray[np.float32] = np.take_along_axis(state.whole, np.maximum(at, 0), axis=1)
        return np.where(at >= 0, found, np.float32(-1))

    def _state(self) -> State:
        if self.state is None:
            raise ResetNeeded("there is nothing to see before reset; call reset() first")
        return self.state

    def info(self, outcome: Outcome | None = None) -> dict[str, NDArray[Any]]:
        """Per-user extras, each array with B rows; hidden state only when it was asked for."""
        state = self._state()
        empty = np.zeros(len(state), np.int64) if outcome is None else _empty_slots(outcome.slates)
        info: dict[str, NDArray[Any]] = {"empty_slots": empty}
        if self.reveal_hidden:
            info |= {
                "user": state.user.copy(),
                "satisfaction": state.satisfaction.copy(),
                "boredom": state.boredom.copy(),
                "fatigue": state.fatigue.copy(),
                "mood": state.mood.copy(),
                "patience": state.patience.copy(),
            }
            if "taste" in state.response:
                info["true_taste"] = state.response["taste"].copy()
            if outcome is not None:
                info["chance"] = outcome.chance
        if self.lives is not None:
            info |= life_info(self.lives, self.config.slate_size, outcome, self.reveal_hidden)
        return info

    def slate_mask(self) -> NDArray[np.bool_]:
        """(B, k * I), for each slot after the other which items may be shown there."""
        one, roles = self.action_mask().astype(bool), self.simulator.roles
        if roles is None:
            return np.tile(one, self.config.slate_size)
        fits = roles.slot_of == np.arange(self.config.slate_size)[:, None]  # (k, I)
        return (one[:, None, :] & fits).reshape(len(one), -1)

    def action_mask(self) -> NDArray[np.int8]:
        """(B, I), 1 for items that may still be shown, 0 for those that would leave their slot empty."""
        state, config = self._state(), self.config
        return _unshown(state.shown, state.steps, config.slate_size, len(self.population.catalog), config.repeats)

    def render(self, mode: str, row: int, plan: object) -> str | NDArray[np.uint8]:
        """What there is to see of one user."""
        return draw(mode, scene_of(self.simulator, self._state(), row, self.reveal_hidden, plan))


def as_array(given: Any) -> NDArray[Any]:
    """What was given as an array; ragged rows as an array of objects, which is never what is wanted."""
    try:
        return np.asarray(given)
    except ValueError:
        return np.empty(len(given), object)


def check_options(options: Any, known: tuple[str, ...]) -> None:
    if options is not None:
        check_type("options", options, dict)
    for name in options or ():
        if name not in known:
            raise ValueError(
                f"unknown option {name!r}; this environment's reset knows {' and '.join(known)}."
                f"{did_you_mean(str(name), known, quotes=True)}"
            )


@njit(cache=True)
def _outside(slates, items):  # type: ignore[no-untyped-def]
    for b in range(slates.shape[0]):
        for s in range(slates.shape[1]):
            if slates[b, s] < 0 or slates[b, s] >= items:
                return True
    return False


@njit(cache=True, nogil=True)
def _empty_slots(slates):  # type: ignore[no-untyped-def]
    counts = np.zeros(len(slates), np.int64)
    for b in range(len(slates)):
        for s in range(slates.shape[1]):
            counts[b] += slates[b, s] < 0
    return counts


@njit(cache=True, nogil=True)
def _unshown(shown, steps, k, items, repeats):  # type: ignore[no-untyped-def]
    open_items = np.ones((len(steps), items), np.int8)
    if not repeats:
        for b in range(len(steps)):
            for slot in range(steps[b] * k):
                if shown[b, slot] >= 0:
                    open_items[b, shown[b, slot]] = 0
    return open_items


class History(NamedTuple):
    """The arrays of a `State` that an observation is made of; see there."""

    shown: NDArray[np.int32]
    feedback: NDArray[np.float32]
    steps: NDArray[np.int32]
    exposure: NDArray[np.int32]
    liked: NDArray[np.float32]
    user: NDArray[np.int64]


class Known(NamedTuple):
    """What is known of users and items: tastes (U, d), offsets (U,), categories of items (I, M), -1 as padding."""

    tastes: NDArray[np.float32]
    offsets: NDArray[np.float32]
    groups: NDArray[np.int32]


class Seen(NamedTuple):
    """The arrays of an observation, each (B, n), by the names that agents see them under."""

    recent_items: NDArray[np.int32]
    recent_categories: NDArray[np.int32]
    recent_feedback: NDArray[np.float32]
    category_exposure: NDArray[np.float32]
    category_feedback: NDArray[np.float32]
    last_categories: NDArray[np.float32]
    time_left: NDArray[np.float32]
    taste: NDArray[np.float32]
    taste_offset: NDArray[np.float32]


# Plain tuples, in the order of the names: compiled code is called a third faster with these, and names them anew.
_history, _seen = attrgetter(*History._fields), itemgetter(*Seen._fields)


def _blank(count: int, k: int, categories: int, dim: int) -> Observation:
    """Room for an observation of so many users."""
    slots = HISTORY * k
    return {
        "recent_items": np.empty((count, slots), np.int32),
        "recent_categories": np.empty((count, slots), np.int32),
        "recent_feedback": np.empty((count, slots), np.float32),
        "category_exposure": np.empty((count, categories), np.float32),
        "category_feedback": np.empty((count, categories), np.float32),
        "last_categories": np.empty((count, categories), np.float32),
        "time_left": np.empty((count, 1), np.float32),
        "taste": np.empty((count, dim), np.float32),
        "taste_offset": np.empty((count, 1), np.float32),
    }


def see_history(
    shown: NDArray[np.int32], feedback: NDArray[np.float32], axis: Axis, known: Known, k: int, max_steps: int
) -> Observation:
    """What an agent sees of somebody outside the simulator, each array (1, n).

    Args:
        shown: (S,) items of S / k slates, slot after slot, -1 for an empty slot. feedback: (S,) in [0, 1] on each.
        axis: what exposure is counted along. known: of this person alone, tastes (1, D) and offsets (1,).
        k: items per slate. max_steps: slates of a whole session.
    """
    there = shown >= 0
    member = axis.membership[shown[there]]
    exposure = member.sum(axis=0, dtype=np.int32)[None]
    liked = (member * feedback[there, None]).sum(axis=0, dtype=np.float32)[None]
    steps = np.array([len(shown) // k], np.int32)
    history = History(shown[None], feedback[None], steps, exposure, liked, np.zeros(1, np.int64))
    seen = _blank(1, k, len(axis.names), known.tastes.shape[1])
    _see(tuple(history), tuple(known), k, max_steps, _seen(seen))
    return seen


@njit(cache=True)
def _recall(history, groups, k, seen):  # type: ignore[no-untyped-def]
    """Fill the last slates of an observation."""
    slots = seen.recent_items.shape[1]
    for b in range(len(history.steps)):
        end = history.steps[b] * k
        first = max(0, end - slots)
        padding = slots - (end - first)
        seen.recent_items[b, :padding], seen.recent_categories[b, :padding] = -1, -1
        seen.recent_feedback[b, :padding] = -1.0
        for slot in range(padding, slots):
            item = history.shown[b, slot - padding + first]
            seen.recent_items[b, slot] = item
            seen.recent_feedback[b, slot] = history.feedback[b, slot - padding + first]
            seen.recent_categories[b, slot] = groups[item, 0] if item >= 0 else -1
        last = seen.last_categories
        for c in range(last.shape[1]):
            last[b, c] = 0.0
        for slot in range(max(0, end - k), end):
            item = history.shown[b, slot]
            if item >= 0:
                for m in range(groups.shape[1]):
                    group = groups[item, m]
                    if group >= 0:
                        last[b, group] = min(last[b, group] + 1.0 / k, 1.0)


@njit(cache=True, nogil=True, error_model="numpy")
def _see(history, known, k, max_steps, seen):  # type: ignore[no-untyped-def]
    """Fill the arrays of an observation, for B users; `history`, `known` and `seen` come as plain tuples."""
    history, known, seen = History(*history), Known(*known), Seen(*seen)
    _recall(history, known.groups, k, seen)
    for b in range(len(history.steps)):
        slots, user = np.float32(max(history.steps[b] * k, 1)), history.user[b]
        for c in range(history.exposure.shape[1]):
            count = np.float32(history.exposure[b, c])
            seen.category_exposure[b, c] = count / slots
            seen.category_feedback[b, c] = history.liked[b, c] / count if count > 0 else np.float32(-1.0)
        seen.time_left[b, 0], seen.taste_offset[b, 0] = 1 - history.steps[b] / max_steps, known.offsets[user]
        for j in range(seen.taste.shape[1]):  # an assignment of the row takes three times as long
            seen.taste[b, j] = known.tastes[user, j]
