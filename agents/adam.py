"""PyTorch's Adam without PyTorch's compiler."""

from inspect import unwrap
from typing import Any

import torch
from torch.optim import Optimizer


class Adam(torch.optim.Adam):
    """Adam (Kingma and Ba, ICLR 2015), the same numbers bit for bit; arguments are those of `torch.optim.Adam`.

    PyTorch wraps these methods for `torch.compile`, and imports it with them, which takes each process two seconds.
    """

    add_param_group: Any = unwrap(Optimizer.add_param_group)
    load_state_dict: Any = unwrap(Optimizer.load_state_dict)
    state_dict: Any = unwrap(Optimizer.state_dict)
    step: Any = torch.no_grad()(unwrap(torch.optim.Adam.step))
    zero_grad: Any = unwrap(Optimizer.zero_grad)
