"""TorchRL: the environment as a GymEnv, a masked policy, a collector, and one REINFORCE update per batch.

Run it:  pip install torchrl, then  python examples/torchrl_rollout.py
"""

import torch
from tensordict.nn import TensorDictModule
from torch import nn
from torchrl.collectors import SyncDataCollector
from torchrl.envs import GymEnv, RewardSum, TransformedEnv
from torchrl.modules import ProbabilisticActor
