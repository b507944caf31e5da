"""Convolutions whose weights are laid out once as oneDNN reads them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def packed_convolution(args: Any, out: Tensor) -> tuple[Any, tuple[Any, ...]] | None:
    """What gives the same bits as ``aten::convolution`` with weights that stay as they
    are, sooner, and its arguments; None where there is no such thing.

    Args:
        args (Tuple[Any, ...]): The arguments of ``aten::convolution``.
        out (torch.Tensor): What it has returned for them.
    """
    if len(args) != 9:
        return None
    x, weight, bias, stride, padding, dilation, is_transposed, _, groups = args
    if is_transposed or x.dim() != 4 or x.dtype != torch.float32 or not x.is_cpu:
        return None
    if not x.is_contiguous(memory_format=torch.channels_last) or bias is None:
        return None
    how = [*padding], [*stride], [*dilation], groups
    try:
        pack = torch.ops.mkldnn._reorder_convolution_weight
        convolve = torch.ops.mkldnn._convolution_pointwise.default
        weight = pack(weight.detach(), *how, list(x.shape))
        given: Any = (x, weight, bias.detach(), *how, 'none', [], '')
        found = convolve(*given)
    except (AttributeError, RuntimeError):  # PyTorch has it for its own compiler.
        return None
    # Which algorithm oneDNN takes depends on shapes.
    if found.stride() != out.stride() or not torch.equal(found, out):
        return None
    return convolve, given
