"""The simulated population: B users at once, and the only place where their dynamics live."""

import copy
import dataclasses
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from lerl.envs import draws, dynamics
from lerl.envs.catalog import Axis
from lerl.envs.checks import check_type, check_types, overlaid
from lerl.envs.dynamics import Boredom, Drift, Fatigue, Mood, Patience, Satisfaction, Similarity
from lerl.envs.leave import Leave, Situation
from lerl.envs.plugins import PluginError, blamed, checked_chances, load_plugin
from lerl.envs.population import Kinds, Population
from lerl.envs.response.latent import RESPONSES, Arrays, ResponseModel
from lerl.envs.topics import item_topics, unit_rows

# By how much harder (negative: easier) "at least 2, 3 and 5 stars" is than "at least 4", in log-odds, to one decimal
# from the star shares of MovieLens-1M: of the ratings, 94 % have at least 2 stars, 83 % 3, 57 % 4, and 22 % have 5.
STAR_STEPS = (-2.5, -1.3, 1.5)
CLICK_FROM = 0.75  # four stars; also true of a click, which is 1
NO_ITEM, NO_STEP = 1, 2  # why slates cannot be shown
NO_KINDS = np.zeros(0, np.float32), np.zeros(0, np.float32), np.zeros((0, 0), np.float32)
for _none in NO_KINDS:
    _none.setflags(write=False)  # compiled code takes read-only arrays for another type


@dataclass(frozen=True)
class SimulatorConfig:
    """Everything about the users' behaviour that may be set.

    Args:
        slate_size: items shown per step, at least 1, at most as many as there are.
        max_steps: steps after which a session is cut (truncated), at least 1.
        repeats: whether an item may be shown again in a session; otherwise its copy is an empty slot.
        feedback: "click" (0 or 1), "rating" (1 to 5 stars, seen as 0, 0.25, 0.5, 0.75, 1; a click is 4 or more), or
            "weighted" (the mean of the kinds of feedback that a population was prepared with by --feedback).
        topics: what bores: "hidden" clusters of the true item vectors, or "categories", the catalogue's own.
        topic_count: how many hidden clusters.
        response: "latent", "lookup" (in the matrix of a population prepared with --dense), "sequence" (a Transformer
            that `lerl fit` made; drift must be off), or your own as "my_package.my_module:MyResponse", made with the
            population.
        drift: how tastes move.
        boredom: how topics bore.
        fatigue: how sessions tire.
        mood: what comes and goes by itself.
        similarity: what items of one slate that are alike cost.
        satisfaction: how satisfaction follows what is felt.
        patience: how people differ in staying.
        leave: when people go.
    """

    slate_size: int = 1
    max_steps: int = 100
    repeats: bool = False
    feedback: str = "click"
    topics: str = "hidden"
    topic_count: int = 20
    response: str = "latent"
    drift: Drift = field(default_factory=Drift)
    boredom: Boredom = field(default_factory=Boredom)
    fatigue: Fatigue = field(default_factory=Fatigue)
    mood: Mood = field(default_factory=Mood)
    similarity: Similarity = field(default_factory=Similarity)
    satisfaction: Satisfaction = field(default_factory=Satisfaction)
    patience: Patience = field(default_factory=Patience)
    leave: Leave = field(default_factory=Leave)

    def __post_init__(self) -> None:
        check_types(self, "env")
        for name in ("slate_size", "max_steps", "topic_count"):
            if getattr(self, name) < 1:
                raise ValueError(f"env.{name} must be at least 1, given {getattr(self, name)}")
        if self.feedback not in ("click", "rating", "weighted"):
            raise ValueError(f"env.feedback must be 'click', 'rating' or 'weighted', given {self.feedback!r}")
        if self.topics not in ("hidden", "categories"):
            raise ValueError(f"env.topics must be 'hidden' or 'categories', given {self.topics!r}")


def configured(config: SimulatorConfig | Mapping[str, Any] | None, settings: Mapping[str, Any]) -> SimulatorConfig:
    """A configuration with settings laid over it, as somebody gives them in Python.

    Args:
        config: what the settings go over; the defaults when None. A dictionary is laid over the defaults.
        settings: values by field; a section such as `boredom` is given whole or as a dictionary, `leave` also as the
            name of its rule. `max_episode_steps` is Gymnasium's name of `max_steps`; None and -1 leave that as it is.

    Raises:
        ValueError: an unknown name, a value outside its range, or a cap given twice.
        TypeError: a value of a wrong type.
    """
    if not isinstance(config, SimulatorConfig):
        if not isinstance(config, Mapping | None):
            raise TypeError(f"config must be a SimulatorConfig or a dictionary, given {config!r}")
        config = configured(SimulatorConfig(), config or {})
    changes = dict(settings)
    cap = changes.pop("max_episode_steps", None)
    if cap is not None and cap != -1:
        check_type("max_episode_steps", cap, int)
        if cap < 1:
            raise ValueError(f"max_episode_steps must be at least 1, or -1 to leave max_steps as it is, given {cap}")
        if changes.setdefault("max_steps", cap) != cap:
            raise ValueError(
                "max_episode_steps is Gymnasium's name of max_steps: give one of them, "
                f"given {cap} and {changes['max_steps']}"
            )
    if isinstance(changes.get("leave"), str):
        changes["leave"] = {"rule": changes["leave"]}
    return overlaid(config, changes, "env.")


@dataclass
class State:
    """The whole state of B users; every array has one row per user.

    Attributes:
        seed: (B,) uint64. session: (B,) int64. steps: (B,) int32, slates shown. user: (B,) int64.
        active: (B,) bool, whether the session goes on.
        response: the response model's state. anchor: (B, d) float32, where taste returns to.
        boredom: (B, K) float32, at least 0. mood: (B,) float32, log-odds.
        fatigue, satisfaction: (B,) float32 in [0, 1]. patience: (B,) float32.
        spent: (B,) float32, used up of a step budget.
        shown: (B, T * k) int32, items slot after slot, -1 where nothing was. feedback: (B, T * k) float32, -1 likewise.
        exposure: (B, C) int32, slots shown per category. liked: (B, C) float32, feedback summed per category.
    """

    seed: NDArray[np.uint64]
    session: NDArray[np.int64]
    steps: NDArray[np.int32]
    user: NDArray[np.int64]
    active: NDArray[np.bool_]
    response: Arrays
    anchor: NDArray[np.float32]
    boredom: NDArray[np.float32]
    fatigue: NDArray[np.float32]
    mood: NDArray[np.float32]
    satisfaction: NDArray[np.float32]
    patience: NDArray[np.float32]
    spent: NDArray[np.float32]
    shown: NDArray[np.int32]
    feedback: NDArray[np.float32]
    exposure: NDArray[np.int32]
    liked: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.seed)

    def take(self, rows: NDArray[np.int64]) -> "State":
        """A copy of the given rows, in that order; a row may be taken more than once."""

        def pick(value: Any) -> Any:
            return {key: array[rows] for key, array in value.items()} if isinstance(value, dict) else value[rows]

        return State(**{entry.name: pick(getattr(self, entry.name)) for entry in dataclasses.fields(self)})

    def put(self, rows: NDArray[np.int64], other: "State") -> None:
        """Overwrite the given rows with those of another state."""
        for entry in dataclasses.fields(self):
            mine, theirs = getattr(self, entry.name), getattr(other, entry.name)
            if isinstance(mine, dict):
                for key in mine:
                    mine[key][rows] = theirs[key]
            else:
                mine[rows] = theirs


@dataclass(frozen=True)
class Outcome:
    """What a step brought, for B users.

    Attributes:
        slates: (B, k) int32, what was really shown, -1 for an empty slot (an item twice, or shown before).
        feedback: (B, k) float32 in [0, 1], -1 for an empty slot.
        chance: (B, k) float64, the true chance of a click, 0 for an empty slot.
        reward: (B,) float64 in [0, 1], mean feedback over the slate, an empty slot counting 0.
        leave_chance: (B,) float64 in [0, 1].
        terminated: (B,) bool, the user left. truncated: (B,) bool, the session was cut at the step cap.
    """

    slates: NDArray[np.int32]
    feedback: NDArray[np.float32]
    chance: NDArray[np.float64]
    reward: NDArray[np.float64]
    leave_chance: NDArray[np.float64]
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]


class UserSimulator:
    """Steps B users at once; the state is a value of its own, so that it can be copied for look-ahead.

    Args:
        population: catalogue and users.
        config: strengths and rules.
        split: whose users: "train", "evaluation" or "all".
        axis: along what exposure is counted for observations; the catalogue's categories when None.
    """

    def __init__(
        self, population: Population, config: SimulatorConfig, split: str = "train", axis: Axis | None = None
    ) -> None:
        self.population = population
        self.config = config
        if config.slate_size > len(population.catalog):
            raise ValueError(
                f"env.slate_size must be at most the {len(population.catalog)} items of the catalogue, "
                f"given {config.slate_size}"
            )
        self.users = population.users(split)
        if not len(self.users):
            raise ValueError(f"the population {population.name!r} has no users in the split {split!r}")
        if axis is not None and len(axis.membership) != len(population.catalog):
            raise ValueError(
                f"the axis must group the {len(population.catalog)} items, given {len(axis.membership)} rows"
            )
        self.kinds = self._weighted_kinds()
        given = self.kinds
        self._kinds = (given.weights, given.slopes, given.item_offsets) if given is not None else NO_KINDS
        self.axis = axis or population.catalog.categories
        self.groups = self.axis.groups
        self.topics = item_topics(population, config.topics, config.topic_count)
        self.topics.setflags(write=False)  # leave rules see it
        self.topic_count = int(self.topics.max()) + 1
        self.model = self._build_response()
        self.rule = config.leave.build()
        self._strengths = _strengths(config)
        self.item_units = unit_rows(population.truth.item_vectors)
        self.user_units = unit_rows(population.truth.user_vectors[population.users("train")])
        if config.drift.enabled and config.drift.shift_probability and not len(self.user_units):
            raise ValueError(
                f"tastes shift towards training users, but the population {population.name!r} has none; "
                "set env.drift.shift_probability to 0"
            )

    def _weighted_kinds(self) -> Kinds | None:
        """The kinds of feedback that count, or None where only clicks or ratings do."""
        if self.config.feedback != "weighted":
            return None
        if self.population.kinds is None:
            raise ValueError(
                f"env.feedback is 'weighted', which needs several kinds of feedback, and the population "
                f"{self.population.name!r} has none; make one with `lerl data prepare --format kuairand --feedback "
                "'long_view=1,is_like=0.5'`, or set env.feedback to 'click'"
            )
        return self.population.kinds

    def _build_response(self) -> ResponseModel:
        if self.config.response in RESPONSES:
            built_in: ResponseModel = RESPONSES[self.config.response](self.population)
            return built_in
        name, methods = self.config.response, ("init", "score", "advance")
        made = load_plugin(name, "env.response", RESPONSES, methods)
        with blamed(f"env.response is {name!r}, but {made.__name__}(population)"):
            own: ResponseModel = made(self.population)
        return own

    def changed(self, population: Population, config: SimulatorConfig) -> "UserSimulator":
        """The same items, topics and split with other users' tastes or other strengths.

        Args:
            population: whose items are the same.
            config: with the same topics, slates, sessions and leave rule.
        """
        other = copy.copy(self)
        other.population, other.config = population, config
        other.model = other._build_response()
        other._strengths = _strengths(config)
        return other

    def start(
        self, seeds: NDArray[np.uint64], sessions: NDArray[np.int64], users: NDArray[np.int64] | None = None
    ) -> State:
        """Fresh sessions, (B,) each; users are drawn from the split unless given."""
        seeds, sessions = seeds.astype(np.uint64), sessions.astype(np.int64)
        if users is None:
            users = self.users[_draw_users(seeds, sessions, len(self.users))]
        count, config = len(seeds), self.config
        slots, groups = config.max_steps * config.slate_size, len(self.axis.names)
        response = self._checked_response(self.model.init(users), "init", count)
        if config.drift.enabled:
            self._check_taste(response, count)
        state = State(
            seed=np.zeros(count, np.uint64),
            session=np.zeros(count, np.int64),
            steps=np.zeros(count, np.int32),
            user=np.zeros(count, np.int64),
            active=np.ones(count, bool),
            response=response,
            anchor=np.zeros((count, response["taste"].shape[1] if "taste" in response else 0), np.float32),
            boredom=np.zeros((count, self.topic_count), np.float32),
            fatigue=np.zeros(count, np.float32),
            mood=np.zeros(count, np.float32),
            satisfaction=np.zeros(count, np.float32),
            patience=np.zeros(count, np.float32),
            spent=np.zeros(count, np.float32),
            shown=np.full((count, slots), -1, np.int32),
            feedback=np.full((count, slots), -1, np.float32),
            exposure=np.zeros((count, groups), np.int32),
            liked=np.zeros((count, groups), np.float32),
        )
        self._begin(state, np.arange(count), seeds, sessions, users, response)
        return state

    def restart(
        self,
        state: State,
        rows: NDArray[np.int64],
        seeds: NDArray[np.uint64],
        sessions: NDArray[np.int64],
        users: NDArray[np.int64] | None = None,
    ) -> None:
        """Fresh sessions in the given rows (n,) of a state, in place; otherwise as `start`."""
        if users is None:
            users = self.users[_draw_users(seeds, sessions, len(self.users))]
        fresh = self._checked_response(self.model.init(users), "init", len(rows), state.response)
        for key, array in state.response.items():
            array[rows] = fresh[key]
        self._begin(state, rows, seeds, sessions, users, fresh)

    def _begin(
        self,
        state: State,
        rows: NDArray[np.int64],
        seeds: NDArray[np.uint64],
        sessions: NDArray[np.int64],
        users: NDArray[np.int64],
        response: Arrays,
    ) -> None:
        """All of the given rows but the response model's state, which is given as `response`."""
        config = self.config
        if "taste" in response:
            state.anchor[rows] = response["taste"]
        first = _streams(seeds, sessions, np.zeros(len(rows), np.int32))
        state.mood[rows] = config.mood.draw(first[:, draws.MOOD])
        state.patience[rows] = config.patience.draw(seeds, sessions)
        _clear(
            rows, seeds, sessions, users, state.seed, state.session, state.steps, state.user, state.active,
            state.boredom, state.fatigue, state.satisfaction, state.spent, state.shown, state.feedback, state.exposure,
            state.liked, config.slate_size, config.satisfaction.initial,
        )  # fmt: skip

    def _check_taste(self, response: Arrays, count: int) -> None:
        name, shape = type(self.model).__name__, (count, self.item_units.shape[1])
        if "taste" not in response:
            raise ValueError(
                f"drift moves tastes, but the state of {name} has no 'taste'; set env.drift.enabled to false"
            )
        if response["taste"].shape != shape:
            raise ValueError(
                f"drift moves tastes in the space of the true item vectors, {shape}, but {name} has a 'taste' of shape "
                f"{response['taste'].shape}; name it otherwise, or set env.drift.enabled to false"
            )

    def _checked_response(self, given: Arrays, method: str, count: int, needed: Iterable[str] = ()) -> Arrays:
        """The state that a response model gave, with the entries `needed`; one of somebody's own may be wrong."""
        if self.config.response in RESPONSES:
            return given
        who = f"{self.config.response}.{method}"
        if not isinstance(given, dict):
            raise PluginError(f"{who} must give a dictionary of arrays, given {type(given).__name__}")
        for key, array in given.items():
            if getattr(array, "shape", ())[:1] != (count,):
                raise PluginError(f"{who} must give arrays with one row per user, {count}, but {key!r} has other rows")
        missing = sorted(set(needed) - set(given))
        if missing:
            raise PluginError(f"{who} must give every entry of the state, but left out {missing[0]!r}")
        return given

    def scores(self, state: State, slates: NDArray[np.int32]) -> NDArray[np.float64]:
        """What the response model says of slates (B, k), before boredom and fatigue; the caller's to change."""
        chance = self.model.score(state.response, slates)
        if self.config.response in RESPONSES:
            return chance
        return checked_chances(chance, slates.shape, f"{self.config.response}.score", "slot", slates >= 0)

    def chances(self, state: State, slates: NDArray[np.int32]) -> NDArray[np.float64]:
        """The true chance of a click on each of slates (B, k) if shown now, all that moves it included."""
        chance = self.scores(state, slates)
        weights = self.config.boredom.weight, self.config.fatigue.weight
        _weary(chance, slates, self.topics, state.boredom, state.fatigue, state.mood, *weights)
        if self.config.similarity.weight:
            dynamics.resemble(chance, slates, self.item_units, float(self.config.similarity.weight))
        return chance

    def worth(self, slates: NDArray[np.int32], chance: NDArray[np.float64]) -> NDArray[np.float64]:
        """What feedback to expect on slates (B, k) from the chance of a click on each: that chance, unless weighted."""
        if self.kinds is None:
            return chance
        return _expected(slates, chance, self.kinds.weights, self.kinds.slopes, self.kinds.item_offsets)

    def step(self, state: State, slates: NDArray[np.integer]) -> Outcome:
        """Show slates (B, k) and move the state one step, in place.

        Items are numbers in [0, I), or -1 for a slot left empty. Whether users are still there is not looked at (the
        Gymnasium views do that), so that look-ahead may go on past their leaving.

        Raises:
            ValueError: an item outside the catalogue, another slate size, or a user already at the step cap.
        """
        config = self.config
        slates, keys = self._checked(state, slates)
        chance = self.scores(state, slates)
        taste = state.response["taste"] if config.drift.enabled else state.anchor
        feedback, reward = _live(
            slates, chance, keys, state.steps, state.shown, state.feedback, state.exposure, state.liked, taste,
            state.anchor, state.boredom, state.fatigue, state.mood, state.satisfaction, self.groups, self.topics,
            self.item_units, self.user_units, self._kinds, config.feedback == "rating", self._strengths,
        )  # fmt: skip
        response = self.model.advance(state.response, slates, feedback)
        state.response = self._checked_response(response, "advance", len(state), state.response)
        leave_chance = self._leave_chance(state)
        terminated, truncated = _leave(keys, leave_chance, state.steps, state.active, config.max_steps)
        return Outcome(slates, feedback, chance, reward, leave_chance, terminated, truncated)

    def _checked(self, state: State, given: NDArray[np.integer]) -> tuple[NDArray[np.int32], NDArray[np.uint64]]:
        """A copy of the slates without copies of items, and the keys of the step's streams.

        Compiled code would write beyond its arrays for others.
        """
        items, shape = len(self.population.catalog), (len(state), self.config.slate_size)
        if given.shape != shape:
            raise ValueError(f"slates must have shape {shape}, given {given.shape}")
        numbers, config = np.ascontiguousarray(given, np.int64), self.config
        slates, keys, wrong = _prepare(
            numbers, state.seed, state.session, state.steps, state.shown, items, config.max_steps, config.repeats
        )
        if wrong == NO_ITEM:
            raise ValueError(f"items must be in [-1, {items}), given {given.min()} to {given.max()}")
        if wrong == NO_STEP:
            raise ValueError(f"a user has had all {config.max_steps} steps of the session; start another")
        return slates, keys

    def _leave_chance(self, state: State) -> NDArray[np.float64]:
        situation = Situation(
            satisfaction=state.satisfaction,
            patience=state.patience,
            steps=state.steps,
            shown=state.shown,
            slate_size=self.config.slate_size,
            topics=self.topics,
            spent=state.spent,
        )
        chance = self.rule.probability(situation)
        if ":" not in self.config.leave.rule:
            return chance
        return checked_chances(chance, (len(state),), f"{self.config.leave.rule}.probability", "user")


def _strengths(config: SimulatorConfig) -> tuple[tuple[Any, ...], ...]:
    """The mechanisms' strengths as compiled code takes them."""
    mechanisms = config.drift, config.boredom, config.fatigue, config.mood, config.satisfaction, config.similarity
    return tuple(mechanism.strengths for mechanism in mechanisms)


@njit(cache=True)
def _draw_users(seeds, sessions, count):  # type: ignore[no-untyped-def]
    drawn = np.empty(len(seeds), np.int64)
    for b in range(len(seeds)):
        drawn[b] = int(draws.uniform(draws.stream(seeds[b], sessions[b], 0, draws.USER), 0) * count)
    return drawn


@njit(cache=True)
def _clear(  # type: ignore[no-untyped-def]
    rows, seeds, sessions, users, seed, session, steps, user, active, boredom, fatigue, satisfaction, spent, shown,
    feedback, exposure, liked, k, content,
):  # fmt: skip
    """Fresh sessions in rows (n,) of all the other arrays; beyond its steps a row is fresh already."""
    for n in range(len(rows)):
        b = rows[n]
        seed[b], session[b], user[b], active[b] = seeds[n], sessions[n], users[n], True
        boredom[b], fatigue[b], satisfaction[b], spent[b] = 0.0, 0.0, content, 0.0
        shown[b, : steps[b] * k], feedback[b, : steps[b] * k] = -1, -1.0
        exposure[b], liked[b] = 0, 0.0
        steps[b] = 0


@njit(cache=True)
def _streams(seeds, sessions, steps):  # type: ignore[no-untyped-def]
    keys = np.empty((len(seeds), draws.PURPOSES), np.uint64)
    for b in range(len(seeds)):
        moment = draws.moment(seeds[b], sessions[b], steps[b])
        for purpose in range(draws.PURPOSES):
            keys[b, purpose] = draws.mix(moment ^ np.uint64(purpose))
    return keys


@njit(cache=True)
def _uniforms(keys):  # type: ignore[no-untyped-def]
    drawn = np.empty(len(keys), np.float64)
    for b in range(len(keys)):
        drawn[b] = draws.uniform(keys[b], 0)
    return drawn


@njit(cache=True)
def _prepare(given, seeds, sessions, steps, shown, items, max_steps, repeats):  # type: ignore[no-untyped-def]
    """Slates as they are shown, the keys of the step's streams, and NO_ITEM or NO_STEP where slates are refused."""
    slates, wrong = np.empty(given.shape, np.int32), 0
    for b in range(given.shape[0]):
        if steps[b] >= max_steps:
            wrong = NO_STEP
    for b in range(given.shape[0]):
        for s in range(given.shape[1]):
            slates[b, s] = given[b, s]
            if given[b, s] < -1 or given[b, s] >= items:
                wrong = NO_ITEM
    if wrong == 0:
        _blank_copies(slates, shown, steps, repeats)
    return slates, _streams(seeds, sessions, steps), wrong


@njit(cache=True)
def _live(  # type: ignore[no-untyped-def]
    slates, chance, keys, steps, shown, log, exposure, liked, taste, anchor, boredom, fatigue, mood, satisfaction,
    groups, topics, item_units, user_units, kinds, rating, strengths,
):  # fmt: skip
    """What slates do to users: feedback (B, k) float32 and reward (B,); chance and the users' state move in place."""
    drift, bored, tired, swayed, content, alike = strengths
    _weary(chance, slates, topics, boredom, fatigue, mood, bored[1], tired[1])
    if alike[0]:
        dynamics.resemble(chance, slates, item_units, alike[0])
    feedback = _react(slates, chance, keys[:, draws.CLICK], rating)
    clicks = (feedback >= CLICK_FROM).astype(np.float32)
    weights, slopes, offsets = kinds
    if len(weights):
        _add_kinds(feedback, slates, chance, keys[:, draws.KIND], weights, slopes, offsets)
    _record(slates, feedback, groups, steps, shown, log, exposure, liked)
    if content[0]:
        dynamics.follow(satisfaction, _row_means(chance), content[1])
    if drift[0]:
        dynamics.drift(
            taste, anchor, slates, clicks, item_units, user_units, keys[:, draws.SHIFT : draws.DRIFT + 1],
            drift[1], drift[2], drift[3], drift[4], drift[5],
        )  # fmt: skip
    if bored[0]:
        dynamics.bore(boredom, slates, topics, bored[2])
    if tired[0]:
        dynamics.rise(fatigue, tired[2])
    if swayed[0]:
        dynamics.sway(mood, keys[:, draws.MOOD], 0, swayed[1], swayed[2])
    return feedback, _rewards(feedback)


@njit(cache=True)
def _row_means(values):  # type: ignore[no-untyped-def]
    means = np.empty(len(values), np.float64)
    for b in range(len(values)):
        total = 0.0
        for s in range(values.shape[1]):
            total += values[b, s]
        means[b] = total / values.shape[1]
    return means


@njit(cache=True)
def _rewards(feedback):  # type: ignore[no-untyped-def]
    rewards = np.empty(len(feedback), np.float64)
    for b in range(len(feedback)):
        total = 0.0
        for s in range(feedback.shape[1]):
            total += max(feedback[b, s], np.float32(0.0))
        rewards[b] = total / feedback.shape[1]
    return rewards


@njit(cache=True)
def _leave(keys, chance, steps, active, max_steps):  # type: ignore[no-untyped-def]
    """Who leaves and who is cut, (B,) bool each; active follows."""
    terminated, truncated = np.empty(len(chance), np.bool_), np.empty(len(chance), np.bool_)
    drawn = _uniforms(keys[:, draws.LEAVE])
    for b in range(len(chance)):
        terminated[b] = drawn[b] < chance[b]
        truncated[b] = not terminated[b] and steps[b] >= max_steps
        active[b] = not (terminated[b] or truncated[b])
    return terminated, truncated


@njit(cache=True)
def _blank_copies(slates, shown, steps, repeats):  # type: ignore[no-untyped-def]
    k = slates.shape[1]
    for b in range(slates.shape[0]):
        for s in range(k):
            item = slates[b, s]
            copy = False
            for earlier in range(s):
                copy |= slates[b, earlier] == item
            if not repeats:
                for slot in range(steps[b] * k):
                    copy |= shown[b, slot] == item
            if copy:
                slates[b, s] = -1


@njit(cache=True)
def _weary(chance, slates, topics, boredom, fatigue, mood, boredom_weight, fatigue_weight):  # type: ignore[no-untyped-def]
    for b in range(slates.shape[0]):
        for s in range(slates.shape[1]):
            if slates[b, s] < 0:
                chance[b, s] = 0.0
                continue
            total, count = 0.0, 0
            for m in range(topics.shape[1]):
                topic = topics[slates[b, s], m]
                if topic >= 0:
                    total += boredom[b, topic]
                    count += 1
            loss = boredom_weight * total / max(count, 1) + fatigue_weight * fatigue[b] - mood[b]
            p = min(max(chance[b, s], 1e-9), 1.0 - 1e-9)
            chance[b, s] = 1.0 / (1.0 + (1.0 - p) / p * math.exp(loss))


@njit(cache=True)
def _react(slates, chance, keys, rating):  # type: ignore[no-untyped-def]
    feedback = np.full(slates.shape, -1.0, np.float32)
    for b in range(slates.shape[0]):
        for s in range(slates.shape[1]):
            if slates[b, s] < 0:
                continue
            drawn = draws.uniform(keys[b], s)
            if not rating:
                feedback[b, s] = 1.0 if drawn < chance[b, s] else 0.0
                continue
            p = min(max(chance[b, s], 1e-9), 1.0 - 1e-9)
            drawn = min(max(drawn, 1e-12), 1.0 - 1e-12)
            liking = math.log(p / (1.0 - p)) - math.log(drawn / (1.0 - drawn))
            stars = 0.25 * (liking > STAR_STEPS[0]) + 0.25 * (liking > STAR_STEPS[1])
            feedback[b, s] = stars + 0.25 * (liking > 0.0) + 0.25 * (liking > STAR_STEPS[2])
    return feedback


@njit(cache=True)
def _kind_chance(chance, slope, offset):  # type: ignore[no-untyped-def]
    p = min(max(chance, 1e-9), 1.0 - 1e-9)
    return 1.0 / (1.0 + math.exp(-slope * math.log(p / (1.0 - p)) - offset))


@njit(cache=True)
def _add_kinds(feedback, slates, chance, keys, weights, slopes, offsets):  # type: ignore[no-untyped-def]
    """Clicks become the weighted mean of clicks and the other kinds' coins, each kind's coin its own."""
    others = len(slopes)
    for b in range(slates.shape[0]):
        for s in range(slates.shape[1]):
            item = slates[b, s]
            if item >= 0:
                felt, total = float(weights[0]) * feedback[b, s], float(weights[0])
                for j in range(others):
                    if draws.uniform(keys[b], s * others + j) < _kind_chance(chance[b, s], slopes[j], offsets[j, item]):
                        felt += weights[j + 1]
                    total += weights[j + 1]
                feedback[b, s] = felt / total  # summed in the same order: 1 is exactly 1


@njit(cache=True)
def _expected(slates, chance, weights, slopes, offsets):  # type: ignore[no-untyped-def]
    worth = np.zeros(slates.shape, np.float64)
    for b in range(slates.shape[0]):
        for s in range(slates.shape[1]):
            item = slates[b, s]
            if item >= 0:
                felt, total = float(weights[0]) * chance[b, s], float(weights[0])
                for j in range(len(slopes)):
                    felt += weights[j + 1] * _kind_chance(chance[b, s], slopes[j], offsets[j, item])
                    total += weights[j + 1]
                worth[b, s] = felt / total
    return worth


@njit(cache=True)
def _record(slates, feedback, groups, steps, shown, log, exposure, liked):  # type: ignore[no-untyped-def]
    k = slates.shape[1]
    for b in range(slates.shape[0]):
        for s in range(k):
            item = slates[b, s]
            shown[b, steps[b] * k + s] = item
            log[b, steps[b] * k + s] = feedback[b, s]
            if item >= 0:
                for m in range(groups.shape[1]):
                    if groups[item, m] >= 0:
                        exposure[b, groups[item, m]] += 1
                        liked[b, groups[item, m]] += feedback[b, s]
        steps[b] += 1
