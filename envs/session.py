"""The two Gymnasium views of the simulator: one user, and many side by side."""

import dataclasses
import difflib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium.error import InvalidAction, ResetNeeded
from gymnasium.spaces import Box, Dict, Discrete, MultiDiscrete
from gymnasium.vector import AutoresetMode, VectorEnv
from numba import njit
from numpy.typing import NDArray

from lerl.envs.catalog import Axis
from lerl.envs.checks import check_type
from lerl.envs.population import OWN_LOGS, Population, make_command
from lerl.envs.simulator import Outcome, SimulatorConfig, State, UserSimulator
from lerl.envs.synthetic import synthetic_population

HISTORY = 20  # slates in an observation
Observation = dict[str, NDArray[Any]]


class _Session:
    """What both views share: spaces, observations, checks and the state; batch is (B,), or () for one user."""

    def __init__(
        self,
        population: Population,
        batch: tuple[int, ...],
        split: str,
        config: SimulatorConfig | None,
        axis: Axis | None,
        reveal_hidden: bool,
        settings: dict[str, Any],
    ) -> None:
        check_type("reveal_hidden", reveal_hidden, bool)
        self.population = population
        self.config = _configured(config or SimulatorConfig(), settings)
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
        given, count = np.atleast_1d(_array(options["users"])), self.batch[0] if self.batch else 1
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
        given = _array(actions)
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


def _array(given: Any) -> NDArray[Any]:
    """What was given as an array; ragged rows as an array of objects, which is never what is wanted."""
    try:
        return np.asarray(given)
    except ValueError:
        return np.empty(len(given), object)


def _check_options(options: Any, known: tuple[str, ...]) -> None:
    if options is not None:
        check_type("options", options, dict)
    for name in options or ():
        if name not in known:
            close = difflib.get_close_matches(str(name), known, 1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise ValueError(f"unknown option {name!r}; this environment's reset knows {' and '.join(known)}.{hint}")


def _configured(config: SimulatorConfig, settings: dict[str, Any]) -> SimulatorConfig:
    known = [entry.name for entry in dataclasses.fields(config)]
    unknown = [name for name in settings if name not in known]
    if unknown:
        raise TypeError(f"unknown setting {unknown[0]!r}; the environment knows {', '.join(known)}")
    return dataclasses.replace(config, **settings)


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


class SessionEnv(gymnasium.Env[Observation, Any]):
    """One simulated user in one session of recommendations.

    ## Action space
    `Discrete(I)`, the item to show; with `slate_size` k above 1 `MultiDiscrete([I] * k)`, the slate from top to bottom.
    An item that is twice in the slate, or was shown before in the session (unless `repeats=True`), leaves its slot
    empty; empty slots are counted in `info["empty_slots"]`.

    ## Observation space
    A `Dict` of one-dimensional boxes; k is the slate size, C the number of categories (or of the given axis' groups), D
    the length of the agents' item vectors. The last 20 slates are flattened, oldest first, -1 as padding.

    | key | shape | range | meaning |
    |---|---|---|---|
    | recent_items | 20 k | -1 to I - 1 | items shown |
    | recent_categories | 20 k | -1 to C - 1 | the first category of each |
    | recent_feedback | 20 k | -1 to 1 | feedback on each: click 0 or 1, (stars - 1) / 4, or a mean of kinds |
    | category_exposure | C | 0 to 1 | share of the session's slots in each category |
    | category_feedback | C | -1 to 1 | mean feedback in each, -1 where nothing was shown |
    | last_categories | C | 0 to 1 | share of the last slate's slots in each |
    | time_left | 1 | 0 to 1 | share of the step cap that is left |
    | taste | D | finite | estimated from the user's known history, in the space of the agents' item vectors |
    | taste_offset | 1 | finite | log-odds to add to taste . item |

    ## Reward
    Mean feedback over the slate, in [0, 1]; an empty slot counts 0.

    ## Episode end
    Terminated when the user leaves (see `lerl.envs.leave`), truncated after `max_steps` steps.

    ## Starting state
    A user of the split, drawn from the seed; `reset(options={"users": [number]})` chooses one. Each further reset
    without a seed is the next session of the same seed.

    ## Information
    `empty_slots`; with `reveal_hidden=True` also `user`, `satisfaction`, `boredom`, `fatigue`, `mood`, `patience`,
    `true_taste` and, after a step, `chance`, the true chance of each click.

    ## Arguments
    Args:
        population: catalogue and users.
        split: "train", "evaluation" or "all".
        config: the users' behaviour.
        axis: what to count exposure along; the catalogue's categories when None.
        reveal_hidden: whether `info` holds the hidden state.
        settings: fields of `SimulatorConfig` to set by name, such as `slate_size=6`.

    ## Version history
    v0: first release.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012 - Gymnasium's own declaration

    def __init__(
        self,
        population: Population,
        *,
        split: str = "train",
        config: SimulatorConfig | None = None,
        axis: Axis | None = None,
        reveal_hidden: bool = False,
        render_mode: str | None = None,
        **settings: Any,
    ) -> None:
        if render_mode is not None:
            raise ValueError(f"this environment draws nothing: render_mode must be None, given {render_mode!r}")
        self._session = _Session(population, (), split, config, axis, reveal_hidden, settings)
        self.simulator = self._session.simulator
        self.action_space = self._session.action_space
        self.observation_space = self._session.observation_space
        self._seed = np.zeros(1, np.uint64)
        self._number = np.zeros(1, np.int64)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin a session: with a seed its first, without one the next."""
        _check_options(options, ("users",))
        slot = np.zeros(1, np.int64)
        users = self._session.chosen(options, slot)
        if seed is not None or self._session.state is None:
            super().reset(seed=seed)
            self._seed = np.array([(self.np_random_seed if seed is None else seed) % 2**64], np.uint64)
            self._number = np.zeros(1, np.int64)
        else:
            self._number = self._number + 1
        self._session.begin(slot, self._seed, self._number, users)
        return self._first(self._session.observe()), self._first(self._session.info())

    def step(self, action: Any) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Show an item or a slate; see the class for what comes back."""
        slates = self._session.checked(action, "SessionEnv")
        state = self._session.state
        if state is None or not state.active[0]:
            raise ResetNeeded("SessionEnv.step was called after the session had ended; call reset() to begin another")
        outcome = self.simulator.step(state, slates)
        return (
            self._first(self._session.observe()),
            float(outcome.reward[0]),
            bool(outcome.terminated[0]),
            bool(outcome.truncated[0]),
            self._first(self._session.info(outcome)),
        )

    @staticmethod
    def _first(arrays: dict[str, NDArray[Any]]) -> dict[str, Any]:
        return {key: value[0] for key, value in arrays.items()}


class SessionVectorEnv(VectorEnv[Observation, Any, Any]):
    """Many simulated users side by side, stepped at once: no processes, no Python loop over users.

    Spaces are those of `SessionEnv`, batched. Slot i of an environment reset with seed s lives, bit for bit, what a
    `SessionEnv` reset with seed s + i lives.

    Args:
        population: catalogue and users.
        num_envs: how many users.
        split: "train", "evaluation" or "all".
        config: the users' behaviour.
        axis: what to count exposure along; the catalogue's categories when None.
        reveal_hidden: whether infos hold the hidden state.
        autoreset_mode: NEXT_STEP (Gymnasium's default), SAME_STEP, or DISABLED, where finished slots must be reset with
            `reset(options={"reset_mask": (B,) bool})` before the next step.
        settings: fields of `SimulatorConfig` to set by name.

    `options["users"]` and a list as `seed` hold one entry per slot, of which those of the slots to reset count; a slot
    without a seed goes on to its next session. Infos are those of Gymnasium's own vector environments: under `key` one
    row per slot, under `_key` which of them the slot's environment gave.
    """

    def __init__(
        self,
        population: Population,
        num_envs: int = 1,
        *,
        split: str = "train",
        config: SimulatorConfig | None = None,
        axis: Axis | None = None,
        reveal_hidden: bool = False,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        **settings: Any,
    ) -> None:
        check_type("num_envs", num_envs, int)
        if num_envs < 1:
            raise ValueError(f"num_envs must be at least 1, given {num_envs}")
        self.num_envs = num_envs
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self.metadata = {"autoreset_mode": self.autoreset_mode, "render_modes": []}
        self._session = _Session(population, (num_envs,), split, config, axis, reveal_hidden, settings)
        self.simulator = self._session.simulator
        self.single_action_space = self._session.action_space
        self.single_observation_space = self._session.observation_space
        self.action_space = gymnasium.vector.utils.batch_space(self.single_action_space, num_envs)
        self._seeds = np.zeros(num_envs, np.uint64)
        self._numbers = np.zeros(num_envs, np.int64)

    @cached_property
    def observation_space(self) -> gymnasium.Space[Any]:  # type: ignore[override]
        """That of all slots, made when asked for: its bounds take twice the memory of an observation."""
        return gymnasium.vector.utils.batch_space(self.single_observation_space, self.num_envs)

    @property
    def state(self) -> State:
        """The users' whole state, hidden parts included: for privileged agents, look-ahead and tests."""
        return self._session._state()

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin sessions in every slot, or in those of `options["reset_mask"]`; see the class."""
        _check_options(options, ("users", "reset_mask"))
        mask = self._reset_mask(options)
        rows = np.flatnonzero(mask)
        users = self._session.chosen(options, rows)
        self._begin(rows, self._new_seeds(seed), users)
        return self._session.observe(), self._infos((mask, self._session.info()))

    def _reset_mask(self, options: dict[str, Any] | None) -> NDArray[np.bool_]:
        if not options or "reset_mask" not in options:
            return np.ones(self.num_envs, bool)
        mask = np.array(_array(options["reset_mask"]))
        if mask.shape != (self.num_envs,) or mask.dtype != np.bool_:
            raise ValueError(
                f"options['reset_mask'] must have shape ({self.num_envs},) and type bool, "
                f"given shape {mask.shape} and type {mask.dtype}"
            )
        if self._session.state is None and not mask.all():
            raise ResetNeeded("the first reset must be of every slot; leave out options['reset_mask']")
        return mask

    def _new_seeds(self, seed: int | Sequence[int | None] | None) -> dict[int, int]:
        """Seeds by slot, for the slots that get one."""
        if isinstance(seed, int | np.integer):
            seed = [int(seed) + slot for slot in range(self.num_envs)]
        given = [None] * self.num_envs if seed is None else list(seed)
        if len(given) != self.num_envs:
            raise ValueError(f"a list of seeds needs one entry per slot ({self.num_envs}), given {len(given)}")
        seeds = {slot: value for slot, value in enumerate(given) if value is not None}
        for value in seeds.values():
            check_type("a seed", value, int)
        if min(seeds.values(), default=0) < 0:
            raise ValueError(f"seeds must be at least 0, given {min(seeds.values())}")
        if self._session.state is None:
            base = int(self.np_random.integers(2**62))
            seeds = {slot: base + slot for slot in range(self.num_envs)} | seeds
        return seeds

    def _begin(self, rows: NDArray[np.int64], seeds: dict[int, int], users: NDArray[np.int64] | None) -> None:
        self._numbers[rows] += 1
        for slot in rows.tolist() if seeds else ():
            if slot in seeds:
                self._seeds[slot] = np.uint64(seeds[slot] % 2**64)
                self._numbers[slot] = 0
        self._session.begin(rows, self._seeds[rows], self._numbers[rows], users)

    def step(
        self, actions: Any
    ) -> tuple[Observation, NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """Show every user an item or a slate, (B,) or (B, k)."""
        slates = self._session.checked(actions, "SessionVectorEnv")
        going = self.state.active.copy()
        if not going.all() and self.autoreset_mode != AutoresetMode.NEXT_STEP:
            slot = int(np.flatnonzero(~going)[0])
            raise ResetNeeded(
                f"slot {slot} has ended and autoreset is disabled; call reset(options={{'reset_mask': ended}}) first"
            )
        outcome = self._advance(slates, going)
        info, final = self._session.info(outcome), {}
        again = ~going  # NEXT_STEP: slots that ended at the step before begin anew, whatever their action
        if self.autoreset_mode == AutoresetMode.SAME_STEP and not self.state.active.all():
            again = ~self.state.active
            final = self._final(again, info)
        if again.any():
            self._begin(np.flatnonzero(again), {}, None)
        infos = final | self._infos((~again, info), (again, self._session.info()))
        return self._session.observe(), outcome.reward, outcome.terminated, outcome.truncated, infos

    def snapshot(self) -> dict[str, Any]:
        """A copy of all that coming steps depend on, as nested dictionaries of arrays; `restore` takes it back."""
        everyone = np.arange(self.num_envs)
        return {
            "state": dataclasses.asdict(self.state.take(everyone)),
            "seeds": self._seeds.copy(),
            "numbers": self._numbers.copy(),
            "random": self.np_random.bit_generator.state,
        }

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Go back to a snapshot of an environment made with the same settings."""
        self._session.state = State(**snapshot["state"])
        self._seeds, self._numbers = snapshot["seeds"].copy(), snapshot["numbers"].copy()
        self.np_random.bit_generator.state = snapshot["random"]

    def _advance(self, slates: NDArray[np.int64], going: NDArray[np.bool_]) -> Outcome:
        """One step of the slots that are going on; what it brought, zero in the rows of the others.

        The others take part with empty slates, so that nothing has to be copied: they begin anew right after.
        """
        if going.all():
            return self.simulator.step(self.state, slates)
        ended, steps, slates = np.flatnonzero(~going), self.state.steps, slates.copy()
        np.minimum(steps, self.simulator.config.max_steps - 1, out=steps)
        slates[ended] = -1
        outcome = self.simulator.step(self.state, slates)
        for entry in dataclasses.fields(outcome):
            getattr(outcome, entry.name)[ended] = 0
        return outcome

    def _final(self, ended: NDArray[np.bool_], info: dict[str, NDArray[Any]]) -> dict[str, Any]:
        """What SAME_STEP autoreset would hide: the last observation and info of the slots that ended."""
        observation = self._session.observe()
        last = np.full(self.num_envs, None, object)
        for slot in np.flatnonzero(ended).tolist():
            last[slot] = {key: value[slot] for key, value in observation.items()}
        return {
            "final_obs": last,
            "_final_obs": ended,
            "final_info": self._infos((ended, info)),
            "_final_info": ended.copy(),
        }

    def _infos(self, *parts: tuple[NDArray[np.bool_], dict[str, NDArray[Any]]]) -> dict[str, Any]:
        """Infos in Gymnasium's form from the slots that a mask names and the rows that they have in an info."""
        infos: dict[str, Any] = {}
        for mask, info in parts:
            for key, value in info.items() if mask.any() else ():
                filled = infos.setdefault(key, np.zeros_like(value))
                np.copyto(filled, value, where=mask.reshape(-1, *(1,) * (value.ndim - 1)))
                present = infos.setdefault(f"_{key}", np.zeros(self.num_envs, bool))
                present |= mask
        return infos


def _synthetic(settings: dict[str, Any]) -> Population:
    sizes = {name: settings.pop(name) for name in ("users", "items", "categories", "dim") if name in settings}
    return synthetic_population(**sizes, seed=settings.pop("population_seed", 0))


def make_synthetic(**settings: Any) -> SessionEnv:
    """`lerl/Synthetic-v0`: `users`, `items`, `categories`, `dim`, `population_seed`, and `SessionEnv`'s settings."""
    return SessionEnv(_synthetic(settings), **settings)


def make_synthetic_vec(num_envs: int = 1, **settings: Any) -> SessionVectorEnv:
    """The vector view of `lerl/Synthetic-v0`."""
    return SessionVectorEnv(_synthetic(settings), num_envs, **settings)


def _prepared(settings: dict[str, Any], format: str) -> Population:
    path = settings.pop("path", None if format == OWN_LOGS else f"data/{format}")
    if path is None:
        made = make_command(Path("FOLDER"), format)
        raise ValueError(
            f"path is missing, the folder of a prepared data set: make one with `{made}` or `lerl data prepare`, and "
            f"give path='FOLDER'"
        )
    return Population.load(Path(path), format=format)


def make_movielens(**settings: Any) -> SessionEnv:
    """`lerl/MovieLens-v0`: `path` of a prepared folder, data/movielens by default, and `SessionEnv`'s settings."""
    return SessionEnv(_prepared(settings, "movielens"), **settings)


def make_movielens_vec(num_envs: int = 1, **settings: Any) -> SessionVectorEnv:
    """The vector view of `lerl/MovieLens-v0`."""
    return SessionVectorEnv(_prepared(settings, "movielens"), num_envs, **settings)


def make_goodbooks(**settings: Any) -> SessionEnv:
    """`lerl/Goodbooks-v0`: `path` of a prepared folder, data/goodbooks by default, and `SessionEnv`'s settings."""
    return SessionEnv(_prepared(settings, "goodbooks"), **settings)


def make_goodbooks_vec(num_envs: int = 1, **settings: Any) -> SessionVectorEnv:
    """The vector view of `lerl/Goodbooks-v0`."""
    return SessionVectorEnv(_prepared(settings, "goodbooks"), num_envs, **settings)


def make_kuairand(**settings: Any) -> SessionEnv:
    """`lerl/KuaiRand-v0`: `path` of a prepared folder, data/kuairand by default, and `SessionEnv`'s settings."""
    return SessionEnv(_prepared(settings, "kuairand"), **settings)


def make_kuairand_vec(num_envs: int = 1, **settings: Any) -> SessionVectorEnv:
    """The vector view of `lerl/KuaiRand-v0`."""
    return SessionVectorEnv(_prepared(settings, "kuairand"), num_envs, **settings)


def make_kuairec(**settings: Any) -> SessionEnv:
    """`lerl/KuaiRec-v0`: `path` of a prepared folder, data/kuairec by default, and `SessionEnv`'s settings."""
    return SessionEnv(_prepared(settings, "kuairec"), **settings)


def make_kuairec_vec(num_envs: int = 1, **settings: Any) -> SessionVectorEnv:
    """The vector view of `lerl/KuaiRec-v0`."""
    return SessionVectorEnv(_prepared(settings, "kuairec"), num_envs, **settings)


def make_logs(**settings: Any) -> SessionEnv:
    """`lerl/Logs-v0`: `path` of any prepared folder, which must be given, and `SessionEnv`'s settings."""
    return SessionEnv(_prepared(settings, OWN_LOGS), **settings)


def make_logs_vec(num_envs: int = 1, **settings: Any) -> SessionVectorEnv:
    """The vector view of `lerl/Logs-v0`."""
    return SessionVectorEnv(_prepared(settings, OWN_LOGS), num_envs, **settings)
