"""Settings of item policies and of what trains them."""

import math
from dataclasses import dataclass, field

from lerl.envs.checks import within


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
        within("train.off_policy", 1, buffer=self.buffer, gradient_steps=self.gradient_steps)
        within("train.off_policy", 0, learning_starts=self.learning_starts, noise=self.noise)
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
        within("train", 0, checkpoint=self.checkpoint, steps=self.steps, learning_rate=self.learning_rate)
        within("train", 1, users=self.users, rollout=self.rollout, epochs=self.epochs, hidden=self.hidden)
        within("train", 2, batch_size=self.batch_size)
        within("train", 1, evaluations=self.evaluations, validation=self.validation, history=self.history)
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
