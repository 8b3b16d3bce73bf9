"""`lerl compare --sensitivity`: does the ranking of trained agents hold where the log leaves the users open?

The agents are played as they were saved, not trained again, among users whose fitted parameters lie, one at a time, at
an end of their intervals, with hidden topics and with topics = categories.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
from scipy.stats import kendalltau  # type: ignore[import-untyped, unused-ignore]

import lerl
from lerl.config.schema import Config
from lerl.envs.config import Topics
from lerl.envs.fitting.dynamics import SPREAD_SEED, FittedDynamics, configured, read_fitted, with_spread
from lerl.envs.population import Population
from lerl.files import RunError, read_table, resume_command
from lerl.planners.llm.planner import MODELS
from lerl.report.bootstrap import Summary, by_reward, ratios, summarize
from lerl.report.intervals import Interval
from lerl.report.load import Results, check_reference, load_runs
from lerl.run.artifacts import ArtifactStore
from lerl.run.evaluate import TRAINED, episodes, evaluated, judged, write_table
from lerl.run.executors import Where, executor, work_with
from lerl.run.fitter import Fitter
from lerl.run.folder import check_run, check_same
from lerl.run.learned_axis import settled
from lerl.run.locks import locked
from lerl.run.progress import Progress
from lerl.run.rollout import Episodes, Evaluator
from lerl.run.side_by_side import results
from lerl.run.specs import AgentSpec
from lerl.run.task import Task, population_of
from lerl.run.trust import read_config

TOPICS: tuple[Topics, ...] = ("hidden", "categories")
ENDS = ("low", "high")
FADES = {
    "boredom.time_constant": "boredom.weight",
    "fatigue.time_constant": "fatigue.weight",
    "mood.time_constant": "mood.spread",
}
"""How fast something fades, and what is 0 where there is nothing to fade."""
AS_JUDGED, CENTRE = "as judged", "fitted"
HOLDS, OPEN, TURNS = "holds", "open", "turns"


@dataclass(frozen=True)
class World:
    """Users fitted to the log, or those a run was judged on.

    Attributes:
        topics: what users get bored of, see `SimulatorConfig`.
        parameter: which of `lerl.envs.fitting.dynamics.PARAMETERS` is at an end of its interval; "fitted" where none
            is, "as judged" for the run's own users.
        end: "low", "high", or empty.
        value: the parameter's there, in units of one item shown; None where there is none.
        identifiable: whether the log identifies the parameter; otherwise the interval is what it leaves open.
    """

    topics: Topics
    parameter: str
    end: str = ""
    value: float | None = None
    identifiable: bool = True

    @property
    def name(self) -> str:
        """As files are called."""
        return "-".join(filter(None, (self.topics, self.parameter, self.end)))


@dataclass(frozen=True)
class WorldRanking:
    """What became of the ranking in a world.

    Attributes:
        world: which. order: agents, highest mean R_cum first. means: of them.
        best_other: the best agent beside the reference. ratio: R_cum of the reference / R_cum of that agent, paired.
        tau: Kendall's, of the agents' means here and as judged; None where a mean is the same for all.
        ranking: "turns" where two agents that differ as judged differ the other way round here, else "open" where two
            agents that differ there do not differ here, else "holds".
        turned, opened: those pairs of agents, the one that was better as judged first.
    """

    world: World
    order: list[str]
    means: dict[str, float | None]
    best_other: str
    ratio: Interval
    tau: float | None
    ranking: str
    turned: list[tuple[str, str]]
    opened: list[tuple[str, str]]


@dataclass(frozen=True)
class Sensitivity:
    """The report.

    Attributes:
        users, seeds: how many evaluation users, and the seeds of the runs.
        reference: the agent that is compared with the best other one. told_apart: pairs of agents whose paired interval
            as judged does not include 1, the better one first: the ranking that may hold.
        judged: the world that the runs were judged in. worlds: the others. notes: what was left out, one line each.
    """

    users: int
    seeds: list[int]
    reference: str
    told_apart: list[tuple[str, str]]
    judged: WorldRanking
    worlds: list[WorldRanking]
    notes: list[str]

    def count(self, ranking: str) -> int:
        """Worlds in which the ranking is so."""
        return sum(found.ranking == ranking for found in self.worlds)


def sensitivity(
    paths: Sequence[Path],
    out: Path,
    reference: str | None = None,
    bootstrap: int = 2000,
    seed: int = 0,
    trust: bool = False,
    where: Where | None = None,
) -> Sensitivity:
    """Play the agents of trained runs in every world, and compare their rankings with the one as judged.

    Users, sessions and random draws are those of the runs' evaluation. Sessions are kept under `worlds-...` in `out`,
    one table for each world and run, so that what was interrupted, or is done again with another reference, goes on
    from there. The runs' own files are read only.

    Args:
        paths: run folders of one recipe that differ in their seed.
        out: folder of what is played, where an interrupted analysis goes on.
        reference: the agent that the best other one is compared with; the recipe's first where None.
        bootstrap, seed: see `lerl.report.bootstrap.summarize`. trust: see `lerl.run.trust.read_config`.
        where: where worlds are played side by side; one after another, here, where None.

    Raises:
        RunError: runs that cannot be compared or were not trained to their end, or on users without a log.
        MissingDataError: nothing was fitted to the log. DataError: what was fitted cannot be used.
    """
    results = load_runs(paths)
    runs = [_Run(Path(path), trust) for path in paths]
    config, specs, notes = runs[0].config, runs[0].specs, left_out(runs[0].config)
    if len(specs) < 2:
        given = "; ".join([" and ".join(specs) or "none", *notes])
        raise RunError(f"two agents at least are needed for a ranking, here is {given}")
    reference = next(iter(specs)) if reference is None else reference
    check_reference(reference, specs)
    folder = Path(str(config.data.path))
    fitted = {topics: read_fitted(folder, topics) for topics in TOPICS}
    worlds, skipped = _worlds(config, fitted)
    notes += skipped
    as_judged = results.episodes.filter(pl.col("agent").is_in(list(specs)))
    base = _summary(results, list(specs), as_judged, bootstrap, seed)
    out.mkdir(parents=True, exist_ok=True)
    with locked(out):
        kept = out / f"worlds-{_digest(runs, fitted)}"
        _play(runs, worlds, fitted, kept, where)
        rankings = []
        for world in worlds:
            parts = [read_table(_table(kept, world, run), "give the command again") for run in runs]
            here = _summary(results, list(specs), pl.concat(parts), bootstrap, seed)
            rankings.append(_ranking(world, here, base, reference))
        found = Sensitivity(
            as_judged["user"].n_unique(),
            results.seeds,
            reference,
            [_better_first(pair, sign) for pair, sign in _signs(base).items() if sign],
            _ranking(World(config.env.topics, AS_JUDGED), base, base, reference),
            rankings,
            notes,
        )
    return found


class _Run:
    """A trained run whose agents can be played.

    Raises:
        RunError: it cannot be used here.
    """

    def __init__(self, path: Path, trust: bool = False, config: Config | None = None) -> None:
        about = check_run(path)
        self.path, self.config = path, config or read_config(path, trust, query_model=False)
        if self.config.data.path is None:
            raise RunError(
                f"{path} is on made-up users, to which nothing was fitted; --sensitivity needs runs on a prepared log "
                "(data.path)"
            )
        if self.config.env.response != "latent":
            raise RunError(
                f"{path} has env.response {self.config.env.response}, but dynamics are fitted with users of "
                "env.response latent; train it with that"
            )
        self.task = settled(Task.load(self.config), ArtifactStore(path))
        check_same(path, about, self.task)
        self.specs = {
            label: (spec, deterministic)
            for label, spec, deterministic in evaluated(self.config)
            if not _why_not(spec, self.config)
        }

    @property
    def seed(self) -> int:
        return self.config.seed

    def fitter(self) -> Fitter:
        """Makes its agents, and fits nothing."""
        fitter = Fitter(self.task, self.path, lambda *_: None)
        if not (self.path / TRAINED).is_file() or any(fitter.lacks(spec) for spec, _ in self.specs.values()):
            raise RunError(
                f"{self.path} was not trained to its end, or lost some of it; go on with: {resume_command(self.path)}"
            )
        return fitter


def _why_not(spec: AgentSpec, config: Config) -> str:
    """Why an agent is not played; empty where it is."""
    if spec.baseline == "privileged":
        return "the ceiling by construction, and slow"
    if spec.planner in MODELS and (spec.planner == "llm" or config.planner.refresh):
        return "its chat model would be queried anew in every world"
    return ""


def left_out(config: Config) -> list[str]:
    said = {label: _why_not(spec, config) for label, spec, _ in evaluated(config)}
    return [f"left out: {label} ({why})" for label, why in said.items() if why]


def _worlds(config: Config, fitted: Mapping[Topics, FittedDynamics]) -> tuple[list[World], list[str]]:
    """All worlds beside the one as judged, and notes on those that would be the same as another."""
    worlds, notes = [], {}
    for topics in TOPICS:
        if config.data.users == "assumed" or config.env.topics != topics:
            worlds.append(World(topics, CENTRE))
        for name, estimate in fitted[topics].estimates.items():
            part = name.partition(".")[0]
            if name in FADES and fitted[topics].values[FADES[name]] == 0:
                notes[topics + name] = (
                    f"not varied: {name} with topics {topics}, where {FADES[name]} is 0: nothing fades"
                )
                continue
            if part != "users" and not getattr(config.env, part).enabled:
                notes[part] = f"not varied: {part}, which these runs switch off"
                continue
            ends = zip(ENDS, (estimate.low, estimate.high), strict=True)
            worlds += [World(topics, name, end, to, estimate.identifiable) for end, to in ends if to != estimate.value]
    return worlds, list(notes.values())


def _digest(runs: Sequence[_Run], fitted: Mapping[Topics, FittedDynamics]) -> str:
    """Of all that the sessions of the worlds depend on."""
    found = hashlib.blake2b(digest_size=6)
    found.update(json.dumps([lerl.__version__, *(asdict(fitted[topics]) for topics in TOPICS)]).encode())
    for run in sorted(runs, key=lambda run: run.seed):
        for name in ("run.json", "config.yaml", "episodes.parquet"):
            found.update((run.path / name).read_bytes())
    return found.hexdigest()


def _table(kept: Path, world: World, run: _Run) -> Path:
    return kept / f"{world.name}-seed{run.seed}.parquet"


def _play(
    runs: Sequence[_Run],
    worlds: Sequence[World],
    fitted: Mapping[Topics, FittedDynamics],
    kept: Path,
    where: Where | None,
) -> None:
    """Play what is not kept yet."""
    missing = [(run, world) for run in runs for world in worlds if not _table(kept, world, run).is_file()]
    if where is None:
        _play_here(runs, missing, fitted, kept, len(runs) * len(worlds))
        return
    works = [
        work_with(
            run.config,
            f"{world.name}, seed {run.seed}",
            _play_one,
            (run.path, run.config, world, fitted[world.topics]),
            reads=[run.path],
        )
        for run, world in missing
    ]
    with executor(where, "give the same command again") as pool:
        for at, table in results(works, pool):
            run, world = missing[at]
            write_table(table, _table(kept, world, run))


def _play_one(path: Path, config: Config, world: World, fitted: FittedDynamics) -> pl.DataFrame:
    run = _Run(path, config=config)
    return play_agents(run, run.fitter(), _evaluator(world, fitted, population_of(config), run))


def _play_here(
    runs: Sequence[_Run],
    missing: Sequence[tuple[_Run, World]],
    fitted: Mapping[Topics, FittedDynamics],
    kept: Path,
    total: int,
) -> None:
    """Play worlds one after another, those of a run with agents that are made once."""
    done = total - len(missing)
    with Progress() as progress:
        for run in runs:
            mine = [world for owner, world in missing if owner is run]
            if not mine:
                continue
            prepared, fitter = population_of(run.config), run.fitter()
            for world in mine:
                progress.report("worlds", done, total, f"{world.name}, seed {run.seed}")
                write_table(
                    play_agents(run, fitter, _evaluator(world, fitted[world.topics], prepared, run)),
                    _table(kept, world, run),
                )
                done += 1
        progress.report("worlds", done, total, "")


def _evaluator(world: World, fitted: FittedDynamics, prepared: Population, run: _Run) -> Evaluator:
    """The users of a world, who are `prepared` before anything was fitted, for a run's agents."""
    values = fitted.values | ({} if world.value is None else {world.parameter: world.value})
    config = replace(run.config.env, topics=world.topics)
    return Evaluator(
        with_spread(prepared, values, SPREAD_SEED),
        configured(config, values, config.slate_size),
        run.task.axis,
        "evaluation",
        run.config.evaluation.batch_size,
    )


def play_agents(run: _Run, fitter: Fitter, evaluator: Evaluator) -> pl.DataFrame:
    """The sessions of all agents, with the users and draws of the run's evaluation."""
    users, replicates = judged(evaluator.users, run.config), run.config.evaluation.replicates

    def played(spec: AgentSpec, deterministic: bool) -> Episodes:
        return evaluator.play(fitter.agent(spec, deterministic), users, replicates, run.task.seed("evaluation"))

    return pl.concat(episodes(label, played(*how), run.task) for label, how in run.specs.items())


def _summary(results: Results, agents: list[str], sessions: pl.DataFrame, bootstrap: int, seed: int) -> Summary:
    """Means and paired differences of sessions only, without what was shown."""
    items = results.items.clear()
    return summarize(replace(results, agents=agents, episodes=sessions, items=items, fallbacks={}), bootstrap, seed)


def _signs(summary: Summary) -> dict[tuple[str, str], int]:
    """For every two agents 1 where the first is better, -1 where the second is, 0 where the interval includes both."""
    return {
        (entry["a"], entry["b"]): int((entry["low"] or 0.0) > 0) - int((entry["high"] or 0.0) < 0)
        for entry in summary["differences"]
        if entry["metric"] == "R_cum"
    }


def _ranking(world: World, here: Summary, base: Summary, reference: str) -> WorldRanking:
    order, means = by_reward(here), {agent: found["R_cum"]["mean"] for agent, found in here["agents"].items()}
    best = next(agent for agent in order if agent != reference)
    before, now = _signs(base), _signs(here)
    told_apart = {pair: sign for pair, sign in before.items() if sign}
    turned = [_better_first(pair, sign) for pair, sign in told_apart.items() if now[pair] == -sign]
    opened = [_better_first(pair, sign) for pair, sign in told_apart.items() if now[pair] == 0]
    tau = float(kendalltau([base["agents"][agent]["R_cum"]["mean"] for agent in means], list(means.values())).statistic)
    return WorldRanking(
        world,
        order,
        means,
        best,
        ratios(here, reference)[best],
        tau if np.isfinite(tau) else None,
        TURNS if turned else OPEN if opened else HOLDS,
        turned,
        opened,
    )


def _better_first(pair: tuple[str, str], sign: int) -> tuple[str, str]:
    return pair if sign > 0 else pair[::-1]
