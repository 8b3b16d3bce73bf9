"""Settings of item policies and of their training."""

from dataclasses import field
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from lerl.envs.checks import AboveZero, Real, Share, Whole, settings

LogStd = Annotated[Real, Field(ge=-20, le=2)]


@settings(frozen=True)
class OffPolicyConfig:
    """Settings of learners with a replay buffer only: sac, td3, ddpg, hac, dqn, dnair, sac4ir and slateq.

    Args:
        buffer: user-steps that the replay buffer holds, at 8 bytes per number of an observation (some hundreds; a 24th
            of the items more for learners that choose by number).
        learning_starts: user-steps of random actions before learning, at most a tenth of train.steps.
        gradient_steps: gradient steps per step of all users.
        noise: standard deviation of the exploration of td3, ddpg and hac, in log-odds of item scores.
        epsilon: share of the items that dqn, dnair and slateq show in training that are random among the eligible.
    """

    SECTION: ClassVar[str] = "train.off_policy"

    buffer: Annotated[Whole, Field(ge=1, le=10_000_000)] = 50_000
    learning_starts: Annotated[Whole, Field(ge=0, le=10_000_000_000)] = 512
    gradient_steps: Annotated[Whole, Field(ge=1, le=1_000)] = 8
    noise: Annotated[Real, Field(ge=0, le=100)] = 0.5
    epsilon: Share = 0.1


@settings(frozen=True)
class ReturningConfig:
    """Settings of agents that learn from people who come back only: those ending in @return.

    Args:
        days: discount: a session so many days from now counts 1/e of one today, above 0 and at most 36,500; the longer,
            the more coming back soon, and at all, counts beside the session itself.
    """

    SECTION: ClassVar[str] = "train.returning"

    days: Annotated[AboveZero, Field(le=36_500)] = 7.0


@settings(frozen=True)
class TrainConfig:
    """How item policies learn (Stable-Baselines3); a learner ignores the keys that it has no use for.

    Args:
        steps: user-steps per learned agent; with 0, policies and planners learn nothing.
        users: simulated users side by side.
        rollout: steps of each user between updates of ppo, maskable_ppo, a2c and pg.
        batch_size: user-steps per gradient step, a whole rollout when that is less; a2c and pg take the whole.
        epochs: passes over each rollout, by ppo and maskable_ppo.
        learning_rate: learning rate of the optimizer, falling linearly to 0; constant for sasrec.
        gamma: discount per step, in [0, 1); agents ending in @return discount over days instead, and only scale rewards
            by 1 - gamma.
        gae_lambda: lambda of generalized advantage estimation.
        clip_range: clip range of PPO's probability ratio, above 0.
        hidden: width of the two hidden layers of actor and critic, of the encoders gru and transformer, and of
            recommenders of the next item such as sasrec and tiger.
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
        checkpoint: seconds between two checkpoints, from which an interrupted training continues; longer where writing
            them would cost more than a twentieth of the time.
        validation: sessions of training users behind each point, and behind each weight tried for agents ending in
            +mmr.
        device: where networks are, "cpu" or "cuda" (a GPU); the users are simulated on the CPU.
        off_policy: learners with a replay buffer.
        returning: agents that learn from people who come back.
    """

    SECTION: ClassVar[str] = "train"

    steps: Annotated[Whole, Field(ge=0, le=10_000_000_000)] = 400_000
    users: Annotated[Whole, Field(ge=1, le=100_000)] = 256
    rollout: Annotated[Whole, Field(ge=1, le=10_000)] = 8
    batch_size: Annotated[Whole, Field(ge=2, le=1_000_000)] = 512
    epochs: Annotated[Whole, Field(ge=1, le=1_000)] = 4
    learning_rate: Share = 1e-3
    gamma: Share = 0.9
    gae_lambda: Share = 0.95
    clip_range: Annotated[Real, Field(ge=0)] = 0.2
    hidden: Annotated[Whole, Field(ge=1, le=4_096)] = 64
    encoder: Literal["categories", "gru", "transformer"] = "categories"
    history: Annotated[Whole, Field(ge=1, le=1_000)] = 24
    log_std: LogStd = -1.5
    last_log_std: LogStd = -3.0
    start: Literal["taste", "nothing"] = "taste"
    evaluations: Annotated[Whole, Field(ge=1, le=1_000)] = 8
    checkpoint: Annotated[Real, Field(ge=0, le=1_000_000)] = 60.0
    validation: Annotated[Whole, Field(ge=1, le=1_000_000)] = 200
    device: Literal["cpu", "cuda"] = "cpu"
    off_policy: OffPolicyConfig = field(default_factory=OffPolicyConfig)
    returning: ReturningConfig = field(default_factory=ReturningConfig)

    def __post_init__(self) -> None:
        if self.gamma == 1:
            raise ValueError("train.gamma must be below 1, given 1")
        if self.clip_range == 0:
            raise ValueError("train.clip_range must be above 0, given 0")
        together = self.users * self.rollout
        if together < 2:
            raise ValueError(
                f"train.users must be at least 2 where train.rollout is 1, given {self.users}; or give a longer rollout"
            )
        if together > self.batch_size and together % self.batch_size:
            raise ValueError(
                f"train.batch_size must divide train.users * train.rollout ({together}) or be larger, "
                f"given {self.batch_size}"
            )
