"""What agents see of a session: its spaces, and how observations are made of the simulator's state."""

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium.error import InvalidAction, ResetNeeded
from gymnasium.spaces import Box, Dict, Discrete, MultiDiscrete
from numba import njit
from numpy.typing import NDArray

from lerl.envs.catalog import Axis
from lerl.envs.checks import check_type, did_you_mean
from lerl.envs.config import SimulatorConfig, configured
from lerl.envs.population import Population
from lerl.envs.render import draw, scene_of
from lerl.envs.simulator import UserSimulator
from lerl.envs.state import Outcome, State

HISTORY = 20  # slates in an observation


Observation = dict[str, NDArray[Any]]


class Session:
    """What both views share: spaces, observations, checks and the state; batch is (B,), or () for one user."""

    def __init__(
        self,
        population: Population,
        batch: tuple[int, ...],
        split: str,
        config: SimulatorConfig | Mapping[str, Any] | None,
        axis: Axis | None,
        reveal_hidden: bool,
        settings: dict[str, Any],
    ) -> None:
        check_type("population", population, Population)
        check_type("reveal_hidden", reveal_hidden, bool)
        if axis is not None:
            check_type("axis", axis, Axis)
        self.population = population
        self.config = configured(config, settings)
        self.simulator = UserSimulator(population, self.config, split, axis)
        self.reveal_hidden = reveal_hidden
        self.batch = batch
        k = self.config.slate_size
        self._shapes = ((*batch, k),) if k > 1 else (batch, (*batch, 1))
        self.state: State | None = None
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
        return Dict(
            {
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
        """Put fresh sessions into the given slots."""
        if self.state is None:
            self.state = self.simulator.start(seeds, sessions, users)
        else:
            self.simulator.restart(self.state, rows, seeds, sessions, users)

    def checked(self, actions: Any, name: str) -> NDArray[np.int64]:
        """Actions as slates (B, k), or an error that says what was given and what to do."""
        if self.state is None:
            raise ResetNeeded(f"{name}.step was called before reset; call reset() first")
        given = as_array(actions)
        if given.dtype.kind not in "iu" or given.shape not in self._shapes:
            raise InvalidAction(
                f"{name}.step needs item numbers of an integer type in shape {self._shapes[0]}, "
                f"given an array of shape {given.shape} and type {given.dtype}"
            )
        slates = np.ascontiguousarray(given, np.int64).reshape(-1, self.config.slate_size)  # (B, k)
        items = len(self.population.catalog)
        if _outside(slates, items):
            wrong = given[(given < 0) | (given >= items)][0]
            raise InvalidAction(
                f"{name}.step was given item {wrong}, but the catalogue's items are 0 to {items - 1}; "
                "map your item identifiers to positions in the catalogue"
            )
        return slates

    def observe(self) -> Observation:
        """What a recommender may see of all users, each array (B, n)."""
        state, simulator, knowledge = self._state(), self.simulator, self.population.knowledge
        count, slots, categories = len(state), HISTORY * self.config.slate_size, len(simulator.axis.names)
        seen = {
            "recent_items": np.empty((count, slots), np.int32),
            "recent_categories": np.empty((count, slots), np.int32),
            "recent_feedback": np.empty((count, slots), np.float32),
            "category_exposure": np.empty((count, categories), np.float32),
            "category_feedback": np.empty((count, categories), np.float32),
            "last_categories": np.empty((count, categories), np.float32),
            "time_left": np.empty((count, 1), np.float32),
            "taste": np.empty((count, knowledge.tastes.shape[1]), np.float32),
            "taste_offset": np.empty((count, 1), np.float32),
        }
        _see(
            state.shown, state.feedback, state.steps, state.exposure, state.liked, state.user, knowledge.tastes,
            knowledge.user_offsets, simulator.groups, self.config.slate_size, self.config.max_steps, *seen.values(),
        )  # fmt: skip
        return seen

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
        return info

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


@njit(cache=True)
def _empty_slots(slates):  # type: ignore[no-untyped-def]
    counts = np.zeros(len(slates), np.int64)
    for b in range(len(slates)):
        for s in range(slates.shape[1]):
            counts[b] += slates[b, s] < 0
    return counts


@njit(cache=True)
def _unshown(shown, steps, k, items, repeats):  # type: ignore[no-untyped-def]
    open_items = np.ones((len(steps), items), np.int8)
    if not repeats:
        for b in range(len(steps)):
            for slot in range(steps[b] * k):
                if shown[b, slot] >= 0:
                    open_items[b, shown[b, slot]] = 0
    return open_items


@njit(cache=True)
def _recall(shown, log, steps, k, groups, recent, feedback, categories, last):  # type: ignore[no-untyped-def]
    slots = recent.shape[1]
    for b in range(len(steps)):
        end = steps[b] * k
        first = max(0, end - slots)
        padding = slots - (end - first)
        recent[b, :padding], feedback[b, :padding], categories[b, :padding] = -1, -1.0, -1
        for slot in range(padding, slots):
            item = shown[b, slot - padding + first]
            recent[b, slot], feedback[b, slot] = item, log[b, slot - padding + first]
            categories[b, slot] = groups[item, 0] if item >= 0 else -1
        for c in range(last.shape[1]):
            last[b, c] = 0.0
        for slot in range(max(0, end - k), end):
            item = shown[b, slot]
            if item >= 0:
                for m in range(groups.shape[1]):
                    group = groups[item, m]
                    if group >= 0:
                        last[b, group] = min(last[b, group] + 1.0 / k, 1.0)


@njit(cache=True, error_model="numpy")
def _see(  # type: ignore[no-untyped-def]
    shown, log, steps, exposure, liked, users, tastes, offsets, groups, k, max_steps, recent, categories, feedback,
    share, mean, last, left, taste, offset,
):  # fmt: skip
    """Fill the arrays of an observation, `recent` to `offset`, for B users."""
    _recall(shown, log, steps, k, groups, recent, feedback, categories, last)
    for b in range(len(steps)):
        slots = np.float32(max(steps[b] * k, 1))
        for c in range(exposure.shape[1]):
            count = np.float32(exposure[b, c])
            share[b, c] = count / slots
            mean[b, c] = liked[b, c] / count if count > 0 else np.float32(-1.0)
        left[b, 0], offset[b, 0] = 1 - steps[b] / max_steps, offsets[users[b]]
        for j in range(taste.shape[1]):  # an assignment of the row takes three times as long
            taste[b, j] = tastes[users[b], j]
