"""The one typed configuration tree; every key of it is a dotted flag of `lerl train`."""

import math
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from lerl.envs.config import SimulatorConfig

MOST = {
    "data.synthetic.users": 1_000_000,
    "data.synthetic.items": 1_000_000,
    "data.synthetic.categories": 1_000,
    "data.synthetic.dim": 512,
    "env.slate_size": 1_000,
    "env.max_steps": 10_000,
    "env.topic_count": 10_000,
    "planner.clusters": 10_000,
    "planner.size": 10_000,
    "planner.replan_every": 10_000,
    "planner.sessions": 1_000_000,
    "planner.replan_below": 10,
    "planner.candidates": 10_000,
    "planner.timeout": 3_600,
    "planner.temperature": 2,
    "planner.answer_tokens": 200_000,
    "planner.concurrency": 256,
    "planner.reflections": 10_000,
    "planner.refresh": 100_000,
    "planner.budget.calls": 1_000_000_000,
    "planner.budget.tokens": 1_000_000_000_000,
    "planner.budget.money": 1_000_000,
    "planner.price.input": 1_000_000,
    "planner.price.output": 1_000_000,
    "train.off_policy.buffer": 10_000_000,
    "train.off_policy.gradient_steps": 1_000,
    "train.off_policy.learning_starts": 10_000_000_000,
    "train.off_policy.noise": 100,
    "train.steps": 10_000_000_000,
    "train.users": 100_000,
    "train.rollout": 10_000,
    "train.batch_size": 1_000_000,
    "train.epochs": 1_000,
    "train.learning_rate": 1,
    "train.hidden": 4_096,
    "train.history": 1_000,
    "train.evaluations": 1_000,
    "train.checkpoint": 1_000_000,
    "train.validation": 1_000_000,
    "evaluation.users": 10_000_000,
    "evaluation.replicates": 10_000,
    "evaluation.batch_size": 100_000,
    "tune.trials": 100_000,
    "tune.users": 10_000_000,
    "tune.replicates": 10_000,
    "experiment.seeds": 1_000,
    "experiment.jobs": 1_024,
}
"""The most that a key takes: beyond, nothing useful happens, only memory errors and runs without end."""

RETIRED = {"planner.client": ("langchain", "every chat model is asked through LangChain now")}
"""Keys that are gone but may stand in recipes and in config.yaml of earlier runs: the value that changes nothing, and
what to say of others."""


def _within(owner: str, least: float, **values: float | None) -> None:
    """Refuse values below the least, and above what `MOST` says of their keys; None is no value."""
    for name, value in values.items():
        most = MOST[f"{owner}.{name}"]
        if value is not None and not least <= value <= most:
            given = f"{value:,}" if isinstance(value, int) else f"{value:g}"
            raise ValueError(f"{owner}.{name} must be from {least:g} to {most:,}, given {given}")


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
        _within("data.synthetic", 4, users=self.users)
        _within("data.synthetic", 2, items=self.items, dim=self.dim)
        _within("data.synthetic", 1, categories=self.categories)
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
class BudgetConfig:
    """What a chat model may cost in one run; beyond, planner.fallback plans.

    Args:
        calls: requests that are sent, retries and repairs included; no limit when none.
        tokens: tokens of questions and answers, as the endpoint counts them, or estimated at four characters a token
            where it does not; what is under way counts as if answered at length. No limit when none.
        money: in the currency of planner.price, for these tokens; no limit when none.
    """

    calls: int | None = None
    tokens: int | None = None
    money: float | None = None

    def __post_init__(self) -> None:
        _within("planner.budget", 0, calls=self.calls, tokens=self.tokens, money=self.money)


@dataclass(frozen=True)
class PriceConfig:
    """What the chat model's endpoint asks for a million tokens, for costs and planner.budget.money.

    Args:
        input: for questions, in the currency of planner.budget.money; 0 for nothing.
        output: for answers, in the same.
    """

    input: float = 0.0
    output: float = 0.0

    def __post_init__(self) -> None:
        _within("planner.price", 0, input=self.input, output=self.output)


@dataclass(frozen=True)
class PlannerConfig:
    """The category planner.

    Args:
        name: what the rows "planner+ppo" and "planner+greedy" stand for: random, round_robin, greedy, boredom,
            rotation, blind, llm, distilled, or your own as "my_package.my_module:MyPlanner".
        axis: what is planned: "categories" of the catalogue, or "clusters" of the agents' item vectors.
        clusters: how many clusters.
        size: how many categories a plan allows.
        replan_every: steps a plan is kept.
        replan_below: a plan is replaced before that when the last slate brought less than this share of the clicks that
            known history promised; 0 for never.
        avoidance: whether what a plan says to avoid is kept away; without, it is what it allows.
        sessions: training sessions that a planner which learns from whole sessions is given before a policy is trained
            under it, in two lots (rotation: three); their steps are taken off the row's training steps. 0, or at least
            2; fewer where so many could take more than three quarters of train.steps, at env.max_steps each.
        model: the chat model behind llm, as PROVIDER:NAME; keys come from the environment alone. scripted:expert is
            none: a rule that reads the questions and answers at no cost.
        base_url: its endpoint where it is not the provider's own, as http://HOST:PORT/v1.
        temperature: of its answers, from 0; none to send none, as some models refuse it.
        answer_tokens: most tokens of an answer; models that think before they answer need some thousand.
        timeout: seconds that one question may take once its turn has come, retries and a repair included.
        concurrency: questions that are under way at once.
        fallback: the rule that plans where the model gives no usable answer.
        prompts: folder with plan.txt or reflect.txt of your own in place of lerl's.
        detail: what of a session a question says: "full", or "coarse" for fewer different questions.
        candidates: categories that a question offers, the most liked and those shown of late; all when none.
        reflections: sessions of each lot that reflections are written on.
        pool: reflections to begin with: an earlier run's folder, or its planners/pool.json.
        cache: file in which answers are kept across runs, besides the run's own.
        replay: a run whose recorded answers are used in the model's place; no endpoint is asked.
        distilled: the run, or the file, that lerl distill wrote, for the planner distilled.
        refresh: states that distilled asks the model about in each lot of sessions, where it is unsure; 0 asks none.
        budget: what the model may cost.
        price: what its tokens cost.
    """

    name: str = "boredom"
    axis: str = "categories"
    clusters: int = 40
    size: int = 6
    replan_every: int = 1
    replan_below: float = 0.0
    avoidance: bool = True
    sessions: int = 3000
    model: str | None = None
    base_url: str | None = None
    temperature: float | None = 0.0
    answer_tokens: int = 600
    timeout: float = 30.0
    concurrency: int = 8
    fallback: str = "boredom"
    prompts: str | None = None
    detail: str = "full"
    candidates: int | None = None
    reflections: int = 50
    pool: str | None = None
    cache: str | None = None
    replay: str | None = None
    distilled: str | None = None
    refresh: int = 0
    budget: BudgetConfig = field(default_factory=BudgetConfig)
    price: PriceConfig = field(default_factory=PriceConfig)

    def __post_init__(self) -> None:
        for name, allowed in (
            ("axis", ("categories", "clusters")),
            ("detail", ("full", "coarse")),
        ):
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"planner.{name} must be {allowed[0]!r} or {allowed[1]!r}, given {getattr(self, name)!r}"
                )
        _within("planner", 1, clusters=self.clusters, size=self.size, replan_every=self.replan_every)
        _within("planner", 1, concurrency=self.concurrency, candidates=self.candidates)
        _within("planner", 1, answer_tokens=self.answer_tokens)
        _within("planner", 0, temperature=self.temperature, reflections=self.reflections, refresh=self.refresh)
        _within("planner", 0, replan_below=self.replan_below)
        _within("planner", 0.001, timeout=self.timeout)
        if self.sessions != 0:
            _within("planner", 2, sessions=self.sessions)
        wrong = _wrong_address(self.base_url)
        if wrong:  # which is not shown, as it may hold a password
            raise ValueError(f"planner.base_url {wrong}; its form is http://HOST:PORT/v1")
        if self.budget.money is not None and not (self.price.input or self.price.output):
            raise ValueError(
                "planner.price is missing, without which planner.budget.money is never spent; give "
                "planner.price.input and planner.price.output, per million tokens"
            )


def _wrong_address(address: str | None) -> str:
    """What is wrong with the address of an endpoint, without a word of it; empty where nothing is."""
    if address is None:
        return ""
    if not address.isascii() or not address.isprintable() or " " in address:
        return "holds a blank, or a character beyond ASCII"
    try:
        parts = urlsplit(address)
        port, host = parts.port, parts.hostname
    except ValueError:
        return "has a host or a port that cannot be read"
    if "@" in parts.netloc or "?" in address or "#" in address:
        return (
            "holds a user, a query or a fragment, which would be written with the run, passwords included (keys are "
            "read from the environment, as OPENAI_API_KEY)"
        )
    if parts.scheme not in ("http", "https"):
        return "does not begin with http:// or https://"
    return "names no host" if not host or port == 0 else ""


@dataclass(frozen=True)
class OffPolicyConfig:
    """What only learners with a replay buffer need: sac, td3, ddpg, hac, dqn, dnair, sac4ir and slateq.

    Args:
        buffer: user-steps that are remembered, at 8 bytes per number of an observation (some hundreds; a 24th of the
            items more for learners that choose by number).
        learning_starts: user-steps of random actions before learning, at most a tenth of train.steps.
        gradient_steps: per step of the users side by side.
        noise: standard deviation of the exploration of td3, ddpg and hac, in log-odds of item scores.
        epsilon: share of the items that dqn, dnair and slateq show in training that are random among the eligible, in
            [0, 1].
    """

    buffer: int = 50_000
    learning_starts: int = 512
    gradient_steps: int = 8
    noise: float = 0.5
    epsilon: float = 0.1

    def __post_init__(self) -> None:
        _within("train.off_policy", 1, buffer=self.buffer, gradient_steps=self.gradient_steps)
        _within("train.off_policy", 0, learning_starts=self.learning_starts, noise=self.noise)
        if not 0 <= self.epsilon <= 1:
            raise ValueError(f"train.off_policy.epsilon must be in [0, 1], given {self.epsilon}")


@dataclass(frozen=True)
class TrainConfig:
    """How item policies learn (Stable-Baselines3); a key that a learner has no use for is not read by it.

    Args:
        steps: user-steps per learned agent; 0 leaves policies, and planners that learn, as they start.
        users: simulated users side by side.
        rollout: steps of each user between updates of ppo, maskable_ppo, a2c and pg.
        batch_size: user-steps per gradient step, a whole rollout when that is less; a2c and pg take the whole.
        epochs: passes over each rollout, by ppo and maskable_ppo.
        learning_rate: the optimiser's, falling linearly to 0; sasrec's stays.
        gamma: discount per step, in [0, 1).
        gae_lambda: of generalised advantage estimation, in [0, 1].
        clip_range: of PPO's ratio.
        hidden: width of the two hidden layers of actor and critic, of what gru and transformer make of a history, and
            of sasrec.
        encoder: what policies see: "categories", features of categories and session; "gru" or "transformer", beside
            them a network over the last items with the feedback on each.
        history: how many last items gru and transformer read.
        log_std: logarithm of the standard deviation at the start of what is sampled, in log-odds of item scores: of the
            virtual item by ppo, a2c, pg and (on average) sac, of the noise on every item's score by maskable_ppo and
            (on average) sac4ir.
        last_log_std: the same at the end; linear in between.
        start: "taste" for an actor that starts from the taste estimated from history and learns the correction,
            "nothing" for one that starts from zero.
        evaluations: points of the learning curve after its start.
        checkpoint: seconds between two checkpoints, from which an interrupted training goes on; longer where writing
            them would cost more than a twentieth of the time.
        validation: sessions of training users behind each point, and behind each weight tried for +mmr rows.
        device: where networks are, "cpu" or "cuda" (a GPU); the users are simulated on the CPU.
        off_policy: learners with a replay buffer.
    """

    steps: int = 400_000
    users: int = 256
    rollout: int = 8
    batch_size: int = 512
    epochs: int = 4
    learning_rate: float = 1e-3
    gamma: float = 0.9
    gae_lambda: float = 0.95
    clip_range: float = 0.2
    hidden: int = 64
    encoder: str = "categories"
    history: int = 24
    log_std: float = -1.5
    last_log_std: float = -3.0
    start: str = "taste"
    evaluations: int = 8
    checkpoint: float = 60.0
    validation: int = 200
    device: str = "cpu"
    off_policy: OffPolicyConfig = field(default_factory=OffPolicyConfig)

    def __post_init__(self) -> None:
        if self.start not in ("taste", "nothing"):
            raise ValueError(f"train.start must be 'taste' or 'nothing', given {self.start!r}")
        if self.device not in ("cpu", "cuda"):
            raise ValueError(f"train.device must be 'cpu' or 'cuda', given {self.device!r}")
        if self.encoder not in ("categories", "gru", "transformer"):
            raise ValueError(f"train.encoder must be 'categories', 'gru' or 'transformer', given {self.encoder!r}")
        _within("train", 0, checkpoint=self.checkpoint, steps=self.steps, learning_rate=self.learning_rate)
        _within("train", 1, users=self.users, rollout=self.rollout, epochs=self.epochs, hidden=self.hidden)
        _within("train", 2, batch_size=self.batch_size)
        _within("train", 1, evaluations=self.evaluations, validation=self.validation, history=self.history)
        if self.users * self.rollout < 2:
            raise ValueError(
                f"train.users must be at least 2 where train.rollout is 1, given {self.users}; or give a longer rollout"
            )
        if self.users * self.rollout > self.batch_size and self.users * self.rollout % self.batch_size:
            raise ValueError(
                f"train.batch_size must divide train.users * train.rollout ({self.users * self.rollout}) or be larger, "
                f"given {self.batch_size}"
            )
        if not 0 <= self.gamma < 1:
            raise ValueError(f"train.gamma must be at least 0 and below 1, given {self.gamma}")
        if not 0 <= self.gae_lambda <= 1:
            raise ValueError(f"train.gae_lambda must be in [0, 1], given {self.gae_lambda}")
        if not 0 < self.clip_range < math.inf:
            raise ValueError(f"train.clip_range must be above 0, given {self.clip_range}")
        for name in ("log_std", "last_log_std"):
            if not -20 <= getattr(self, name) <= 2:
                raise ValueError(f"train.{name} must be in [-20, 2], given {getattr(self, name)}")


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
        _within("evaluation", 1, replicates=self.replicates, batch_size=self.batch_size)
        if not 100 <= self.bootstrap <= 100_000:
            raise ValueError(f"evaluation.bootstrap must be from 100 to 100000, given {self.bootstrap}")
        _within("evaluation", 2, users=self.users)


@dataclass(frozen=True)
class TuneConfig:
    """What `lerl tune` searches for; `lerl train` takes no notice of it.

    Args:
        row: the row to fit with each trial's settings.
        trials: how many settings are tried, the recipe's own among them where they lie in the space; all of them, each
            once, where the space holds no more.
        metric: what is made as large as possible, on sessions of training users: R_cum, T_int or R_sin.
        users: how many training users those are, all when none or fewer; the same ones for every trial.
        replicates: sessions of each of them.
        space: what is searched, in the recipe file only: by key of train or planner, either low and high (and
            log: true to search the logarithm) or choices.
    """

    row: str = "planner+ppo"
    trials: int = 20
    metric: str = "R_cum"
    users: int | None = 500
    replicates: int = 1
    space: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _within("tune", 1, trials=self.trials, replicates=self.replicates)
        _within("tune", 2, users=self.users)
        if self.metric not in ("R_cum", "T_int", "R_sin"):
            raise ValueError(f"tune.metric must be 'R_cum', 'T_int' or 'R_sin', given {self.metric!r}")


@dataclass(frozen=True)
class ExperimentConfig:
    """What `lerl experiment` repeats; other commands take no notice of it.

    Args:
        seeds: runs of each row, with the seeds from the recipe's on; a setting may say `experiment.seeds` for itself.
        jobs: rows that are worked on side by side, each by a process of its own; the numbers do not depend on it.
        rows: by the name that tables use; under it other settings by dotted key, `row` where the name is not that of a
            row, `kind` where it stands for something else in the verdict, `tuned` for the row whose search it takes its
            settings from, `distils` for the row whose plans its network learns, and `when` for a setting without which
            it is left out. In the recipe file only.
        settings: by name; under it what differs from the recipe by dotted key, and `again`, the name of another
            setting whose fitted agents are judged here. In the recipe file only.
        few: the rows of all settings but the first, which has all; all where none is named.
        quick: for --quick, on the first setting: `rows`, all where it names none, and other settings by dotted key,
            over which flags go. In the recipe file only.
    """

    seeds: int = 5
    jobs: int = 1
    rows: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    few: list[str] = field(default_factory=list)
    quick: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _within("experiment", 1, seeds=self.seeds, jobs=self.jobs)


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
        _within("env", 1, slate_size=env.slate_size, max_steps=env.max_steps, topic_count=env.topic_count)
