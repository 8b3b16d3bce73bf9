"""The two Gymnasium views of the simulator: one user, and many side by side."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

import gymnasium
import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import NDArray

from lerl.envs.catalog import Axis
from lerl.envs.checks import check_type, did_you_mean
from lerl.envs.config import SimulatorConfig
from lerl.envs.observation import (
    Observation,
    Session,
    as_array,
    check_options,
)
from lerl.envs.population import Population
from lerl.envs.render import FPS, MODES, check_render_mode
from lerl.envs.sessions.lives import Lives
from lerl.envs.state import Outcome, State
from lerl.envs.threads import limit

KEYWORDS = (
    *("split", "config", "axis", "reveal_hidden", "render_mode", "max_episode_steps"),
    *(field.name for field in dataclasses.fields(SimulatorConfig)),
)
"""Keyword arguments of both environments."""
VECTOR_KEYWORDS = ("num_envs", "autoreset_mode", "threads")


def check_keywords(given: Iterable[str], known: Sequence[str], view: type) -> None:
    """Refuse a keyword that is not known, in the words of Python, which other libraries look for in errors."""
    for name in given:
        if name not in known:
            raise TypeError(
                f"{view.__name__}.__init__() got an unexpected keyword argument {name!r}."
                f"{did_you_mean(name, known, quotes=True)} The environment knows {', '.join(known)}"
            )


def _autoreset_mode(given: Any) -> AutoresetMode:
    try:
        return AutoresetMode(given)
    except ValueError:
        known = ", ".join(repr(mode.value) for mode in AutoresetMode)
        raise ValueError(f"autoreset_mode must be one of {known}, given {given!r}") from None


def _no_render_mode(env: Any) -> None:
    """What Gymnasium's own environments say when there is nothing to draw for."""
    gymnasium.logger.warn(
        "render() was called, but render_mode is None; choose one when the environment is made, such as "
        f"gymnasium.make({env.spec.id if env.spec else 'ID'!r}, render_mode='ansi')"
    )


class SessionEnv(gymnasium.Env[Observation, Any]):
    """One simulated user in one session of recommendations.

    ## Action space
    `Discrete(I)`, the item to show; with `slate_size` k above 1 `MultiDiscrete([I] * k)`, the slate from top to bottom.
    With `roles` a slot takes items of its role only. An item of another role, one that is in the slate twice, and one
    that was shown before in the session (unless `repeats=True`) leave their slot empty; empty slots are counted in
    `info["empty_slots"]`.

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
    | recent_whole | 20 | -1 to 1 | with `roles` alone: clicks on the last whole slates |
    | taste | D | finite | estimated from the user's known history, in the space of the agents' item vectors |
    | taste_offset | 1 | finite | log-odds to add to taste . item |
    | sessions | 1 | at least 0 | of lives alone: sessions of this person before this one |
    | days_since | 1 | 0 to days | of lives alone: days between the last session and this one, 0 in the first |
    | days_left | 1 | 0 to days | of lives alone: days from this session's start to the end |

    ## Reward
    Mean feedback over the slate, in [0, 1]; an empty slot counts 0.

    ## Episode end
    Terminated when the user leaves (see `lerl.envs.leave`), truncated after `max_steps` steps.

    ## Lives
    With `horizon="days"` an episode is all that one person does in so many `days`: who leaves, or is cut after
    `max_steps` steps, comes back as `return_` says (see `lerl.envs.sessions`). The same step moves the clock on, and
    the observation is the first of the next session: what was shown before is no longer seen. Terminated when the
    person is gone for good, truncated when the next session would begin after the last day.

    ## Starting state
    A user of the split, drawn from the seed; `reset(options={"users": [number]})` chooses one. Each further reset
    without a seed is the next session of the same seed.

    ## Information
    `empty_slots`; with slates of one `action_mask`, (I,) int8, 0 for items that were shown in this session (unless
    `repeats=True`), as `action_space.sample(mask)` takes it; with `reveal_hidden=True` also `user`, `satisfaction`,
    `boredom`, `fatigue`, `mood`, `patience`, `true_taste` and, after a step, `chance`, the true chance of each click.
    Of lives also `session`, its number from 0, `day`, when it began, `gap`, days since the last one, `session_ended`,
    whether the slate just shown was the last of a session, and `feedback`, (k,) float32 on that slate, -1 for an empty
    slot; with `reveal_hidden=True` also `memory`, `habit`, and `last_satisfaction`, that at the last session's end.

    ## Rendering
    "ansi" is text: the newest slate with titles, categories and feedback, the reward, the user's satisfaction with
    `reveal_hidden=True`, and the attribute `plan` where somebody has set it to what a planner chose. "rgb_array" is a
    picture of that, (384, 640, 3) uint8. Nothing is drawn before `render()` is called.

    ## Arguments
    `gymnasium.make` takes these by name; in the place of `population`, `lerl/Synthetic-v0` takes `users`, `items`,
    `categories`, `dim` and `population_seed`, and each other environment the `path` of a prepared folder.

    Args:
        population: catalog and users.
        split: "train", "evaluation" or "all".
        config: the users' behaviour, as a `SimulatorConfig` or a dictionary.
        axis: what to count exposure along; the catalog's categories when None. An `Axis`, or what `Axis.lists` makes
            of one.
        reveal_hidden: whether `info` holds the hidden state.
        render_mode: None, "ansi" or "rgb_array".
        settings: fields of `SimulatorConfig` to set by name, such as `slate_size=6`. Sections may be dictionaries, such
            as `boredom={"weight": 2.0}` or `leave={"rule": "window", "window": {"most": 6}}`; `leave="window"` is
            `leave={"rule": "window"}`. `max_episode_steps` is `max_steps` by another name, but `gymnasium.make` keeps
            it for itself: it then cuts sessions from outside, while `time_left` still counts to `max_steps`.

    ## Version history
    v0: first release.
    """

    metadata: dict[str, Any] = {"render_modes": list(MODES), "render_fps": FPS}  # noqa: RUF012 - as Gymnasium wants it

    def __init__(
        self,
        population: Population,
        *,
        split: str = "train",
        config: SimulatorConfig | Mapping[str, Any] | None = None,
        axis: Axis | Mapping[str, Any] | None = None,
        reveal_hidden: bool = False,
        render_mode: str | None = None,
        **settings: Any,
    ) -> None:
        check_keywords(settings, KEYWORDS, type(self))
        check_render_mode(render_mode)
        self.render_mode = render_mode
        self.plan: object = None
        self._session = Session(population, (), split, config, axis, reveal_hidden, settings)
        self.simulator = self._session.simulator
        self.action_space = self._session.action_space
        self.observation_space = self._session.observation_space
        self._seed = np.zeros(1, np.uint64)
        self._number = np.zeros(1, np.int64)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin a session: with a seed its first, without one the next."""
        check_options(options, ("users",))
        if seed is not None:
            check_type("seed", seed, int)
            seed = int(seed)
        slot = np.zeros(1, np.int64)
        users = self._session.chosen(options, slot)
        if seed is not None or self._session.state is None:
            super().reset(seed=seed)
            self._seed = np.array([(self.np_random_seed if seed is None else seed) % 2**64], np.uint64)
            self._number = np.zeros(1, np.int64)
        else:
            self._number = self._number + 1
        self._session.begin(slot, self._seed, self._number, users)
        return self._first(self._session.observe()), self._info()

    def step(self, action: Any) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Show an item or a slate; see the class for what comes back."""
        slates = self._session.checked(action, "SessionEnv")
        state = self._session.state
        if state is None or not state.active[0]:
            raise ResetNeeded("SessionEnv.step was called after the session had ended; call reset() to begin another")
        session = self._session
        outcome = self.simulator.step(state, slates) if session.life is None else session.live(slates)
        return (
            self._first(self._session.observe()),
            float(outcome.reward[0]),
            bool(outcome.terminated[0]),
            bool(outcome.truncated[0]),
            self._info(outcome),
        )

    def render(self) -> str | NDArray[np.uint8] | None:
        """The newest slate as text or as a picture, as `render_mode` says; see the class."""
        if self.render_mode is None:
            _no_render_mode(self)
            return None
        return self._session.render(self.render_mode, 0, self.plan)

    def action_masks(self) -> NDArray[np.bool_]:
        """Which actions may be chosen now, as MaskablePPO of sb3-contrib calls for it.

        (I,) bool with slates of one: False for items that were shown in this session, unless `repeats=True`. Slates of
        k have (k * I,), one slot after another, the same for each slot unless slots have roles: a mask cannot say that
        slots must differ, and the lower of two equal slots stays empty.
        """
        return self._session.slate_mask()[0]

    def _info(self, outcome: Outcome | None = None) -> dict[str, Any]:
        info = self._first(self._session.info(outcome))
        if self._session.config.slate_size == 1:
            info["action_mask"] = self._session.action_mask()[0]
        if self._session.lives is not None:
            info["session_ended"] = bool(info["session_ended"])  # of NumPy's, Gymnasium would make arrays of objects
        return info

    @staticmethod
    def _first(arrays: dict[str, NDArray[Any]]) -> dict[str, Any]:
        return {key: value[0] for key, value in arrays.items()}


class SessionVectorEnv(VectorEnv[Observation, Any, Any]):
    """Many simulated users side by side, stepped at once: no processes, no Python loop over users.

    Spaces are those of `SessionEnv`, batched. Slot i of an environment reset with seed s behaves, bit for bit, like a
    `SessionEnv` reset with seed s + i.

    Args:
        population: catalog and users.
        num_envs: how many users.
        split: "train", "evaluation" or "all".
        config: the users' behaviour, as a `SimulatorConfig` or a dictionary.
        axis: what to count exposure along; the catalog's categories when None. An `Axis`, or what `Axis.lists` makes
            of one.
        reveal_hidden: whether infos hold the hidden state.
        render_mode: None, "ansi" or "rgb_array"; `render()` then gives one text or picture for each slot.
        autoreset_mode: NEXT_STEP (Gymnasium's default), SAME_STEP, or DISABLED, where finished slots must be reset with
            `reset(options={"reset_mask": (B,) bool})` before the next step.
        threads: how many threads step the users, in the same bits; as `lerl.envs.threads` says when None, which is all
            cores unless the environment variable `LERL_THREADS` says otherwise. A few hundred users stay in one.
        settings: fields of `SimulatorConfig` to set by name, as in `SessionEnv`; `max_episode_steps`, which
            `gymnasium.make_vec` hands on, is `max_steps` by another name.

    `options["users"]` and a list as `seed` hold one entry per slot, of which those of the slots to reset count; a slot
    without a seed goes on to its next session. Infos are those of Gymnasium's own vector environments: under `key` one
    row per slot, under `_key` which of them the slot's environment gave. There is no `action_mask` among them, which is
    B rows of I items; `action_masks()` gives it where it is needed.
    """

    def __init__(
        self,
        population: Population,
        num_envs: int = 1,
        *,
        split: str = "train",
        config: SimulatorConfig | Mapping[str, Any] | None = None,
        axis: Axis | Mapping[str, Any] | None = None,
        reveal_hidden: bool = False,
        render_mode: str | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        threads: int | None = None,
        **settings: Any,
    ) -> None:
        check_keywords(settings, (*VECTOR_KEYWORDS, *KEYWORDS), type(self))
        check_type("num_envs", num_envs, int)
        if num_envs < 1:
            raise ValueError(f"num_envs must be at least 1, given {num_envs}")
        self.num_envs = num_envs
        self._threads = limit(threads).threads
        check_render_mode(render_mode)
        self.render_mode = render_mode
        self.plans: Sequence[object] = (None,) * num_envs
        self.autoreset_mode = _autoreset_mode(autoreset_mode)
        self.metadata = {"autoreset_mode": self.autoreset_mode, "render_modes": list(MODES), "render_fps": FPS}
        self._session = Session(population, (num_envs,), split, config, axis, reveal_hidden, settings)
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

    @property
    def lives(self) -> Lives | None:
        """What lasts from session to session of all people, hidden parts included; None where horizon is "session"."""
        return self._session.lives

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin sessions in every slot, or in those of `options["reset_mask"]`; see the class."""
        check_options(options, ("users", "reset_mask"))
        mask = self._reset_mask(options)
        rows = np.flatnonzero(mask)
        users = self._session.chosen(options, rows)
        with limit(self._threads):
            seen = self._begin(rows, self._new_seeds(seed, rows), users)
            return seen, self._infos((mask, self._session.info()))

    def _reset_mask(self, options: dict[str, Any] | None) -> NDArray[np.bool_]:
        if not options or "reset_mask" not in options:
            return np.ones(self.num_envs, bool)
        mask = np.array(as_array(options["reset_mask"]))
        if mask.shape != (self.num_envs,) or mask.dtype != np.bool_:
            raise ValueError(
                f"options['reset_mask'] must have shape ({self.num_envs},) and type bool, "
                f"given shape {mask.shape} and type {mask.dtype}"
            )
        if self._session.state is None and not mask.all():
            raise ResetNeeded("the first reset must be of every slot; leave out options['reset_mask']")
        return mask

    def _new_seeds(self, seed: int | Sequence[int | None] | None, rows: NDArray[np.int64]) -> dict[int, int]:
        """Seeds by slot, for those of these slots that get one, in their order."""
        if seed is not None and (isinstance(seed, str) or not isinstance(seed, Iterable)):
            check_type("seed", seed, int)
            seed = [int(seed) + slot for slot in range(self.num_envs)]
        given = [None] * self.num_envs if seed is None else list(seed)
        if len(given) != self.num_envs:
            raise ValueError(f"a list of seeds needs one entry per slot ({self.num_envs}), given {len(given)}")
        seeds = {slot: given[slot] for slot in rows.tolist() if given[slot] is not None}
        for value in seeds.values():
            if type(value) is not int:  # looked at here, as it is quicker
                check_type("a seed", value, int)
        if min(seeds.values(), default=0) < 0:
            raise ValueError(f"seeds must be at least 0, given {min(seeds.values())}")
        if self._session.state is None:
            base = int(self.np_random.integers(2**62))
            seeds = {slot: base + slot for slot in range(self.num_envs)} | seeds
        return seeds

    def _begin(self, rows: NDArray[np.int64], seeds: dict[int, int], users: NDArray[np.int64] | None) -> Observation:
        """Begin the next sessions in these slots, or the first of a new seed; what is then seen of all slots."""
        self._numbers[rows] += 1
        new = list(seeds)
        self._seeds[new], self._numbers[new] = np.array([int(seed) % 2**64 for seed in seeds.values()], np.uint64), 0
        return self._session.begin_and_observe(rows, self._seeds[rows], self._numbers[rows], users)

    def step(
        self, actions: Any
    ) -> tuple[Observation, NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """Show every user an item or a slate, (B,) or (B, k)."""
        with limit(self._threads):
            return self._step(actions)

    def _step(
        self, actions: Any
    ) -> tuple[Observation, NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
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
        seen = self._begin(np.flatnonzero(again), {}, None) if again.any() else self._session.observe()
        infos = final | self._infos((~again, info), (again, self._session.info()))
        return seen, outcome.reward, outcome.terminated, outcome.truncated, infos

    def render(self) -> tuple[str | NDArray[np.uint8], ...] | None:
        """Each slot's newest slate as text or as a picture, as `render_mode` says; see `SessionEnv`."""
        if self.render_mode is None:
            _no_render_mode(self)
            return None
        if len(self.plans) != self.num_envs:
            raise ValueError(f"plans must hold one for each of the {self.num_envs} slots, given {len(self.plans)}")
        return tuple(self._session.render(self.render_mode, slot, plan) for slot, plan in enumerate(self.plans))

    def action_masks(self) -> NDArray[np.bool_]:
        """Which actions each slot may choose now, (B, I) bool, or (B, k * I); see `SessionEnv`."""
        return self._session.slate_mask()

    def snapshot(self) -> dict[str, Any]:
        """A copy of all that coming steps depend on, as nested dictionaries of arrays; `restore` takes it back."""
        everyone = np.arange(self.num_envs)
        lives = self._session.lives
        return {
            "state": dataclasses.asdict(self.state.take(everyone)),
            "seeds": self._seeds.copy(),
            "numbers": self._numbers.copy(),
            "random": self.np_random.bit_generator.state,
        } | ({} if lives is None else {"lives": dataclasses.asdict(lives.take(everyone))})

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Go back to a snapshot of an environment made with the same settings."""
        before = {"whole": np.zeros((self.num_envs, 0), np.float32)}  # snapshots of before slots had roles lack it
        self._session.state = State(**before | snapshot["state"])
        if self._session.life is not None:
            self._session.lives = Lives(**snapshot["lives"])
        self._seeds, self._numbers = snapshot["seeds"].copy(), snapshot["numbers"].copy()
        self.np_random.bit_generator.state = snapshot["random"]

    def _advance(self, slates: NDArray[np.int64], going: NDArray[np.bool_]) -> Outcome:
        """One step of the slots that are going on; what it brought, zero in the rows of the others.

        The others take part with empty slates, so that nothing has to be copied: they begin anew right after.
        """
        session = self._session
        if going.all():
            return self.simulator.step(self.state, slates) if session.life is None else session.live(slates)
        ended, steps, slates = np.flatnonzero(~going), self.state.steps, slates.copy()
        np.minimum(steps, self.simulator.config.max_steps - 1, out=steps)
        slates[ended] = -1
        outcome = self.simulator.step(self.state, slates) if session.life is None else session.live(slates)
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
