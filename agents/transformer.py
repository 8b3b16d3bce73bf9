"""What networks over sequences of events share: causal layers, and a training that stops early and can be resumed."""

import io
import math
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from lerl.agents.kv_cache import FullKV
from lerl.envs.files import write_whole

RENAMED = (("mixing", "out_proj"), ("wide", "fc_in"), ("narrow", "fc_out"))
"""What version 0.1.0 called the parts of a layer, in policies and checkpoints that it wrote, and their names."""


class CausalLayer(nn.Module):
    """Attention and an inner layer, each on normalised tokens and added to them (Vaswani et al., NIPS 2017).

    Args:
        width: of tokens. inner: of the inner layer. heads: they divide the width.
        dropout: share of a result that is left out in training.
    """

    def __init__(self, width: int, inner: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        self.attention, self.out_proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.fc_in, self.fc_out = nn.Linear(width, inner), nn.Linear(inner, width)
        self.dropout = nn.Dropout(dropout)
        self.register_load_state_dict_pre_hook(_rename)  # type: ignore[no-untyped-call]

    def forward(self, tokens: Tensor, bias: Tensor) -> Tensor:
        """Tokens (B, T, d) and a bias (H, T, T) as of `distance_bias` -> (B, T, d)."""
        batch, length, width = tokens.shape
        parts = self.attention(self.norms[0](tokens)).view(batch, length, 3, self.heads, width // self.heads)
        queries, keys, values = parts.permute(2, 0, 3, 1, 4)  # (B, H, T, d / H) each
        weights = (queries @ keys.transpose(-1, -2) / math.sqrt(width // self.heads) + bias).softmax(-1)
        return self._rest(tokens, (weights @ values).transpose(1, 2).reshape(batch, length, width))

    def cache(self) -> FullKV:
        """One for what this layer reads, with its weights as they are now: made anew when they have changed."""
        width = self.out_proj.in_features
        pair = nn.Linear(width, 2 * width, device="meta")  # draws nothing
        pair.weight, pair.bias = (nn.Parameter(one.detach()[width:], False) for one in self.attention.parameters())
        return FullKV(width, self.heads, pair)

    def step(self, tokens: Tensor, rows: Tensor, bias: Tensor, cache: FullKV) -> Tensor:
        """The newest token (B, d) of each row, after those in a cache, into which it is put.

        Args:
            tokens: one of each row. rows: (B,) int64, none twice. bias: as of `lerl.agents.kv_cache.KVCache.attend`.
            cache: of this layer, see `cache`.
        """
        normed, width = self.norms[0](tokens), tokens.shape[-1]
        cache.append(rows, normed)
        queries = linear(normed, self.attention.weight[:width], self.attention.bias[:width])
        return self._rest(tokens, cache.attend(queries, rows, bias))

    def _rest(self, tokens: Tensor, found: Tensor) -> Tensor:
        """Tokens and what attention found for them, both (..., d) -> (..., d)."""
        tokens = tokens + self.dropout(self.out_proj(found))
        inner = torch.relu(self.fc_in(self.norms[1](tokens)))
        added: Tensor = self.dropout(self.fc_out(inner))
        return tokens + added


def _rename(layer: nn.Module, state: dict[str, Any], prefix: str, *rest: object) -> None:
    """Give a layer's weights that version 0.1.0 wrote the names of today."""
    for old, new in RENAMED:
        for part in ("weight", "bias"):
            if f"{prefix}{old}.{part}" in state:
                state[f"{prefix}{new}.{part}"] = state.pop(f"{prefix}{old}.{part}")


def distance_slopes(heads: int) -> Tensor:
    """(H,): how fast each head forgets (Press, Smith and Lewis, "Train short, test long", ICLR 2022)."""
    return 2.0 ** (-8.0 / heads * torch.arange(1, heads + 1))


def distance_bias(slopes: Tensor, length: int, window: int) -> Tensor:
    """(H, T, T): what is added to the log-weight of one token for another; -inf for later ones and beyond the window.

    Args:
        slopes: (H,), see `distance_slopes`. length: T. window: tokens that one sees, itself included.
    """
    places = torch.arange(length, device=slopes.device)
    distance = places[:, None] - places[None, :]
    seen = (distance >= 0) & (distance < window)
    return torch.where(seen, -slopes[:, None, None] * distance, -torch.inf)


@contextmanager
def deterministic(seed: int) -> Iterator[None]:
    """PyTorch with a seed and one thread, so that sums do not depend on the machine's cores; afterwards as before."""
    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)


class Training:
    """A network in training, what is known of its epochs so far, and the weights of the best one.

    Attributes:
        log_loss: of those set aside, after each epoch. best: the network's state after the best epoch.
    """

    def __init__(self, network: nn.Module, optimiser: torch.optim.Optimizer) -> None:
        self.network, self.optimiser = network, optimiser
        self.log_loss: list[float] = []
        self.best: dict[str, Tensor] = {}

    def finished(self, epochs: int, patience: int) -> bool:
        """Whether there were so many epochs, or so many since the best."""
        since = len(self.log_loss) - 1 - int(np.argmin(self.log_loss)) if self.log_loss else 0
        return len(self.log_loss) >= epochs or since >= patience

    def keep(self, log_loss: float) -> None:
        """Take down an epoch's result."""
        if not self.log_loss or log_loss < min(self.log_loss):
            self.best = {name: value.clone() for name, value in self.network.state_dict().items()}
        self.log_loss.append(log_loss)

    def save(self, path: Path | None, key: str) -> None:
        """Write a checkpoint, if there is a path; the key says which training it is of."""
        if path is None:
            return
        stream = io.BytesIO()
        parts = {"network": self.network.state_dict(), "optimiser": self.optimiser.state_dict(), "best": self.best}
        torch.save({**parts, "log_loss": self.log_loss, "key": key}, stream)
        write_whole(path, stream.getvalue())

    def load(self, path: Path | None, key: str) -> None:
        """Go on from a checkpoint; one that is damaged or of another training is as good as none."""
        if path is None or not path.is_file():
            return
        try:
            kept = torch.load(path, map_location="cpu", weights_only=True)
        except (RuntimeError, EOFError, OSError, ValueError, pickle.UnpicklingError):
            return
        if not isinstance(kept, dict) or kept.get("key") != key:
            return
        self.network.load_state_dict(kept["network"])
        self.optimiser.load_state_dict(kept["optimiser"])
        self.best, self.log_loss = kept["best"], kept["log_loss"]
