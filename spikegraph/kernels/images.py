"""Convolutions over images, and what fires on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from spikegraph.coding import PhaseCode
from spikegraph.coding.encoding import check_scale
from spikegraph.kernels.dispatch import call
from spikegraph.kernels.memory import FLOATS, is_plain, needs_gradient
from spikegraph.kernels.neurons import encode_decode


@dataclass(frozen=True)
class Filters:
    r"""The kernels of a convolution in two dimensions, without groups.

    Args:
        weight (torch.Tensor): The kernels :math:`(C_{out}, C_{in}, K_H, K_W)`.
        bias (torch.Tensor, optional): The bias :math:`(C_{out})`.
            (default: :obj:`None`)
        stride (Tuple[int, int], optional): How far windows are apart.
            (default: :obj:`(1, 1)`)
        padding (Tuple[int, int], optional): Zeros on either side.
            (default: :obj:`(0, 0)`)
        dilation (Tuple[int, int], optional): How far what a window sees is apart.
            (default: :obj:`(1, 1)`)
    """

    weight: Tensor
    bias: Tensor | None = None
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)

    def out_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Height and width of the output for those of images."""
        kernel, how = self.weight.shape[2:], (self.stride, self.padding, self.dilation)
        height, width = (
            (n + 2 * pad - far * (k - 1) - 1) // step + 1
            for n, k, step, pad, far in zip(size, kernel, *how, strict=True)
        )
        return height, width


def convolve(x: Tensor, filters: Filters) -> Tensor:
    r"""Convolves images.

    .. math::
        \mathbf{V} = \mathbf{W} \ast \mathbf{X} + \mathbf{b}

    On a CPU, images in PyTorch's ``channels_last`` layout give the same bits, whatever
    other images are computed with them and however many threads run. Others, kernels of
    more than 4 MB, and what needs gradients are left to
    :func:`torch.nn.functional.conv2d`.

    Args:
        x (torch.Tensor): The images.
        filters (Filters): The kernels.

    Shapes:
        - **input:** values :math:`(N, C_{in}, H, W)`
        - **output:** values :math:`(N, C_{out}, H', W')`
    """
    if _is_known(x, filters):
        found: Any = call('convolve', x, filters)
        if found is not NotImplemented:
            return found
    how = (filters.stride, filters.padding, filters.dilation)
    return F.conv2d(x, filters.weight, filters.bias, *how)


def convolve_decode(
    x: Tensor,
    filters: Filters,
    code: PhaseCode,
    scale: float | Tensor = 1.0,
    other: Tensor | None = None,
) -> Tensor:
    r"""Returns what the spikes of a sum of potentials stand for, of which one is that of
    a convolution: bit by bit what :func:`~spikegraph.kernels.encode_decode` makes of
    :func:`convolve`, sooner, as no potential is written down.

    Args:
        x (torch.Tensor): The images.
        filters (Filters): The kernels.
        code (PhaseCode): The phase code.
        scale (float or torch.Tensor, optional): The scale, as in
            :func:`~spikegraph.kernels.encode_spikes`. (default: :obj:`1.0`)
        other (torch.Tensor, optional): Potentials to be added.
            (default: :obj:`None`)

    Raises:
        ValueError: As :func:`spikegraph.coding.encode`.

    Shapes:
        - **input:** values :math:`(N, C_{in}, H, W)`
        - **output:** values :math:`(N, C_{out}, H', W')`
    """
    if _is_known(x, filters):
        size = filters.out_size((x.size(2), x.size(3)))
        like = x.new_empty(1).expand(x.size(0), len(filters.weight), *size)
        scale = check_scale(scale, like)
        found: Any = call('convolve_decode', x, filters, code, scale, other)
        if found is not NotImplemented:
            return found
    potential = convolve(x, filters)
    return encode_decode(potential, code, scale, other, potential)


def _is_known(x: Tensor, filters: Filters) -> bool:
    """Whether kernels may be asked at all."""
    weight = filters.weight
    are_plain = is_plain(x) and is_plain(weight) and x.dtype == weight.dtype
    if not are_plain or x.dtype not in FLOATS or x.dim() != 4:
        return False
    if x.size(1) != weight.size(1) or needs_gradient(x, weight, filters.bias):
        return False
    _, channels, height, width = x.shape
    line = width * channels
    # Of one channel or place, images may be in PyTorch's other layout as well.
    is_last = x.stride() == (height * line, 1, line, channels) and x.stride(0) > 1
    return is_last and min(filters.out_size((height, width))) > 0
