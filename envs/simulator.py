"""The simulated population: B users at once, and the only place where their dynamics are computed."""

import copy
import math
from collections.abc import Iterable
from operator import attrgetter

import numpy as np
from numpy.typing import NDArray

from lerl.envs import draws, dynamics, threads
from lerl.envs.catalog import Axis
from lerl.envs.composite import complement, complements, read_roles, whole_clicks
from lerl.envs.config import SimulatorConfig
from lerl.envs.kernels import (
    NO_ITEM,
    NO_KINDS,
    NO_STEP,
    KindArrays,
    Sessions,
    Shared,
    Users,
    apply_boredom,
    begin_step,
    clear,
    draw_users,
    expected,
    leave,
    live,
    live_through,
    plain_tuples,
    streams,
)
from lerl.envs.leave import Situation, build_rule
from lerl.envs.plugins import PluginError, blamed, checked_chances, load_plugin
from lerl.envs.population import Kinds, Population
from lerl.envs.response.base import Arrays, ResponseModel
from lerl.envs.response.registry import RESPONSES
from lerl.envs.state import Outcome, State
from lerl.envs.topics import item_topics, unit_rows

# Plain tuples, in the order of the names: compiled code is called a third faster with these, and names them anew.
_moved, _begun = attrgetter(*Users._fields), attrgetter(*Sessions._fields)


STEP, SLOT, SESSION = 0.4, 0.1, 0.8  # microseconds that a step, each slot of it, and a new session take, about
READ, PAST = 8.0, 20  # more for each event that a sequence model reads; how many it reads of a new user, at a guess


class UserSimulator:
    """Steps B users at once; the state is a value of its own, so that it can be copied for look-ahead.

    Many users are stepped in threads, see `lerl.envs.threads`, but not where the response model or the leave rule is
    one of somebody's own, which may not be made for that.

    Args:
        population: catalog and users.
        config: strengths and rules.
        split: whose users: "train", "evaluation" or "all".
        axis: along what exposure is counted for observations; the catalog's categories when None.
    """

    def __init__(
        self, population: Population, config: SimulatorConfig, split: str = "train", axis: Axis | None = None
    ) -> None:
        self.population = population
        self.config = config
        if config.slate_size > len(population.catalog):
            raise ValueError(
                f"env.slate_size must be at most the {len(population.catalog)} items of the catalog, "
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
        self.roles = read_roles(config.roles, population.catalog, config.slate_size)
        if self.roles is None and (config.complement.pair or config.complement.user_pair):
            raise ValueError(
                "env.complement is of slates whose slots have roles; name them in env.roles, or set it to 0"
            )
        self.complements = complements(population, config.complement)
        self.axis = axis or population.catalog.categories
        self.groups = self.axis.groups
        self.topics = item_topics(population, config.topics, config.topic_count)
        self.topics.setflags(write=False)  # leave rules see it
        self.topic_count = int(self.topics.max()) + 1
        self.model = self._build_response()
        self.rule = build_rule(config.leave)
        self._least, self._least_new = self._least_rows()
        self._rates = plain_tuples(dynamics.rates(config))
        self.item_units = unit_rows(population.truth.item_vectors)
        directions = dynamics.Directions(
            self.item_units, unit_rows(population.truth.user_vectors[population.users("train")])
        )
        self._shared = plain_tuples(Shared(self.groups, self.topics, directions, self._kind_arrays()))
        if config.drift.enabled and config.drift.shift_probability and not len(directions.users):
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

    def _kind_arrays(self) -> KindArrays:
        kinds = self.kinds
        return NO_KINDS if kinds is None else KindArrays(kinds.weights, kinds.slopes, kinds.item_offsets)

    def _build_response(self) -> ResponseModel:
        if self.config.response in RESPONSES:
            built_in: ResponseModel = RESPONSES[self.config.response](self.population)
            return built_in
        name, methods = self.config.response, ("init", "score", "advance")
        made = load_plugin(name, "env.response", RESPONSES, methods)
        with blamed(f"env.response is {name!r}, but {made.__name__}(population)"):
            own: ResponseModel = made(self.population)
        return own

    @property
    def own_code(self) -> bool:
        """Whether the response model or the leave rule is one of somebody's own: it stays in one thread."""
        return self.config.response not in RESPONSES or ":" in self.config.leave.rule

    def _least_rows(self) -> tuple[float, float]:
        """How many users a block has at least, of those that are stepped and of those that begin."""
        if self.own_code:
            return math.inf, math.inf
        reads = READ if self.config.response in ("sequence", "collective") else 0.0
        k = self.config.slate_size
        return threads.least(STEP + (SLOT + reads) * k), threads.least(SESSION + reads * PAST)

    def changed(self, population: Population, config: SimulatorConfig) -> "UserSimulator":
        """The same items, topics and split with other users' tastes or other strengths.

        Args:
            population: whose items are the same.
            config: with the same topics, slates, sessions and leave rule.
        """
        other = copy.copy(self)
        other.population, other.config = population, config
        other.model = other._build_response()
        other._rates = plain_tuples(dynamics.rates(config))
        other.complements = complements(population, config.complement)
        return other

    def start(
        self, seeds: NDArray[np.uint64], sessions: NDArray[np.int64], users: NDArray[np.int64] | None = None
    ) -> State:
        """Fresh sessions, (B,) each; users are drawn from the split unless given."""
        seeds, sessions = seeds.astype(np.uint64), sessions.astype(np.int64)
        if users is None:
            users = self.users[draw_users(seeds, sessions, len(self.users))]
        count, config = len(seeds), self.config
        slots, groups = config.max_steps * config.slate_size, len(self.axis.names)
        response = self._init(users)
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
            whole=np.full((count, config.max_steps if self.roles else 0), -1, np.float32),
        )
        rows = np.arange(count)

        def begin(block: slice) -> None:
            own = {key: array[block] for key, array in response.items()}
            self._begin(state, rows[block], seeds[block], sessions[block], users[block], own)

        threads.each(begin, count, self._least_new)
        return state

    def _init(self, users: NDArray[np.int64]) -> Arrays:
        """The response model's state of users (B,), each array with a row for each."""
        found = threads.each(lambda block: self.model.init(users[block]), len(users), self._least_new)
        if len(found) == 1:
            return self._checked_response(found[0], "init", len(users))
        return {key: np.concatenate([part[key] for part in found]) for key in found[0]}

    def restart(
        self,
        state: State,
        rows: NDArray[np.int64],
        seeds: NDArray[np.uint64],
        sessions: NDArray[np.int64],
        users: NDArray[np.int64] | None = None,
    ) -> None:
        """Fresh sessions in the given rows (n,) of a state, no row twice, in place; otherwise as `start`."""
        if users is None:
            users = self.users[draw_users(seeds, sessions, len(self.users))]
        if len(rows) < 2 * self._least_new:
            self._restart(state, rows, seeds, sessions, users)
            return
        threads.each(
            lambda block: self._restart(state, *threads.cut((rows, seeds, sessions, users), block)),
            len(rows),
            self._least_new,
        )

    def _restart(
        self,
        state: State,
        rows: NDArray[np.int64],
        seeds: NDArray[np.uint64],
        sessions: NDArray[np.int64],
        users: NDArray[np.int64],
    ) -> None:
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
        state.whole[rows] = -1
        first = streams(seeds, sessions, np.zeros(len(rows), np.int32))
        state.mood[rows] = dynamics.draw_moods(config.mood, first[:, draws.MOOD])
        state.patience[rows] = dynamics.draw_patience(config.patience, seeds, sessions)
        clear(rows, seeds, sessions, users, _begun(state), config.slate_size, config.satisfaction.initial)

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
        if self.complements is not None:
            complement(chance, slates, state.user, tuple(self.complements))
        rates = dynamics.rates(self.config)
        apply_boredom(
            chance, slates, self.topics, state.boredom, state.fatigue, state.mood, rates.boredom, rates.fatigue.weight
        )
        if self.config.similarity.weight:
            dynamics.resemble(chance, slates, self.item_units, self.config.similarity.weight)
        return chance

    def expected_reward(self, slates: NDArray[np.int32], chance: NDArray[np.float64]) -> NDArray[np.float64]:
        """What feedback to expect on slates (B, k) from the chance of a click on each: that chance, unless weighted."""
        if self.kinds is None:
            return chance
        return expected(slates, chance, tuple(self._kind_arrays()))

    def step(self, state: State, slates: NDArray[np.integer]) -> Outcome:
        """Show slates (B, k) and move the state one step, in place.

        Items are numbers in [0, I), or -1 for a slot left empty. Whether users are still there is not looked at (the
        Gymnasium views do that), so that look-ahead may go on past their leaving.

        Raises:
            ValueError: an item outside the catalog, another slate size, or a user already at the step cap.
        """
        users = slates.shape[0]
        if users < 2 * self._least or threads.parts(users, self._least) == 1 or self._refuses(state, slates):
            return self._step(state, slates)
        outcome = Outcome.room(*slates.shape)
        threads.each(
            lambda block: outcome.fill(block, self._step(state.view(block), slates[block])), users, self._least
        )
        return outcome

    def _refuses(self, state: State, given: NDArray[np.integer]) -> bool:
        """Whether `_checked` will refuse slates, of all users before any has moved."""
        shape, items = (len(state), self.config.slate_size), len(self.population.catalog)
        outside = given.shape != shape or given.min() < -1 or given.max() >= items
        return outside or bool(state.steps.max() >= self.config.max_steps)

    def _step(self, state: State, slates: NDArray[np.integer]) -> Outcome:
        config = self.config
        slates, keys = self._checked(state, slates)
        chance = self.scores(state, slates)
        if self.complements is not None:
            complement(chance, slates, state.user, tuple(self.complements))
        taste = state.response["taste"] if config.drift.enabled else state.anchor
        rating = config.feedback == "rating"
        feedback, reward = live(slates, chance, keys, taste, _moved(state), self._shared, rating, self._rates)
        if self.roles is not None:
            state.whole[np.arange(len(state)), state.steps - 1] = whole_clicks(keys[:, draws.CLICK], chance)
        response = self.model.advance(state.response, slates, feedback)
        state.response = self._checked_response(response, "advance", len(state), state.response)
        leave_chance = self.leave_chance(state)
        terminated, truncated = leave(keys, leave_chance, state.steps, state.active, config.max_steps)
        return Outcome(slates, feedback, chance, reward, leave_chance, terminated, truncated)

    @property
    def steps_at_once(self) -> bool:
        """Whether `live_through` may be used: latent factors, and users who never leave."""
        alone = self.roles is None and self.complements is None
        return alone and self.config.response == "latent" and self.config.leave.rule == "never"

    def live_through(
        self, state: State, slates: NDArray[np.int32], rested: NDArray[np.bool_]
    ) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        """What T steps give, in the same bits, in compiled code; the state is moved in place.

        Args:
            state: of B users. slates: (T, B, k), no item twice in one, -1 for an empty slot.
            rested: (T, B), whether boredom and fatigue are 0 before the step.

        Returns:
            Feedback and chances of clicks, (T, B, k) each.

        Raises:
            ValueError: an item outside the catalog, or more steps than the session has.
        """
        items, most = len(self.population.catalog), self.config.max_steps
        if len(slates) and (slates.min() < -1 or slates.max() >= items):
            raise ValueError(f"items must be in [-1, {items}), given {slates.min()} to {slates.max()}")
        if state.steps.max() + len(slates) > most:
            raise ValueError(f"a user has had all {most} steps of the session; start another")
        truth, response = self.population.truth, state.response
        latent = response["taste"], response["offset"], truth.item_vectors, truth.item_offsets
        draws_of, rating = (state.seed, state.session), self.config.feedback == "rating"
        found: tuple[NDArray[np.float32], NDArray[np.float64]] = live_through(
            slates, rested, latent, draws_of, _moved(state), self._shared, rating, self._rates
        )
        return found

    def _checked(self, state: State, given: NDArray[np.integer]) -> tuple[NDArray[np.int32], NDArray[np.uint64]]:
        """A copy of the slates without copies of items, and the keys of the step's streams.

        Compiled code would write beyond its arrays for others.
        """
        items, shape = len(self.population.catalog), (len(state), self.config.slate_size)
        if given.shape != shape:
            raise ValueError(f"slates must have shape {shape}, given {given.shape}")
        numbers, config = np.ascontiguousarray(given, np.int64), self.config
        if self.roles is not None and numbers.size and -1 <= numbers.min() <= numbers.max() < items:
            numbers = np.where(self.roles.fits(numbers), numbers, -1)
        slates, keys, wrong = begin_step(
            numbers, state.seed, state.session, state.steps, state.shown, items, config.max_steps, config.repeats
        )
        if wrong == NO_ITEM:
            raise ValueError(f"items must be in [-1, {items}), given {given.min()} to {given.max()}")
        if wrong == NO_STEP:
            raise ValueError(f"a user has had all {config.max_steps} steps of the session; start another")
        return slates, keys

    def leave_chance(self, state: State) -> NDArray[np.float64]:
        """The chance of leaving after the newest slate, (B,) in [0, 1]; what the slate costs is added to `spent`."""
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
