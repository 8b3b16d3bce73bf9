"""Causal layers: what version 0.1.0 kept of them is still read."""

import torch

from lerl.agents.transformer import CausalLayer


def test_the_weights_of_a_layer_of_version_0_1_0_are_read():
    old = {"out_proj": "mixing", "fc_in": "wide", "fc_out": "narrow"}
    layer, again = (torch.nn.ModuleList([CausalLayer(8, 12, 2, 0.0)]) for _ in range(2))
    kept = {}
    for name, value in layer.state_dict().items():
        number, part, rest = name.split(".", 2)
        kept[f"{number}.{old.get(part, part)}.{rest}"] = value
    again.load_state_dict(kept)
    assert set(kept) != set(again.state_dict())
    assert all(torch.equal(value, layer.state_dict()[name]) for name, value in again.state_dict().items())
