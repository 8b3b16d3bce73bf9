"""The one typed configuration tree; every key of it is a dotted flag of `lerl train`."""

from dataclasses import field
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from lerl.agents.config import TrainConfig
from lerl.envs.checks import Switch, Text, Whole, settings
from lerl.envs.config import SimulatorConfig
from lerl.planners.config import PlannerConfig

AUTO = "auto"
"""The agent that is, of its candidates, the one that training users prefer; see `lerl.run.choose`."""
Users = Annotated[Whole, Field(ge=2, le=10_000_000)]
Replicates = Annotated[Whole, Field(ge=1, le=10_000)]


@settings(frozen=True)
class SyntheticConfig:
    """Sizes of the synthetic population that comes with lerl.

    Args:
        users: how many users; a quarter of them are for evaluation.
        items: how many items.
        categories: how many categories.
        dim: length of the true item vectors.
        seed: seed of all draws of the population; the seed of the run changes none of them.
        roles: further categories of which each item has one, for `env.roles`.
    """

    SECTION: ClassVar[str] = "data.synthetic"

    users: Annotated[Whole, Field(ge=4, le=1_000_000)] = 1000
    items: Annotated[Whole, Field(ge=2, le=1_000_000)] = 1000
    categories: Annotated[Whole, Field(ge=1, le=1_000)] = 20
    dim: Annotated[Whole, Field(ge=2, le=512)] = 16
    seed: Annotated[Whole, Field(ge=0, le=2**63 - 1)] = 0
    roles: list[Text] = field(default_factory=list)


@settings(frozen=True)
class DataConfig:
    """Which users to simulate.

    Args:
        path: a folder made by `lerl data prepare` or `lerl data import`; null for the synthetic population.
        needed: whether the recipe requires such a folder, and data.path must be given.
        users: "assumed", or "fitted": boredom, fatigue, moods, drift and how people differ are what `lerl fit` found
            in the folder's log, instead of env.boredom and so on.
        knowledge: what agents know of items: "central", as the folder was prepared, or "federated", what
            `lerl fit FOLDER --knowledge federated` learned without collecting logs.
        returns: where env.horizon is "days", when people come back: "assumed", or "fitted": env.return_.gap and
            env.return_.habit are what `lerl fit FOLDER --returns` found in the folder's log, and nobody is lost for
            good.
        synthetic: sizes of the synthetic population.
    """

    SECTION: ClassVar[str] = "data"

    path: Text | None = None
    needed: Switch = False
    users: Literal["assumed", "fitted"] = "assumed"
    knowledge: Literal["central", "federated"] = "central"
    returns: Literal["assumed", "fitted"] = "assumed"
    synthetic: SyntheticConfig = field(default_factory=SyntheticConfig)


@settings(frozen=True)
class AutoConfig:
    """What the agent auto chooses from.

    Args:
        candidates: the agents that are fitted and compared; an empty list for the other agents of the recipe, without
            random, popularity, informed, privileged, and those that a chat model plans.
    """

    SECTION: ClassVar[str] = AUTO

    candidates: list[str] = field(default_factory=list)


@settings(frozen=True)
class EvaluationConfig:
    """How agents are evaluated, on evaluation users only.

    Args:
        users: how many evaluation users; null for all.
        replicates: sessions of each user.
        batch_size: sessions that are simulated side by side; policies always see batches of this size.
        deterministic: whether learned agents are also evaluated without sampling, as "AGENT@det".
        bootstrap: draws of the bootstrap.
        keep_sessions: of each agent, so many of the first sessions are kept slot by slot, for the report's replay.
    """

    SECTION: ClassVar[str] = "evaluation"

    users: Users | None = None
    replicates: Replicates = 2
    batch_size: Annotated[Whole, Field(ge=1, le=100_000)] = 256
    deterministic: Switch = False
    bootstrap: Annotated[Whole, Field(ge=100, le=100_000)] = 2000
    keep_sessions: Annotated[Whole, Field(ge=0, le=100_000)] = 200


@settings(frozen=True)
class TuneConfig:
    """What `lerl tune` searches; `lerl train` ignores it.

    Args:
        agent: the agent that is trained with the settings of each trial.
        trials: how many settings are tried, the recipe's own among them where they lie in the space; each setting of
            the space once, where it holds no more.
        metric: what is maximized, on sessions of training users; "active_days" on lives of them, where env.horizon is
            "days".
        users: how many training users, the same ones for every trial; null for all.
        replicates: sessions, or lives, of each of them.
        batch: how many trials are proposed from the same earlier ones, so that as many can be done side by side. What
            is found depends on it, and not on how many processes work.
        prune: end a trial early where training users clearly like its agent less than that of the best earlier trial;
            trials of a batch then wait for all before it.
        space: what is searched, in a recipe file only: for each key of train or planner, either low and high (and
            log: true to search the logarithm) or choices.
    """

    SECTION: ClassVar[str] = "tune"

    agent: Text = "planner+ppo"
    trials: Annotated[Whole, Field(ge=1, le=100_000)] = 20
    metric: Literal["R_cum", "T_int", "R_sin", "active_days"] = "R_cum"
    users: Users | None = 500
    replicates: Replicates = 1
    batch: Annotated[Whole, Field(ge=1, le=1_000)] = 1
    prune: Switch = False
    space: dict[str, Any] = field(default_factory=dict)


@settings(frozen=True)
class ExperimentConfig:
    """What `lerl experiment` repeats; other commands ignore it.

    Args:
        seeds: trials of each agent, with consecutive seeds from the recipe's `seed`; a condition may set its own
            `experiment.seeds`.
        jobs: trials that run side by side, each in a process of its own; the numbers do not depend on it.
        agents: by the name that tables use; under it settings of its own by dotted key, and these words: `agent` where
            the name is not that of an agent, `kind` to group it with others in the verdict, `tuned` for the agent whose
            search it takes its settings from, `distills` for the agent whose plans its network learns, and `when` for
            a key without which it is left out. In a recipe file only.
        conditions: by name; under it what differs from the recipe by dotted key, and `again`, the name of another
            condition whose fitted agents are evaluated here. In a recipe file only.
        few: the agents of all conditions but the first, which has all; empty for all.
        quick: for --quick, on the first condition: `agents`, all where it names none, and other settings by dotted
            key; flags go over them. In a recipe file only.
    """

    SECTION: ClassVar[str] = "experiment"

    seeds: Annotated[Whole, Field(ge=1, le=1_000)] = 5
    jobs: Annotated[Whole, Field(ge=1, le=1_024)] = 1
    agents: dict[str, Any] = field(default_factory=dict)
    conditions: dict[str, Any] = field(default_factory=dict)
    few: list[str] = field(default_factory=list)
    quick: dict[str, Any] = field(default_factory=dict)


@settings(frozen=True)
class Config:
    """Everything that decides a run.

    Args:
        seed: seed of every random draw of the run.
        agents: the agents to train and evaluate: PLANNER+LEARNER, PLANNER+greedy, PLANNER+belief, PLANNER+mmr,
            PLANNER+ppo+mmr, PLANNER+tiger, PLANNER+tiger+mmr, `flat` instead of a planner for none (without one, a
            belief is belief+greedy), auto, tiger, tiger+mmr, random, popularity, informed, privileged, or your own
            agent as "my_package.my_module:MyAgent"; in the place of tiger also sasrec, hstu, s2gr, tiger+tca,
            s2gr+tca, mdgr, sasrec+items and sasrec+collective, and PLANNER+belief+tiger plans by belief; for slates
            with roles jima, jima-without-third, additive, cpd, PLANNER+jima; learners are ppo, a2c, pg, sac, td3,
            ddpg, hac, dnair, sac4ir, slateq, and for slates of one item maskable_ppo and dqn. Where people come back,
            LEARNER@return, of ppo, a2c, pg and maskable_ppo, and belief+greedy@return learn from whether and when
            they do.
        data: which users to simulate.
        env: how the users behave.
        planner: the category planner.
        train: how policies learn.
        auto: what the agent auto chooses from.
        evaluation: how agents are evaluated.
        tune: what lerl tune searches.
        experiment: what lerl experiment repeats.
    """

    SECTION: ClassVar[str] = ""

    seed: Annotated[Whole, Field(ge=0, le=2**32 - 1)] = 0
    agents: list[str] = field(default_factory=lambda: ["planner+ppo", "flat+ppo", "random", "privileged"])
    data: DataConfig = field(default_factory=DataConfig)
    env: SimulatorConfig = field(default_factory=lambda: SimulatorConfig(slate_size=6))
    planner: PlannerConfig = field(default_factory=PlannerConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    auto: AutoConfig = field(default_factory=AutoConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    tune: TuneConfig = field(default_factory=TuneConfig)
    experiment: ExperimentConfig = field(default_factory=ExperimentConfig)
