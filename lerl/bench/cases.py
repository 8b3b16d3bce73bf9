"""How fast lerl is: each case against SARDINE or an upper bound, both timed in turn in one run, in CPU seconds."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from threadpoolctl import threadpool_limits

from lerl.bench.sardine import ONE_THREAD, SardineError, SardineProcess, install
from lerl.bench.timing import REPEATS, Burst, Spread, Timing, duel, machine
from lerl.envs import threads
from lerl.startup import cache_folder

MECHANISMS = "drift, shifts, boredom, fatigue, satisfaction, patience and leaving on, moods off"


class Bench:
    """What all cases share.

    Args:
        folder: where SARDINE is, or is installed. repeats: of both sides. report: called with a line before each case.

    Attributes:
        threads: how many there are; all rows but those of threads use one.
    """

    def __init__(self, folder: Path | None, repeats: int, report: Callable[[str], None]) -> None:
        self.folder, self.repeats, self.report = folder or cache_folder() / "peers", repeats, report
        self.threads = threads.count()
        self.missing = ""

    @cached_property
    def sardine(self) -> Path | None:
        """The Python that has SARDINE, or None, `missing` saying why."""
        self.report("SARDINE: installing it where it is not there yet")
        try:
            return install(self.folder)
        except SardineError as error:
            self.missing = str(error)
            return None


@contextmanager
def sardine(python: Path | None, name: str, wrapped: bool, steps: int) -> Iterator[Burst | None]:
    """Bursts of a SARDINE environment, or None where there is no Python that has it."""
    if python is None:
        yield None
        return
    with closing(SardineProcess(python, name, wrapped)) as peer:
        yield lambda: (float(steps), peer.run(steps))


def timed(work: Callable[[], float], clock: Callable[[], float] = time.process_time) -> Burst:
    """A burst of work that says how much it was."""

    def burst() -> tuple[float, float]:
        begun = clock()
        done = work()
        return done, clock() - begun

    return burst


def _one_user(bench: Bench) -> Iterator[Timing]:
    bench.report("one user")
    env: Any = gymnasium.make("lerl/Synthetic-v0")
    steps = 10_000
    items = np.random.default_rng(0).integers(1000, size=steps).tolist()
    env.reset(seed=0)

    def work() -> float:
        for item in items:
            _, _, terminated, truncated, _ = env.step(item)
            if terminated or truncated:
                env.reset()
        return steps

    with sardine(bench.sardine, "sardine/SingleItem-Static-v0", wrapped=True, steps=3000) as peer:
        yield Timing(
            "one_user",
            "one user, gymnasium.make, single item, 1,000 items",
            "SARDINE SingleItem-Static-v0, gymnasium.make",
            "user-steps/s",
            **duel(timed(work), peer, bench.repeats),
            target=2.0,
            note=f"{MECHANISMS}; random items, resets counted. {bench.missing}".strip(),
        )


def _many(bench: Bench, name: str, slate: int, peer_name: str, target: float) -> Iterator[Timing]:
    bench.report(f"1,024 users, slates of {slate}")
    env: Any = gymnasium.make_vec("lerl/Synthetic-v0", num_envs=1024, slate_size=slate)
    work = stepping(env, 200 if slate == 1 else 60)
    with sardine(bench.sardine, f"sardine/{peer_name}", wrapped=False, steps=3000) as peer:
        yield Timing(
            name,
            f"1,024 users, vector view, slates of {slate}, 1,000 items",
            f"SARDINE {peer_name}, bare",
            "user-steps/s",
            **duel(timed(work), peer, bench.repeats),
            target=target,
            note=f"{MECHANISMS}; random items, autoreset NEXT_STEP counted. {bench.missing}".strip(),
        )


def _lives(bench: Bench) -> Iterator[Timing]:
    for slate, steps in ((1, 200), (6, 80)):
        bench.report(f"1,024 lives, slates of {slate}")
        sessions, lives = (
            gymnasium.make_vec("lerl/Synthetic-v0", num_envs=1024, slate_size=slate, horizon=horizon)
            for horizon in ("session", "days")
        )
        yield Timing(
            f"lives_{slate}",
            f"1,024 lives of 30 days, vector view, slates of {slate}, 1,000 items",
            "1,024 sessions of the same settings",
            "user-steps/s",
            **duel(timed(stepping(lives, steps)), timed(stepping(sessions, steps)), bench.repeats),
            target=0.5,
            note=f"{MECHANISMS}, and all that happens between sessions; random items, autoreset NEXT_STEP counted.",
        )


def stepping(env: Any, steps: int) -> Callable[[], float]:
    """Random items for so many steps of a vector environment, drawn beforehand."""
    items, shape = len(env.simulator.population.catalog), (steps, *env.action_space.shape)
    actions = np.random.default_rng(0).integers(items, size=shape)
    env.reset(seed=0)

    def work() -> float:
        for action in actions:
            env.step(action)
        return float(steps * env.num_envs)

    return work


def _training(bench: Bench) -> Iterator[Timing]:
    bench.report("training")
    from lerl.bench.training import learners

    with learners() as (steps, ours, ceiling):
        yield Timing(
            "training",
            "PPO, 256 users, boredom-aware planner, 2,000 items, 20 categories, slates of 6",
            "Stable-Baselines3's PPO on a vector environment that does nothing, observations of the same bytes",
            "user-steps/s",
            **duel(timed(lambda: steps(ours)), timed(lambda: steps(ceiling)), bench.repeats),
            target=0.75,
            note="d 16, history 20; MLP 64-64, n_steps 64, batch 2,048, 4 epochs; rollout and update of both",
        )


def _agent(bench: Bench, name: str, make: str, items: int, target: float) -> Iterator[Timing]:
    """A slate of an agent that learned people and items; `make` is the function of `lerl.bench.belief` that has it."""
    bench.report(f"{name}, {items:,} items")
    from lerl.bench import belief

    case = belief.AgentCase(items, 1000, getattr(belief, make))
    bursts = [timed(case.act)() for _ in range(bench.repeats + 1)]
    yield Timing(
        f"{make}_{items}",
        f"{name}, 1,000 sessions, {items:,} items, slates of 6: a slate of one session",
        "",
        "µs",
        Spread.of([1e6 * seconds / slates for slates, seconds in bursts[1:]]),
        target=target,
        at_most=True,
        cpu_seconds=sum(seconds for _, seconds in bursts),
        note=f"without the users' own step; d 16, 20 topics; the first {belief.SLATES} slates of a session",
    )


def _recommend(bench: Bench) -> Iterator[Timing]:
    bench.report("recommending to one session")
    from lerl.bench import recommend

    with recommend.recommenders() as found:
        for name, recommender in found.items():
            bursts = [recommend.milliseconds(recommender) for _ in range(bench.repeats + 1)][1:]
            late = float(np.percentile(np.concatenate(bursts), 99))
            yield Timing(
                f"recommend_{name}",
                f"{name}, {recommend.ITEMS:,} items: recommend(session), slates of 6, sessions in memory",
                "",
                "ms",
                Spread.of([float(np.median(burst)) for burst in bursts]),
                target=2.0,
                at_most=True,
                cpu_seconds=sum(sum(burst) for burst in bursts) / 1e3,
                note=f"99th percentile {late:.2f} ms; one session at a time, without HTTP",
            )


def _sequence(bench: Bench) -> Iterator[Timing]:
    bench.report("a sequence model")
    from lerl.bench.sequence import SequenceCase, bytes_of
    from lerl.users.train_sequence import CollectiveSettings, SequenceSettings

    users, times = 32, {"step": 2000, "again": 150}
    sizes = "two layers, width 32, window 50: 99 events seen; the sizes of KuaiSim"
    case = SequenceCase(users, slate=6, items=7551, events=100, settings=SequenceSettings())

    def often(case: SequenceCase, name: str) -> Callable[[], float]:
        def work() -> float:
            for _ in range(times[name]):
                getattr(case, name)()
            return float(users * times[name])

        return work

    yield Timing(
        "sequence",
        "sequence model, 32 users, slates of 6, 7,551 items",
        "the same network in PyTorch, reading the 100 events before again",
        "user-steps/s",
        **duel(timed(often(case, "step")), timed(often(case, "again")), bench.repeats),
        target=10.0,
        note=sizes,
    )
    bench.report("a sequence model with a collective cache")
    small = SequenceCase(users, slate=6, items=7551, events=100, settings=CollectiveSettings())
    held = [bytes_of(one.state) / users for one in (small, case)]
    yield Timing(
        "sequence_collective",
        "sequence model with a collective cache, pools of 256, 32 users, slates of 6, 7,551 items",
        "the sequence model with whole keys and values",
        "user-steps/s",
        **duel(timed(often(small, "step")), timed(often(case, "step")), bench.repeats),
        target=1.0,
        note=f"{held[0]:,.0f} bytes a user in place of {held[1]:,.0f}, measured from their arrays; {sizes}",
    )


def _retrieval(bench: Bench, items: int, users: int, target: float) -> Iterator[Timing]:
    bench.report(f"retrieval, {items:,} items")
    case = RetrievalCase(items, users)
    found, exact = case.ours(), case.scan(partition)
    recall = np.mean([len(set(one) & set(other)) / len(one) for one, other in zip(found, exact, strict=True)])
    repeats = bench.repeats if items < LARGE else min(bench.repeats, 3)
    for name, select, goal in ((f"retrieval_{items}", partition, target), (f"retrieval_{items}_argmax", argmax, None)):
        yield Timing(
            name,
            f"top 6 among the eligible, {users} users, {items:,} items, 20 categories, 3 planned",
            f"masked full scan in NumPy, {select.__name__}",
            "users/s",
            **duel(timed(case.often(case.ours)), timed(case.often(partial(case.scan, select))), repeats),
            target=goal,
            note=f"recall {recall:.4f}; ten slates of each session shown before",
        )


ENVIRONMENT = os.environ | ONE_THREAD
LARGE = 100_000
PLANNED, SHOWN, SLATE = 3, 60, 6


class RetrievalCase:
    """Queries of users with plans among items, for both sides.

    Args:
        items: how many, in 20 categories, a third of them in two. users: how many queries.
    """

    def __init__(self, items: int, users: int) -> None:
        from lerl.agents.retrieval import ItemIndex

        rng = np.random.default_rng(0)
        self.users = users
        self.vectors = rng.normal(size=(items, 17)).astype(np.float32)
        self.queries = rng.normal(size=(users, 17)).astype(np.float32)
        groups = rng.integers(20, size=(items, 2)).astype(np.int32)
        groups[(rng.random(items) > 1 / 3) | (groups[:, 0] == groups[:, 1]), 1] = -1
        self.member = (groups[:, :, None] == np.arange(20)).any(axis=1).T.astype(np.float32)  # (C, I)
        self.allowed = np.argsort(np.argsort(rng.random((users, 20)), axis=1), axis=1) < PLANNED
        self.shown = np.full((users, 10 * SHOWN), -1, np.int32)
        self.shown[:, :SHOWN] = rng.integers(items, size=(users, SHOWN))
        self.index, self.columns = ItemIndex(self.vectors, groups), np.ascontiguousarray(self.vectors.T)

    def ours(self) -> Any:
        """Slates (B, 6) by lerl."""
        return self.index.top(self.queries, self.allowed, np.zeros_like(self.allowed), self.shown, SLATE)[0]

    def scan(self, select: Callable[[Any], Any]) -> Any:
        """Slates (B, 6) by scoring all items, masking those not eligible, and selecting."""
        block = max(1, 4_000_000 // len(self.vectors))  # users at once: more would not fit into memory
        parts = [slice(first, first + block) for first in range(0, self.users, block)]
        return np.concatenate([self._scan(part, select) for part in parts])

    def _scan(self, part: slice, select: Callable[[Any], Any]) -> Any:
        scores = self.queries[part] @ self.columns
        eligible = (self.allowed[part].astype(np.float32) @ self.member) > 0
        scores = np.where(eligible, scores, np.float32(-np.inf))
        scores[np.arange(len(scores))[:, None], self.shown[part, :SHOWN]] = -np.inf
        return select(scores)

    def often(self, work: Callable[[], Any]) -> Callable[[], float]:
        """The work as often as takes a while, and how many users that served."""
        times = max(1, 4_000_000 // (len(self.vectors) * self.users))

        def burst() -> float:
            for _ in range(times):
                work()
            return float(times * self.users)

        return burst


def partition(scores: Any) -> Any:
    """The 6 best of each row by argpartition; from the front, since many equal values at the other end slow it down."""
    np.negative(scores, out=scores)
    best = np.argpartition(scores, SLATE - 1, axis=1)[:, :SLATE]
    return np.take_along_axis(best, np.argsort(np.take_along_axis(scores, best, 1), axis=1), 1)


def argmax(scores: Any) -> Any:
    """The 6 best of each row by argmax, six times."""
    best, rows = np.empty((len(scores), SLATE), np.int64), np.arange(len(scores))
    for place in range(SLATE):
        best[:, place] = scores.argmax(axis=1)
        scores[rows, best[:, place]] = -np.inf
    return best


def in_a_process(code: str) -> dict[str, float]:
    """What a call of a function of `lerl.bench.memory` finds in a fresh process; empty where that fails."""
    command = [sys.executable, "-c", f"import json; from lerl.bench import memory as m; print(json.dumps(m.{code}))"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=ENVIRONMENT)
    found: dict[str, float] = json.loads(done.stdout) if done.returncode == 0 else {}
    return found


MEMORY = {"collective": "users' states of the sequence model with a collective cache, pools of 256"}
"""What is measured as the arrays of a state alone, by the function of `lerl.bench.memory`."""


def _memory(bench: Bench) -> Iterator[Timing]:
    for name, count, categories, target in (
        ("users", 1_000_000, 20, 4.0),
        ("users", 100_000, 500, None),
        ("items", 1_000_000, 20, 1.0),
        ("items", 1_000_000, 500, None),
        ("collective", 1_000_000, 20, 1.5),
    ):
        bench.report(f"memory, {count:,} {name}, {categories} categories")
        begun = cpu_of_children()
        found = in_a_process(f"{name}({count}, {categories})")
        more = ", ".join(f"{part} {value:.2f} GB" for part, value in found.items() if part != "held")
        yield Timing(
            f"memory_{name}_{categories}",
            f"memory, {count:,} {MEMORY.get(name, f'{name}, {categories} categories, 32 dimensions, history 20')}",
            "",
            "GB",
            Spread.of([found["state" if name in MEMORY else "held"]]) if found else None,
            target=target,
            at_most=True,
            cpu_seconds=cpu_of_children() - begun,
            note=_held(name, more) if found else "more than there is here",
        )


def _held(name: str, more: str) -> str:
    """What was measured, and what is known besides."""
    if name in MEMORY:
        return "arrays of all users side by side, 10 bytes an event and layer; whole keys and values take 25.7 GB"
    return f"resident memory of a whole Python that steps them; {more}"


def cpu_of_children() -> float:
    """CPU seconds of all processes that were waited for."""
    times = os.times()
    return times.children_user + times.children_system


def _startup(bench: Bench) -> Iterator[Timing]:
    yield _command(bench, "start_help", ["--help"], 0.5, bench.repeats)
    yield _command(bench, "start_train", ["train", "quickstart", "--train.steps", "0"], 4.0, min(bench.repeats, 3))


def _command(bench: Bench, name: str, words: list[str], target: float, repeats: int) -> Timing:
    said = f"lerl {' '.join(words)}"
    bench.report(said)
    seconds, walls = [], []
    with tempfile.TemporaryDirectory() as folder:
        environment = ENVIRONMENT | {"NUMBA_CACHE_DIR": f"{folder}/compiled"}
        for number in range(repeats + 1):
            out = ["--out", f"{folder}/run{number}"] if "train" in words else []
            begun, wall = cpu_of_children(), time.monotonic()
            command = [sys.executable, "-m", "lerl", *words, *out]
            subprocess.run(command, capture_output=True, check=True, env=environment)
            seconds.append(cpu_of_children() - begun)
            walls.append(time.monotonic() - wall)
    first, clock = seconds[0], Spread.of(walls[1:]).median
    return Timing(
        name, said, "", "s", Spread.of(seconds[1:]), target=target, at_most=True, cpu_seconds=sum(seconds),
        note=f"CPU seconds, compiled code cached; {clock:.2f} s on the clock; {first:.2f} CPU seconds the first time",
    )  # fmt: skip


def _compiling(bench: Bench) -> Iterator[Timing]:
    bench.report("compiling")
    code = (
        "import time; begun = time.process_time(); import gymnasium, lerl; env = gymnasium.make('lerl/Synthetic-v0'); "
        "made = time.process_time(); env.reset(seed=0); env.step(0); print(time.process_time() - made)"
    )
    with tempfile.TemporaryDirectory() as folder:
        environment = ENVIRONMENT | {"NUMBA_CACHE_DIR": folder}
        for name, what in (("compile", "compiled, nothing cached"), ("compile_cached", "cached")):
            begun = cpu_of_children()
            command = [sys.executable, "-c", code]
            done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
            yield Timing(
                name, f"first reset and step of a process, {what}", "", "s", Spread.of([float(done.stdout)]),
                cpu_seconds=cpu_of_children() - begun,
            )  # fmt: skip


def _threads(bench: Bench) -> Iterator[Timing]:
    from lerl.bench.threads import rows

    if bench.threads > 1:
        yield from rows(bench.threads, bench.repeats, bench.report, stepping, RetrievalCase)
    else:
        yield Timing("threads", "all threads", "one thread", "user-steps/s", note="only one thread is allowed here")


def _gpu(bench: Bench) -> Iterator[Timing]:
    import torch

    if not torch.cuda.is_available():
        yield Timing("gpu", "PPO on a GPU", "the same on the CPU", "user-steps/s", note="no GPU is seen here")
        return
    bench.report("training on a GPU")
    from lerl.bench.training import learners

    with learners("cuda") as (steps, ours, _), learners("cpu") as (_, theirs, _):
        yield Timing(
            "gpu",
            "PPO on a GPU",
            "the same on the CPU",
            "user-steps/s",
            **duel(
                timed(lambda: steps(ours), time.monotonic), timed(lambda: steps(theirs), time.monotonic), bench.repeats
            ),
            note=f"{torch.cuda.get_device_name()}; by the clock",
        )


GROWTH = {
    "users": (1, 10, 100, 1_000, 10_000, 100_000),
    "items": (1_000, 10_000, 100_000, 1_000_000),
    "categories": (20, 50, 100, 200, 500),
}
"""What grows, and through which sizes; the others stay at 256 users, 1,000 items (10,000 with categories), 20."""


def _growth(bench: Bench) -> Iterator[Timing]:
    from lerl.envs.session import SessionVectorEnv
    from lerl.envs.synthetic import synthetic_population

    for axis, sizes in GROWTH.items():
        for size in sizes:
            bench.report(f"growth, {size:,} {axis}")
            many = size if axis == "users" else 256
            sized: dict[str, Any] = {"items": 10_000 if axis == "categories" else 1_000} | (
                {} if axis == "users" else {axis: size}
            )
            topics = "categories" if axis == "categories" else "hidden"
            env = SessionVectorEnv(synthetic_population(users=1000, **sized), many, topics=topics)
            work = stepping(env, max(2, 20_000 // many))
            yield Timing(
                f"growth_{axis}_{size}", f"growth, {size:,} {axis}", "", "user-steps/s",
                **duel(timed(work), None, min(bench.repeats, 3)),
            )  # fmt: skip


def draw(found: dict[str, Any], folder: Path) -> list[Path]:
    """The growth curves of what `measure` found, growth.png and growth.svg; none where growth was not timed."""
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter, FixedLocator, NullLocator

    from lerl.report.palette import BLUE
    from lerl.report.style import STYLE, save

    speeds = {row["name"]: row["ours"] for row in found["rows"] if row["name"].startswith("growth_")}
    if not speeds:
        return []
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(6.6, 2.3), layout="constrained")
        for axes, (axis, sizes) in zip(figure.subplots(1, len(GROWTH), sharey=True), GROWTH.items(), strict=True):
            spreads = [speeds[f"growth_{axis}_{size}"] for size in sizes]
            median, low, high = ([spread[part] for spread in spreads] for part in ("median", "low", "high"))
            axes.fill_between(sizes, low, high, color=BLUE, alpha=0.2, lw=0)
            axes.plot(sizes, median, color=BLUE, marker="o", ms=3)
            axes.set(xscale="log", yscale="log", xlabel=axis)
            axes.set_title(f"more {axis}: {_times(median[-1] / median[0])}", loc="left")
            ticks = [sizes[0], 100, sizes[-1]] if axis == "categories" else sizes[:: max(1, len(sizes) // 3)]
            axes.xaxis.set(major_locator=FixedLocator(ticks), minor_locator=NullLocator())
            for scale in (axes.xaxis, axes.yaxis):
                scale.set_major_formatter(EngFormatter(sep=""))
        figure.axes[0].set(ylabel="user-steps per CPU second")
        figure.axes[0].yaxis.set_minor_locator(NullLocator())
        return save(figure, folder / "growth")


def _times(change: float) -> str:
    """The last speed as a multiple of the first."""
    return f"{change:.0f} times as fast" if change >= 2 else f"{100 * change:.0f} % as fast"


CASES: dict[str, Callable[[Bench], Iterator[Timing]]] = {
    "one_user": _one_user,
    "users": lambda bench: _many(bench, "users", 1, "SingleItem-Static-v0", 150.0),
    "slates": lambda bench: _many(bench, "slates", 10, "SlateTopK-Bored-v0", 60.0),
    "lives": _lives,
    "retrieval": lambda bench: _retrieval(bench, 2000, 256, 8.0),
    "retrieval_large": lambda bench: _retrieval(bench, 1_000_000, 256, 10.0),
    "training": _training,
    "belief": lambda bench: _agent(bench, "belief+greedy", "belief_greedy", 2000, 60.0),
    "belief_large": lambda bench: _agent(bench, "belief+greedy", "belief_greedy", 4000, 60.0),
    "recommend": _recommend,
    "sequence": _sequence,
    "memory": _memory,
    "start": _startup,
    "compile": _compiling,
    "threads": _threads,
    "gpu": _gpu,
    "growth": _growth,
}
"""Cases by name; one may give several rows of the table."""


def measure(
    names: Sequence[str] | None = None,
    folder: Path | None = None,
    repeats: int = REPEATS,
    report: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Measure the cases named, all of them without names, and say on what machine.

    Args:
        names: of `CASES`.
        folder: where SARDINE is installed, or is already; the user's cache folder when None.
        repeats: of both sides, 1 or more.
        report: called with a line about each case before it is timed.

    Raises:
        ValueError: a name is no case's, or there are no repeats.
    """
    names = list(CASES) if names is None else list(names)
    unknown = [name for name in names if name not in CASES]
    if unknown:
        raise ValueError(f"there is no row {unknown[0]!r} to measure; rows are {', '.join(CASES)}")
    if repeats < 1:
        raise ValueError(f"repeats must be at least 1, given {repeats}")
    bench = Bench(folder, repeats, report)
    with threadpool_limits(1), threads.limit(1):
        rows = [row for name in names for row in CASES[name](bench)]
    return {"machine": machine(), "repeats": repeats, "rows": [asdict(row) | {"met": row.met} for row in rows]}
