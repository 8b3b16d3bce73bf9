"""Runs: train one, open one, and what it can do from then on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lerl.serve.evaluation import Evaluation
from lerl.serve.settings import configure, flat

if TYPE_CHECKING:
    from lerl.agents.base import Agent
    from lerl.config.schema import Config
    from lerl.report.bootstrap import Summary
    from lerl.report.load import Results, Undertrained
    from lerl.run.fitter import Fitter
    from lerl.run.specs import AgentSpec
    from lerl.run.task import Task
    from lerl.run.track import Tracker
    from lerl.serve.recommender import Recommender
    from lerl.serve.store import SessionStore


def train(
    recipe: str | Path | Config,
    out: str | Path | None = None,
    track: str | Tracker | None = None,
    **overrides: Any,
) -> Run:
    """Train the agents of a recipe and judge them on users that training never saw, as `lerl train` does.

    Args:
        recipe: see `configure`. out: the run's folder; runs/RECIPE-seedN where none is given.
        track: where what it measures goes to: "mlflow", "wandb", "tensorboard", "my_module:MyTracker" or a
            `lerl.run.track.Tracker`; nowhere where None. summary.json and summary.md are then written too.
        overrides: see `configure`.

    Returns:
        The run, its results on disk.

    Raises:
        SettingsError: as `configure` raises it.
        ValueError: an agent, planner or data set that the configuration names is not there; nothing is written then.
        FileExistsError: the folder holds something; go on with an interrupted run by `Run(folder).resume()`.
        PluginError: there is no such tracker. MissingExtraError: its package is not installed.

    Examples:
        >>> import lerl
        >>> run = lerl.train("quickstart", "runs/small", agents=["flat+greedy", "random"], train={"steps": 0})
        >>> run.table()["agent"].to_list()
        ['flat+greedy', 'random']
    """
    from lerl.run.track import open_tracker
    from lerl.run.train import train

    config = configure(recipe, **overrides)
    name = Path(recipe).stem if isinstance(recipe, str | Path) else "run"
    folder = Path(out) if out is not None else Path(f"runs/{name}-seed{config.seed}")
    with open_tracker(track) as tracked:
        train(config, folder, tracked)
        if track is not None:
            tracked.end(_summarised(folder, config), folder)
    return Run(folder)


def _summarised(run: Path, config: Config) -> Summary:
    """What summary.json and summary.md of a run say, which are written."""
    from lerl.report.compare import compare

    return compare([run], run, config.evaluation.bootstrap)


class Run(Evaluation):
    """A run folder: its configuration, its tables, and its fitted agents.

    Args:
        path: the folder, made by `train` or `lerl train`.

    Raises:
        RunError: it holds no run.
        UntrustedError: it was made by somebody else and would execute or read what this user did not allow.

    Examples:
        >>> import lerl
        >>> run = lerl.Run("runs/small")
        >>> run.differences("flat+greedy").select("reference", "agent").row(0)
        ('flat+greedy', 'random')
        >>> stricter = run.evaluate(env={"leave": {"rule": "window"}}, evaluation={"users": 50})
        >>> stricter.episodes["user"].n_unique()
        50
    """

    def __init__(self, path: str | Path, trust: bool = False) -> None:
        from lerl.run.folder import check_run
        from lerl.run.trust import read_config

        self.path, self.trust = Path(path), trust
        check_run(self.path)
        self.config = read_config(self.path, trust)
        self.bootstrap = self.config.evaluation.bootstrap

    @cached_property
    def results(self) -> Results:  # type: ignore[override]
        """The run's tables.

        Raises:
            RunError: it was not evaluated to its end.
        """
        from lerl.report.load import load_runs

        return load_runs([self.path])

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    @cached_property
    def task(self) -> Task:
        """Its population, simulator settings and planning axis."""
        from lerl.run.artifacts import ArtifactStore
        from lerl.run.learned_axis import settled
        from lerl.run.task import Task

        return settled(Task.load(self.config), ArtifactStore(self.path))

    @property
    def owner(self) -> str:
        """By what its sessions are told apart from those of other runs, where several share a store."""
        return str(self.task.population.digest()[:12])

    def resume(self, track: str | Tracker | None = None) -> Run:
        """Go on with a run that was interrupted, to the same end; itself.

        Args:
            track: as in `train`; the tracked run that it was begun in goes on, where the tool can.

        Raises:
            RunError: another process is at work on it, or it cannot go on here.
        """
        from lerl.run.track import open_tracker
        from lerl.run.train import resume

        with open_tracker(track) as tracked:
            config = resume(self.path, self.trust, tracked)
            if track is not None:
                tracked.end(_summarised(self.path, config), self.path)
        return Run(self.path, self.trust)

    def agent(self, name: str, deterministic: bool = False) -> Agent:
        """A fitted agent, for `evaluation.batch_size` sessions at once; see `lerl.agents.base.Agent`.

        Args:
            name: as tables call it, or as `agents` of the recipe do. deterministic: whether its policy acts without
                sampling.

        Raises:
            RunError: the run has no such agent, or it was not trained.
        """
        return self._fitter(self.task, _quiet).agent(self._spec(name), deterministic)

    def evaluate(self, agents: Sequence[str] | None = None, **overrides: Any) -> Evaluation:
        """Judge the saved agents again in a world that differs from the run's; nothing is written.

        Agents are not trained again, and know nothing of the change, which the result's notes say.

        Args:
            agents: which, as tables call them; all where None. overrides: see `configure`, such as
                `env={"leave": {"rule": "window"}}` or `evaluation={"users": 100}`. What the agents were made for cannot
                change: `data` but for `data.returns`, `planner`, `train`, `env.slate_size`.

        Raises:
            RunError: the run has no such agent. SettingsError: an override is not allowed.
        """
        from contextlib import closing
        from dataclasses import replace
        from functools import partial

        from lerl.config.errors import SettingsError
        from lerl.run.evaluate import evaluated, play_agents
        from lerl.run.progress import Progress
        from lerl.run.specs import ineffective
        from lerl.run.task import Task

        given = dict(flat(overrides))
        for key in [key for key in given if key != "data.returns"]:
            if key.startswith(("data.", "planner.", "train.", "auto.")) or key in ("agents", "seed", "env.slate_size"):
                raise SettingsError(f"the run's agents were made for its {key}; train others for another one")
            if key.startswith(("tune.", "experiment.")) or key == "evaluation.keep_sessions":
                raise SettingsError(f"{key} changes nothing where a run is judged again; leave it out")
        config = configure(self.config, **given)
        for key, why in ineffective(config, given).items():
            raise SettingsError(f"{key} has no effect: {why}")
        task = Task.load(config)
        rows = evaluated(config)
        labels = {label for label, _, _ in rows}
        if agents is not None and not agents:
            raise SettingsError(f"agents is empty; name some of {', '.join(sorted(labels))}")
        wanted = None if agents is None else {name if name in labels else self._spec(name).label for name in agents}
        with Progress() as progress, closing(self._fitter(task, progress.report)) as fitter:
            made = {
                label: partial(fitter.agent, spec, deterministic)
                for label, spec, deterministic in rows
                if wanted is None or {label, spec.label} & wanted
            }
            results = play_agents(fitter.context.task, made, progress)
        said = ", ".join(f"{key} {value}" for key, value in given.items())
        notes = [f"judged with {said}; agents were not trained for that"] if said else []
        marks = {agent: found for agent, found in self._untrained().items() if agent in made}
        return Evaluation(replace(results, notes=notes, untrained=marks), config.evaluation.bootstrap)

    def _untrained(self) -> dict[str, Undertrained]:
        """The agents whose policy had too few steps to learn; none where the run was not evaluated to its end."""
        from lerl.files import RunError

        try:
            return self.results.untrained
        except RunError:
            return {}

    def export(
        self,
        *,
        minari: str | None = None,
        parquet: str | Path | None = None,
        agents: Sequence[str] | None = None,
        split: str = "train",
        sessions: int = 1000,
        seed: int | None = None,
    ) -> Path:
        """Sessions of the saved agents, played anew, for offline reinforcement learning.

        Args:
            minari: name of a Minari data set to make, such as "quickstart-v0". parquet: or a folder for tables.
            agents: which, as tables call them; all where None, those without sampling ("AGENT@det") apart.
            split: whose users, "train" or "evaluation". sessions: of each agent.
            seed: of users and of their draws, the same for all agents; the run's where None.

        Returns:
            The folder that was written.

        Raises:
            RunError: the run has no such agent, or it was not trained. ExportError: Minari does not take the name.
            FileExistsError: the folder holds something. MissingExtraError: Minari is not installed.
        """
        from contextlib import closing

        from lerl.run.export import Export
        from lerl.run.export_minari import MinariWriter
        from lerl.run.export_parquet import ParquetWriter
        from lerl.run.progress import Progress

        if (minari is None) == (parquet is None):
            raise ValueError("give one of minari, the name of a data set, and parquet, a folder")
        if split not in ("train", "evaluation"):
            raise ValueError(f"split must be 'train' or 'evaluation', given {split!r}")
        if sessions < 1:
            raise ValueError(f"sessions must be at least 1, given {sessions}")
        if parquet is not None and Path(parquet).resolve().is_relative_to(self.path.resolve()):
            raise ValueError(f"{parquet} is inside the run, which stays as it is; give another folder")
        with Progress() as progress, closing(self._fitter(self.task, progress.report)) as fitter:
            made = self._made(fitter, agents)
            what = Export(self.task, made, split, sessions, self.config.seed if seed is None else seed)
            writer = MinariWriter(minari, what) if minari is not None else ParquetWriter(Path(str(parquet)), what)
            return writer.write(what.recordings(progress.report))

    def _made(self, fitter: Fitter, agents: Sequence[str] | None) -> dict[str, Callable[[], Agent]]:
        """What makes agents, by their names in tables; those that act without sampling where they are named."""
        from functools import partial

        from lerl.files import RunError
        from lerl.run.evaluate import evaluated

        known = {label: (spec, deterministic) for label, spec, deterministic in evaluated(self.config)}
        wanted = (
            [label for label, (_, deterministic) in known.items() if not deterministic] if agents is None else agents
        )
        for name in wanted:
            if name not in known:
                raise RunError(f"{self.path} has no agent {name!r}; there are {', '.join(known)}")
        return {label: partial(fitter.agent, *known[label]) for label in wanted}

    def recommender(
        self, name: str | None = None, store: SessionStore | str | Path | None = None, deterministic: bool = False
    ) -> Recommender:
        """A fitted agent for people outside the simulator; see `lerl.serve.recommender`.

        Args:
            name: of the agent, as tables call it; where None, the best that can serve (`best_agent`).
            store: where sessions are kept: in memory where None, an SQLite file, a redis:// address, or a store of
                one's own.
            deterministic: whether its policy acts without sampling.

        Raises:
            RunError: the run has no such agent, or it was not trained. SessionError: it cannot serve people.
            OSError: the store cannot be opened.
        """
        from lerl.serve.recommender import Recommender
        from lerl.serve.store import open_store

        spec = self._spec(self.best_agent() if name is None else name)
        fitter = self._fitter(self.task, _quiet)
        kept = open_store(store, self.owner) if store is None or isinstance(store, str | Path) else store
        try:
            return Recommender(spec, fitter, kept, deterministic)
        except BaseException:
            fitter.close()
            if kept is not store:
                kept.close()
            raise

    def best_agent(self) -> str:
        """The agent of greatest R_cum among those that can serve people; `lerl serve` takes it too.

        Raises:
            SessionError: there is none. RunError: the run was not evaluated to its end.
        """
        from contextlib import suppress

        from lerl.report.bootstrap import by_reward
        from lerl.serve.recommender import SessionError

        for name in by_reward(self.summary):
            if not name.endswith("@det"):  # of a policy judged without sampling
                with suppress(SessionError):
                    self.recommender(name).close()
                    return name
        raise SessionError(f"{self.path} has no agent that could serve people; train one such as belief+greedy")

    def compare(self, *others: Run | str | Path) -> Evaluation:
        """This run and others that differ from it in the seed only, read as one.

        Raises:
            RunError: they cannot be compared; the message says what differs.
        """
        from lerl.report.load import load_runs

        paths = [other.path if isinstance(other, Run) else Path(other) for other in others]
        return Evaluation(load_runs([self.path, *paths]), self.bootstrap)

    def _fitter(self, task: Task, report: Any) -> Fitter:
        """What makes the fitted agents; questions to a chat model are kept in a temporary folder, not in the run."""
        import atexit
        import shutil
        import tempfile

        from lerl.run.fitter import Fitter

        aside = Path(tempfile.mkdtemp(prefix="lerl-"))
        fitter = Fitter(task, self.path, report, traffic=aside / "traffic.sqlite")
        atexit.register(shutil.rmtree, aside, ignore_errors=True)  # a planner may ask until the end
        return fitter

    def chosen(self, name: str) -> AgentSpec:
        """What an agent is; for `auto`, the one that it chose.

        Raises:
            RunError: the run has no such agent, or it was not trained.
        """
        return self._fitter(self.task, _quiet).chosen(self._spec(name))

    def _spec(self, name: str) -> AgentSpec:
        from lerl.files import RunError
        from lerl.run.specs import parse_agent, parse_agents

        specs = parse_agents(self.config)
        found = next((spec for spec in specs if spec.label == name), None)
        if found is None and name in self.config.agents:
            found = parse_agent(name, self.config.planner.name)
        if found is None:
            known = ", ".join(spec.label for spec in specs)
            how = "; an agent is judged without sampling by evaluation.deterministic true" if "@det" in name else ""
            raise RunError(f"{self.path} has no agent {name!r}; there are {known}{how}")
        return found


def _quiet(*_: Any) -> None:
    """Report nothing."""
