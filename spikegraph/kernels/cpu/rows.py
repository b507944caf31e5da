"""Rows times weights, with the same bits whatever rows there are."""

from __future__ import annotations

import weakref
from collections.abc import Hashable
from functools import partial

from torch import Tensor, nn

from spikegraph.kernels.contents import state_of
from spikegraph.kernels.cpu import takes
from spikegraph.kernels.cpu.compiled import products
from spikegraph.kernels.cpu.compiled.operands import LANES, Panels
from spikegraph.kernels.memory import FLOATS, empty, flat, needs_gradient
from spikegraph.kernels.rows import Weights
from spikegraph.kernels.tape import current_tape
from spikegraph.kernels.threads import MULTIPLIED, share


def multiply_rows(x: Tensor, weights: Weights, out: Tensor | None) -> Tensor:
    """See :func:`spikegraph.kernels.multiply_rows`."""
    weight, num_rows = weights.weight, len(x)
    if weight.dtype != x.dtype or not are_fixed(weight, weights.bias):
        return NotImplemented
    if out is None:
        out = empty((num_rows, len(weight)), x.dtype, x)
    assert out.shape == (num_rows, len(weight)) and out.is_contiguous()
    x = x.detach()
    if x.stride(1) != 1 or x.stride(0) < x.size(1):
        x = x.contiguous()
    size = (num_rows - 1) * x.stride(0) + x.size(1)
    values = x.as_strided((size,), (1,)).numpy()
    to = (panels_of(weights, None), flat(out), len(weight))
    work = partial(products.multiply, values, x.stride(0), *to)
    size = max(out.numel(), num_rows * weight.numel() // MULTIPLIED)
    share(work, num_rows, size, products.CHUNK)
    return out


def are_fixed(weight: Tensor, bias: Tensor | None) -> bool:
    """Whether kernels can read weights and a bias for each output, which need no
    gradient.
    """
    if bias is not None:
        if bias.shape != weight.shape[:1] or bias.dtype != weight.dtype:
            return False
    fixed = not needs_gradient(weight, bias) and takes(weight)
    return fixed and weight.dtype in FLOATS


def panels_of(weights: Weights, scale: Tensor | None) -> Panels:
    """Weights times the scale of each input, in panels of columns, and the bias, padded
    alike: made once, and for parameters kept until they hold something else.
    """
    if weights.prepared is None or weights.prepared[0] is not scale:
        weights.prepared = scale, known_panels(weights.weight, weights.bias, scale)
    made: Panels = weights.prepared[1]
    return made


_KEPT: dict[int, tuple[weakref.ref[Tensor], Hashable, Panels]] = {}


def known_panels(weight: Tensor, bias: Tensor | None, scale: Tensor | None) -> Panels:
    """The same for weights, or kernels ``[C_out, C_in, H, W]``, whose channels come to
    be neighbours.
    """
    key = id(weight)
    if not isinstance(weight, nn.Parameter):
        return _make_panels(weight, bias, scale)
    state = tuple(map(state_of, (weight, bias, scale)))
    known = _KEPT.get(key)
    if known is not None and known[0]() is weight and known[1] == state:
        tape = current_tape()
        if tape is not None:
            tape.keep(known[2].weight)
            tape.keep(known[2].bias)
        return known[2]
    made = _make_panels(weight, bias, scale)
    _KEPT[key] = weakref.ref(weight, lambda _: _KEPT.pop(key, None)), state, made
    return made


def _make_panels(weight: Tensor, bias: Tensor | None, scale: Tensor | None) -> Panels:
    weight = weight.detach()
    if weight.dim() == 4:
        weight = weight.permute(0, 2, 3, 1).flatten(1)
    weight = weight.contiguous()
    num_outputs, depth = weight.shape
    padded = -(-num_outputs // LANES) * LANES
    panels, none = empty((padded * depth,), weight.dtype), weight.new_empty(0)
    factors = flat(none if scale is None else scale.contiguous())
    how = (flat(weight), factors, num_outputs, depth, flat(panels), padded)
    share(partial(products.fill, *how), depth, weight.numel(), products.BLOCK)
    offset = weight.new_zeros(padded)  # Never the bias itself: its memory can be moved.
    if bias is not None:
        offset[:num_outputs] = bias.detach()
    return Panels(flat(panels), flat(offset), depth)
