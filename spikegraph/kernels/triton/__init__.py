"""Tensors of a GPU, by Triton."""

import torch
from torch import Tensor

from spikegraph.kernels.memory import is_plain

RANK = 0
NEEDS = 'Triton'
_MIN_CAPABILITY = (7, 5)


def takes(x: Tensor) -> bool:
    """Whether kernels can read a tensor: one on a CUDA device that is new enough."""
    if not x.is_cuda or not is_plain(x) or x.numel() == 0:
        return False
    return torch.cuda.get_device_capability(x.device) >= _MIN_CAPABILITY
