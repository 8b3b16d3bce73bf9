"""The one typed configuration tree; every key of it is a dotted flag of `lerl train`."""

from dataclasses import dataclass, field
from typing import Any

from lerl.agents.config import TrainConfig
from lerl.envs.checks import within
from lerl.envs.config import SimulatorConfig
from lerl.planners.config import PlannerConfig

RETIRED = {"planner.client": ("langchain", "every chat model is asked through LangChain now")}
"""Keys that are gone but may stand in recipes and in config.yaml of earlier runs: the value that changes nothing, and
what to say of others."""


@dataclass(frozen=True)
class SyntheticConfig:
    """Sizes of the embedded population.

    Args:
        users: how many users; a quarter of them are for evaluation.
        items: how many items.
        categories: how many categories.
        dim: length of the true item vectors.
        seed: all draws of the population come from it, apart from the run's seed.
    """

    users: int = 1000
    items: int = 1000
    categories: int = 20
    dim: int = 16
    seed: int = 0

    def __post_init__(self) -> None:
        within("data.synthetic", 4, users=self.users)
        within("data.synthetic", 2, items=self.items, dim=self.dim)
        within("data.synthetic", 1, categories=self.categories)
        if self.seed < 0:
            raise ValueError(f"data.synthetic.seed must be at least 0, given {self.seed}")


@dataclass(frozen=True)
class DataConfig:
    """Which users to simulate.

    Args:
        path: a folder made by `lerl data prepare`; none for the embedded synthetic population.
        needed: whether the recipe asks for a prepared folder and must not fall back to the synthetic population.
        users: "assumed", or "fitted": boredom, fatigue, moods, drift and how people differ are what `lerl fit` found
            in the folder's log, in the place of env.boredom and so on.
        synthetic: sizes of the synthetic population.
    """

    path: str | None = None
    needed: bool = False
    users: str = "assumed"
    synthetic: SyntheticConfig = field(default_factory=SyntheticConfig)

    def __post_init__(self) -> None:
        if self.users not in ("assumed", "fitted"):
            raise ValueError(f"data.users must be 'assumed' or 'fitted', given {self.users!r}")


@dataclass(frozen=True)
class EvaluationConfig:
    """How agents are judged, on evaluation users only.

    Args:
        users: how many evaluation users, all when none.
        replicates: sessions of each user.
        batch_size: sessions side by side; networks always see this many rows.
        deterministic: whether learned rows are evaluated without sampling besides, as "ROW@det".
        bootstrap: draws of the bootstrap, from 100 to 100,000.
    """

    users: int | None = None
    replicates: int = 2
    batch_size: int = 256
    deterministic: bool = False
    bootstrap: int = 2000

    def __post_init__(self) -> None:
        within("evaluation", 1, replicates=self.replicates, batch_size=self.batch_size)
        if not 100 <= self.bootstrap <= 100_000:
            raise ValueError(f"evaluation.bootstrap must be from 100 to 100000, given {self.bootstrap}")
        within("evaluation", 2, users=self.users)


@dataclass(frozen=True)
class TuneConfig:
    """What `lerl tune` searches for; `lerl train` takes no notice of it.

    Args:
        agent: the agent to fit with each trial's settings.
        trials: how many settings are tried, the recipe's own among them where they lie in the space; all of them, each
            once, where the space holds no more.
        metric: what is made as large as possible, on sessions of training users: R_cum, T_int or R_sin.
        users: how many training users those are, all when none or fewer; the same ones for every trial.
        replicates: sessions of each of them.
        space: what is searched, in the recipe file only: by key of train or planner, either low and high (and
            log: true to search the logarithm) or choices.
    """

    agent: str = "planner+ppo"
    trials: int = 20
    metric: str = "R_cum"
    users: int | None = 500
    replicates: int = 1
    space: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        within("tune", 1, trials=self.trials, replicates=self.replicates)
        within("tune", 2, users=self.users)
        if self.metric not in ("R_cum", "T_int", "R_sin"):
            raise ValueError(f"tune.metric must be 'R_cum', 'T_int' or 'R_sin', given {self.metric!r}")


@dataclass(frozen=True)
class ExperimentConfig:
    """What `lerl experiment` repeats; other commands take no notice of it.

    Args:
        seeds: runs of each agent, with the seeds from the recipe's on; a condition may say `experiment.seeds` for
            itself.
        jobs: trials that are done side by side, each by a process of its own; the numbers do not depend on it.
        agents: by the name that tables use; under it other settings by dotted key, `agent` where the name is not that
            of an agent, `kind` where it stands for something else in the verdict, `tuned` for the agent whose search it
            takes its settings from, `distills` for the agent whose plans its network learns, and `when` for a setting
            without which it is left out. In the recipe file only.
        conditions: by name; under it what differs from the recipe by dotted key, and `again`, the name of another
            condition whose fitted agents are judged here. In the recipe file only.
        few: the agents of all conditions but the first, which has all; all where none is named.
        quick: for --quick, on the first condition: `agents`, all where it names none, and other settings by dotted key,
            over which flags go. In the recipe file only.
    """

    seeds: int = 5
    jobs: int = 1
    agents: dict[str, Any] = field(default_factory=dict)
    conditions: dict[str, Any] = field(default_factory=dict)
    few: list[str] = field(default_factory=list)
    quick: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        within("experiment", 1, seeds=self.seeds, jobs=self.jobs)


@dataclass(frozen=True)
class Config:
    """Everything that decides a run.

    Args:
        seed: every random draw of the run comes from it.
        agents: the rows to fit and evaluate: PLANNER+LEARNER, PLANNER+greedy, PLANNER+mmr, PLANNER+ppo+mmr, `flat` in
            a planner's place for none, sasrec, sasrec+mmr, random, popularity, privileged, or your own agent as
            "my_package.my_module:MyAgent"; learners are ppo, a2c, pg, sac, td3, ddpg, hac, dnair, sac4ir, slateq, and
            for slates of one item maskable_ppo and dqn.
        data: which users.
        env: how they behave.
        planner: the category planner.
        train: how policies learn.
        evaluation: how they are judged.
        tune: what is searched for better settings.
        experiment: what is repeated under which settings.
    """

    seed: int = 0
    agents: list[str] = field(default_factory=lambda: ["planner+ppo", "flat+ppo", "random", "privileged"])
    data: DataConfig = field(default_factory=DataConfig)
    env: SimulatorConfig = field(default_factory=lambda: SimulatorConfig(slate_size=6))
    planner: PlannerConfig = field(default_factory=PlannerConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    tune: TuneConfig = field(default_factory=TuneConfig)
    experiment: ExperimentConfig = field(default_factory=ExperimentConfig)

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed must be from 0 to {2**32 - 1}, given {self.seed}")
        env = self.env
        within("env", 1, slate_size=env.slate_size, max_steps=env.max_steps, topic_count=env.topic_count)
