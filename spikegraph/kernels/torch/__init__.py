"""All tensors, by PyTorch."""

from torch import Tensor

RANK = 100
NEEDS = 'PyTorch'


def takes(x: Tensor) -> bool:
    """Whether the functions can read a tensor: any."""
    return True
