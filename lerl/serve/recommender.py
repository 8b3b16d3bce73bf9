"""A trained agent for people outside the simulator: sessions by key, in the ids of the log that it was trained on."""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lerl.agents.base import Agent
from lerl.agents.composite.agent import CompositeAgent
from lerl.agents.learners.discrete import DiscreteAgent
from lerl.agents.next_item.agent import NextItemAgent
from lerl.envs.catalog import number_of
from lerl.envs.draws import seed_from
from lerl.envs.fitting.fold_in import FoldIn
from lerl.envs.observation import HISTORY, Known, see_history
from lerl.envs.store import INTERACTIONS_FILE
from lerl.run.agent_factory import AgentFactory
from lerl.run.artifacts import ArtifactStore
from lerl.run.fitter import Fitter
from lerl.run.specs import TOLD, AgentSpec
from lerl.run.task import Task
from lerl.serve.new_items import GrownStore, Growth, as_kept, fresh_items, read_items
from lerl.serve.packed import Arrays, pack, unpack
from lerl.serve.store import Conflict, MemoryStore, SessionStore

History = Sequence[tuple[str, bool | int]] | Mapping[str, bool | int]
"""What a person did before: ids of items and whether each was clicked."""
ADDED = "lerl.items"  # the key of what was added to the catalog
NOTHING = np.zeros(0, np.int32)
TRIES = 5  # of a change that other requests for the same session come between


class SessionError(ValueError):
    """A request that does not fit its session; the message says what to do."""


class UnknownSessionError(SessionError):
    """There is no session of that key."""


@dataclass(frozen=True)
class Recommendation:
    """A slate for a session.

    Attributes:
        ids: of items, the first place first; fewer than asked for where no others are left.
        scores: chance of a click on each, in (0, 1), as history before the session predicts it. Feedback does not
            change it, and it need not fall from place to place.
        plan: names of the categories that a planner allows; None without one. rationale: its line, "" without one.
        step: slates that the session was shown before. unknown: ids to exclude that the catalog lacks.
    """

    ids: list[str]
    scores: list[float]
    plan: list[str] | None
    rationale: str
    step: int
    unknown: list[str]


class Counted(NamedTuple):
    """What became of feedback.

    Attributes:
        step: slates that the session was shown by now. counted_before: whether the same feedback on the same step had
            come before, so that this one changed nothing.
    """

    step: int
    counted_before: bool


class Recommender:
    """An agent of a run, for people: `start` a session, `recommend`, `observe` what came of it, and so on.

    One call is answered at a time; several processes, each with one of these, may share a store.

    Args:
        spec: which agent. fitter: of the run, makes it. store: where sessions are kept; in memory unless given.
        deterministic: whether its policy acts without sampling.

    Raises:
        SessionError: the agent cannot serve: it is told hidden things, or keeps no sessions.

    Examples:
        >>> import lerl
        >>> recommender = lerl.Run("runs/small").recommender("flat+greedy")
        >>> session = recommender.start(history={"3": True, "8": False})
        >>> slate = recommender.recommend(session, exclude=["5"])
        >>> recommender.observe(session, slate.ids, [True, *[False] * (len(slate.ids) - 1)]).step
        1
        >>> set(slate.ids) & set(recommender.recommend(session).ids)
        set()
    """

    def __init__(
        self,
        spec: AgentSpec,
        fitter: Fitter,
        store: SessionStore | None = None,
        deterministic: bool = False,
    ) -> None:
        self.store: SessionStore = MemoryStore() if store is None else store
        settled = fitter.context.task  # on the axis that its agents plan on
        evaluation = replace(settled.config.evaluation, batch_size=1)
        self.task = replace(settled, config=replace(settled.config, evaluation=evaluation))
        self.spec, self._fitter, self._deterministic = spec, fitter, deterministic
        self._lock = threading.RLock()
        self._users: NDArray[np.int64] | None = None
        self._trained, self._added = self.task, b""  # what was added since
        self._owner = self.task.population.digest()
        self._begun_by = np.frombuffer(f"{spec.label} {self._owner}".encode(), np.uint8)
        self._fold_in = FoldIn(self.task.population)
        self._take_on(self.task, fitter.context.store)
        self._k, self._most = self.task.config.env.slate_size, self.task.config.env.max_steps
        self._catch_up()

    def _take_on(self, task: Task, store: ArtifactStore) -> None:
        """Make the agent for this catalog."""
        self._agent = served(self._fitter, task, store, self.spec, self._deterministic)
        self._roles = task.task_spec(self.spec.label).roles
        self.task = task
        self._items = {identifier: item for item, identifier in enumerate(task.population.catalog.item_ids)}

    def _catch_up(self) -> None:
        """Take on items that were added since, here or by another process."""
        found = self.store.get(ADDED)
        if found is not None and found[0] != self._added:
            owner, *items = json.loads(found[0])
            if owner != self._owner:
                raise SessionError("the store holds items of another catalog; give another store")
            growth = Growth(self._trained, [as_kept(one) for one in items])
            self._take_on(growth.task, GrownStore(self._fitter.context.store, growth))
            self._added = found[0]

    def add_items(self, items: Mapping[str, Sequence[Any]]) -> None:
        """Add items to the catalog, for all sessions and all processes that share the store.

        Args:
            items: by id, either names of the catalog's categories, or a vector of the agents' item space, (D - 1,) or
                (D,) with an offset in log-odds at the end. Of an item with categories it is expected what is known of
                the items in them, in the mean. What is in the catalog already, with the same categories or vector, is
                left as it is.

        Raises:
            NewItemError: an id that is there already with other content, a category that is not, or a vector of another
                length.
            SessionError: the agent's network has an output for each item, or its model numbers for each, so that it has
                to be trained again.
        """
        with self._lock:
            for _ in range(TRIES):
                found = self.store.get(ADDED)
                before = [self._owner] if found is None else json.loads(found[0])
                there = [as_kept(one) for one in before[1:]]
                fresh = fresh_items(self._trained, there, read_items(items))
                if not fresh:
                    return
                label, again = self.spec.label, "train it again on the larger catalog"
                if isinstance(self._agent, DiscreteAgent | NextItemAgent):
                    raise SessionError(f"{label} has an output for each item; {again}")
                if isinstance(self._agent, CompositeAgent):
                    raise SessionError(f"{label} knows each item by itself; {again}")
                Growth(self._trained, [*there, *fresh])  # refuses what cannot be
                content, version = json.dumps([*before, *fresh]).encode(), 0 if found is None else found[1]
                try:
                    self.store.put(ADDED, content, version, lasting=True)
                except Conflict:
                    continue
                self._catch_up()
                return
        raise Conflict(ADDED)

    def start(self, user: str | int | None = None, history: History | None = None, key: str | None = None) -> str:
        """Begin a session; its key.

        Args:
            user: somebody in the log, by the log's own id. history: for others, what they did before, in order: pairs
                of an id and whether it was clicked, or a dictionary; ids that the catalog lacks are left out
                (`unknown` says which). Without both it is a person of average taste. Items met before the session may
                be recommended in it; exclude what should not come again.
            key: of the session, made up unless given; the agent's draws depend on it.

        Raises:
            SessionError: the log has no such user, or there is a session of that key.
        """
        key = secrets.token_urlsafe(12) if key is None else key
        if key == ADDED:
            raise SessionError(f"{key!r} is no key for a session; give another")
        with self._lock:
            self._catch_up()
            known, taste, offset = self._person(user, history)
            session: Arrays = {
                "taste": taste,
                "offset": np.array([offset], np.float32),
                "known": known.astype(np.int32),
                "shown": np.zeros(0, np.int32),
                "feedback": np.zeros(0, np.float32),
                "steps": np.zeros(1, np.int64),
                "acted": np.full(1, -1),
                "begun_by": self._begun_by,
            }
            if self._roles is not None:
                session["whole"] = np.zeros(0, np.float32)
            self._agent.withhold(NOTHING)
            if self._agent.recalls:
                self._agent.recall(np.zeros(1, np.int64), [session["known"]])
            number = np.array([seed_from("session key", key)], np.uint64)
            self._agent.begin(np.zeros(1, np.int64), self._observation(session), number)
            session |= self._left_off()
            try:
                self.store.put(key, pack(session), 0)
            except Conflict:
                raise SessionError(f"there is a session {key!r} already; go on with it, or give another key") from None
        return key

    def recommend(self, key: str, k: int | None = None, exclude: Iterable[str] = ()) -> Recommendation:
        """The next slate of a session; asked again before `observe`, the same one.

        Args:
            key: of the session. k: items, at most `env.slate_size` of the run, which is what is taken where None; where
                slots have roles a slate is a whole, and k can be no other.
            exclude: ids that must not be shown, such as what is out of stock or bought already; those that the catalog
                lacks are in the answer's `unknown`.

        Raises:
            UnknownSessionError: there is no such session. SessionError: it is over, or k is too large.
        """
        k, exclude = self._k if k is None else k, [str(identifier) for identifier in exclude]
        if not 1 <= k <= self._k:
            raise SessionError(
                f"k must be from 1 to {self._k}, the slate size that the agent was trained for, given {k}"
            )
        if self._roles is not None and k < self._k:
            raise SessionError(
                f"a slate has an item of each role, {', '.join(self._roles.names)}; leave k out, given {k}"
            )
        with self._lock:
            for _ in range(TRIES):
                session, version = self._session(key)
                step = int(session["steps"][0])
                if step >= self._most:
                    raise SessionError(
                        f"session {key!r} was shown {step} slates, as many as the agent was trained for; start another"
                    )
                slate = self._act(session, self._numbers(exclude))[:k]
                session |= self._left_off()
                try:
                    self.store.put(key, pack(session), version)
                except Conflict:
                    continue
                return self._recommendation(session, slate, step, self.unknown(exclude))
        raise Conflict(key)

    def unknown(self, ids: Iterable[str]) -> list[str]:
        """Those of these ids that the catalog lacks, in their order; it may have grown since training."""
        with self._lock:
            self._catch_up()
            return [identifier for identifier in map(str, ids) if identifier not in self._items]

    def observe(
        self,
        key: str,
        ids: Sequence[str],
        clicks: Sequence[float | bool],
        step: int | None = None,
        whole: float | bool | None = None,
    ) -> Counted:
        """Tell what was shown in a step, and what came back.

        Args:
            key: of the session. ids: what was shown, the first place first, at most a slate; not necessarily what was
                recommended. Where slots have roles, in any order, an item of a role at most.
            clicks: feedback on each, in [0, 1].
            step: as `recommend` gave it, so that feedback that is given twice, after a timeout say, counts once.
            whole: feedback on the slate as a whole, in [0, 1], where slots have roles; None where nothing was said.

        Returns:
            The step that the session is at, and whether this feedback was counted before.

        Raises:
            UnknownSessionError: there is no such session.
            SessionError: ids that the catalog lacks or that come twice, feedback that does not fit them, a step that
                the session has not reached or that was told otherwise, or a session that is over.
        """
        shown, feedback = self._slate(ids, clicks)
        said = self._whole(whole)
        with self._lock:
            for _ in range(TRIES):
                session, version = self._session(key)
                steps = int(session["steps"][0])
                if step is not None and step != steps:
                    check_told_before(session, step, shown, feedback, said)
                    return Counted(steps, True)
                if steps >= self._most:
                    raise SessionError(f"session {key!r} is over; start another")
                session["shown"] = np.concatenate([session["shown"], shown])
                session["feedback"] = np.concatenate([session["feedback"], feedback])
                if self._roles is not None:
                    session["whole"] = np.append(session["whole"], said)
                session["steps"] = session["steps"] + 1
                try:
                    self.store.put(key, pack(session), version)
                except Conflict:
                    continue
                return Counted(steps + 1, False)
        raise Conflict(key)

    def _slate(
        self, ids: Sequence[str], clicks: Sequence[float | bool]
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Items (k,) that were shown and feedback (k,) on each, -1 in places that were left empty."""
        unknown = self.unknown(ids)
        if unknown:
            raise SessionError(f"the catalog has no item {unknown[0]!r}; ids are those of the log")
        items, feedback = self._numbers(ids), np.asarray(clicks, np.float32)
        if not 1 <= len(items) <= self._k or feedback.shape != items.shape:
            raise SessionError(f"give 1 to {self._k} ids and as many clicks, given {len(items)} and {feedback.size}")
        if len(set(items.tolist())) < len(items):
            raise SessionError(f"an item stands in a slate once, given {list(ids)}")
        if not ((feedback >= 0) & (feedback <= 1)).all():
            raise SessionError(f"clicks must be from 0 to 1, given {feedback.tolist()}")
        if self._roles is not None:
            return self._in_roles(ids, items, feedback)
        empty = self._k - len(items)
        return np.append(items, np.full(empty, -1, np.int32)), np.append(feedback, np.full(empty, -1, np.float32))

    def _in_roles(
        self, ids: Sequence[str], items: NDArray[np.int32], feedback: NDArray[np.float32]
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """The same with each item (n,) in the slot of its role."""
        assert self._roles is not None
        slots, names = self._roles.slot_of[items], ", ".join(self._roles.names)
        if (slots < 0).any():
            raise SessionError(f"item {ids[int(np.argmin(slots))]!r} has none of the roles {names}")
        if len(set(slots.tolist())) < len(slots):
            raise SessionError(f"a slate has one item of each role, {names}; two of these have one: {list(ids)}")
        shown, back = np.full(self._k, -1, np.int32), np.full(self._k, -1, np.float32)
        shown[slots], back[slots] = items, feedback
        return shown, back

    def _whole(self, whole: float | bool | None) -> np.float32:
        """Feedback on a whole, -1 for none."""
        if whole is None:
            return np.float32(-1)
        if self._roles is None:
            raise SessionError(
                "feedback on the whole is for slates whose slots have roles (env.roles); leave whole out"
            )
        if not 0 <= whole <= 1:
            raise SessionError(f"whole must be from 0 to 1, given {whole}")
        return np.float32(whole)

    def rehearse(self) -> None:
        """Play a session that is not kept, so that what has to be loaded or compiled is there for the first person."""
        own, self.store = self.store, MemoryStore()
        try:
            key = self.start()
            for _ in range(min(2, self._most)):
                slate = self.recommend(key)
                if slate.ids:
                    self.observe(key, slate.ids, [True] * len(slate.ids))
        finally:
            self.store = own

    def end(self, key: str) -> None:
        """Forget a session; nothing happens where there is none."""
        if key != ADDED:
            self.store.delete(key)

    def close(self) -> None:
        """Let go of the store, and of a chat model's endpoint."""
        self.store.close()
        self._fitter.close()

    def _person(
        self, user: str | int | None, history: History | None
    ) -> tuple[NDArray[np.int32], NDArray[np.float32], float]:
        """Known interactions (n, 2), taste (D,) and offset of whoever comes."""
        population = self.task.population
        if user is not None:
            number = self._user(user)
            known = population.known(np.array([number]))[0]
            return known, population.knowledge.tastes[number], float(population.knowledge.user_offsets[number])
        pairs = list(history.items() if isinstance(history, Mapping) else history or ())
        there = [(self._items[str(item)], int(bool(click))) for item, click in pairs if str(item) in self._items]
        known = np.array(there, np.int32).reshape(-1, 2)
        taste, offset = self._fold_in(known[known[:, 0] < len(self._fold_in.items)])  # what was there in training
        return known, taste, float(offset)

    def _user(self, user: str | int) -> int:
        if self._users is None:
            path = self.task.config.data.path
            if path is None:
                self._users = np.arange(len(self.task.population.training))
            else:
                log = pl.read_parquet(Path(path) / INTERACTIONS_FILE, columns=["user"])
                self._users = np.unique(log["user"].to_numpy())
        number = number_of(str(user))
        place = int(np.searchsorted(self._users, number))
        if place >= len(self._users) or self._users[place] != number:
            raise SessionError(f"the log has no user {user!r}; give a history of interactions, or nothing")
        return place

    def _numbers(self, ids: Iterable[str]) -> NDArray[np.int32]:
        """Items by number; those that the catalog lacks are left out."""
        return np.array([self._items[one] for one in map(str, ids) if one in self._items], np.int32)

    def _session(self, key: str) -> tuple[Arrays, int]:
        self._catch_up()
        found = self.store.get(key) if key != ADDED else None
        if found is None:
            raise UnknownSessionError(f"there is no session {key!r}; start one")
        session = unpack(found[0])
        if not np.array_equal(session["begun_by"], self._begun_by):
            raise SessionError(f"session {key!r} was begun by another agent; start another, or give another store")
        return session, found[1]

    def _act(self, session: Arrays, exclude: NDArray[np.int32]) -> NDArray[np.int32]:
        """The next slate (k,), -1 where nothing is left; the agent is left as it then is."""
        for name, array in self._agent.slots().items():
            array[:] = session[f"agent.{name}"]
        self._agent.taken_over(np.zeros(1, np.int64))
        self._agent.withhold(NOTHING)
        steps = int(session["steps"][0])
        for step in range(int(session["acted"][0]) + 1, steps):  # slates that were shown without being asked for
            self._agent.act(self._observation(session, step))
        self._agent.withhold(exclude)
        slate = self._agent.act(self._observation(session))[0]
        session["acted"] = np.array([steps])
        gone = np.concatenate([exclude, session["shown"][:0] if self.task.config.env.repeats else session["shown"]])
        again = (slate[:, None] == slate[None, :]) & np.tri(len(slate), k=-1, dtype=bool)
        return np.where(np.isin(slate, gone) | again.any(axis=1), -1, slate)  # what stands in where no item is left

    def _left_off(self) -> Arrays:
        """What the agent remembers of its session."""
        return {f"agent.{name}": array.copy() for name, array in self._agent.slots().items()}

    def _observation(self, session: Arrays, steps: int | None = None) -> dict[str, NDArray[Any]]:
        """What an agent would see of this person, after some of the slates or all."""
        steps = int(session["steps"][0]) if steps is None else steps
        axis, slots = self.task.axis, steps * self._k
        known = Known(session["taste"][None], session["offset"], axis.groups)
        seen = see_history(session["shown"][:slots], session["feedback"][:slots], axis, known, self._k, self._most)
        return seen if self._roles is None else seen | {"recent_whole": recent(session["whole"][:steps])}

    def _recommendation(
        self, session: Arrays, slate: NDArray[np.int32], step: int, unknown: list[str]
    ) -> Recommendation:
        slate = slate[slate >= 0]
        catalog, known = self.task.population.catalog, self.task.population.knowledge
        z = known.item_vectors[slate] @ session["taste"] + session["offset"][0]
        found = self._agent.plan_of(0)
        plan, rationale = (None, "") if found is None else (found.allowed, found.rationale)
        scores = (1 / (1 + np.exp(-z))).tolist()
        ids = [catalog.item_ids[item] for item in slate.tolist()]
        return Recommendation(ids, scores, plan, rationale, step, unknown)


def recent(wholes: NDArray[np.float32]) -> NDArray[np.float32]:
    """(1, 20) feedback (n,) on the last wholes, oldest first, behind -1 for those that are not there yet."""
    return np.append(np.full(HISTORY, -1, np.float32), wholes)[None, -HISTORY:]


def check_told_before(
    session: Arrays, step: int, shown: NDArray[np.int32], feedback: NDArray[np.float32], whole: np.float32
) -> None:
    """Refuse feedback (k,) on a step that the session is not at, and on its whole, unless it is what was told of it.

    Raises:
        SessionError: the step is still to come, or was told otherwise.
    """
    steps, k = int(session["steps"][0]), len(shown)
    if step > steps:
        raise SessionError(
            f"the session is at step {steps}, and this is feedback on step {step}, which is still to come; give the "
            "step that recommend gave"
        )
    told = slice(step * k, (step + 1) * k)
    same = np.array_equal(session["shown"][told], shown) and np.array_equal(session["feedback"][told], feedback)
    if not same or session.get("whole", {step: whole})[step] != whole:
        raise SessionError(
            f"feedback on step {step} came before with other ids or clicks, which count; the session is at step {steps}"
        )


def served(fitter: Fitter, task: Task, store: ArtifactStore, spec: AgentSpec, deterministic: bool) -> Agent:
    """An agent of one slot whose sessions can be kept.

    Raises:
        SessionError: it cannot serve.
    """
    chosen = fitter.chosen(spec)
    planner, lessons = fitter.planners.get(chosen.planner, chosen.believes)
    agent = AgentFactory(task, store).agent(chosen, planner, deterministic, early=lessons > 0)
    try:
        agent.slots()
    except NotImplementedError:
        why = "it has no slots(), the arrays that hold what it remembers of sessions"
        if spec.baseline in TOLD:
            why = "it reads the hidden state of simulated users, which nobody knows of people; serve another agent"
        raise SessionError(f"{spec.label} cannot serve people: {why}") from None
    return agent
