"""Tensors of a CPU, by what Numba compiles."""

from torch import Tensor

from spikegraph.kernels.memory import is_plain

RANK = 0
NEEDS = 'Numba'


def takes(x: Tensor) -> bool:
    """Whether kernels can read a tensor."""
    return x.device.type == 'cpu' and is_plain(x) and x.numel() > 0
