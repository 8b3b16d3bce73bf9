"""Adam without PyTorch's compiler: the same numbers, and the compiler stays away."""

import subprocess
import sys
from typing import Any

import pytest
import torch

from lerl.agents.adam import Adam


@pytest.mark.parametrize("options", [{}, {"eps": 1e-5, "foreach": True}, {"betas": (0.5, 0.9), "weight_decay": 0.1}])
def test_it_is_pytorchs_bit_for_bit(options: dict[str, Any]) -> None:
    weights = []
    for kind in (Adam, torch.optim.Adam):
        torch.manual_seed(0)
        network = torch.nn.Sequential(torch.nn.Linear(5, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1))
        optimizer = kind(network.parameters(), lr=0.01, **options)
        for step in range(20):
            optimizer.zero_grad()
            network(torch.randn(8, 5)).square().mean().backward()
            optimizer.step()
            if step == 10:  # as a run does that goes on from a checkpoint
                kept = optimizer.state_dict()
                optimizer = kind(network.parameters(), lr=0.01, **options)
                optimizer.load_state_dict(kept)
        weights.append([value.detach().clone() for value in network.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(*weights, strict=True))
    assert all(value.requires_grad for value in network.parameters())
    assert torch.is_grad_enabled()


def test_a_step_does_not_import_the_compiler() -> None:
    code = """
import sys, torch
from lerl.agents.adam import Adam
weight = torch.nn.Parameter(torch.ones(1))
optimizer = Adam([weight])
optimizer.zero_grad()
weight.sum().backward()
optimizer.step()
optimizer.load_state_dict(optimizer.state_dict())
assert weight.item() < 1
print("torch._dynamo" in sys.modules)
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False"
