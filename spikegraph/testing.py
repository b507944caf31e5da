"""Checks for spiking layers of your own."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from spikegraph.coding import PhaseCode, Spikes, encode


@torch.no_grad()
def assert_spiking(
    conv: nn.Module, x: Tensor, edge_index: Tensor, code: PhaseCode | None = None
) -> None:
    r"""Asserts what any spiking graph layer must fulfil: it is affine in its
    input, so that time steps may be summed; binary spikes add up to the
    decoded values; and the order of nodes and edges does not matter.

    Args:
        conv (torch.nn.Module): The layer, called as
            :obj:`conv(spikes, edge_index)`.
        x (torch.Tensor): Node features to encode :math:`(N, F)`.
        edge_index (torch.Tensor): Edge indices :math:`(2, E)`.
        code (PhaseCode, optional): The code of the input.
            (default: :obj:`PhaseCode(8, 1.5)`)

    Raises:
        AssertionError: If the layer breaks one of the rules.

    Example:
        >>> from spikegraph.nn.conv import SpikingSAGEConv
        >>> edge_index = torch.tensor([[0, 1, 2], [1, 2, 0]])
        >>> assert_spiking(SpikingSAGEConv(4, 2), torch.rand(3, 4), edge_index)
    """
    if code is None:
        code = PhaseCode(8, 1.5)
    conv, x = conv.double(), x.double()
    spikes = Spikes.from_values(x, code, float(x.abs().max()) or 1.0)
    out = conv(spikes, edge_index)
    assert out.shape[0] == x.shape[0], f'{out.shape[0]} rows for {x.shape[0]} nodes'
    _assert_close(conv(spikes.decode(), edge_index), out, 'spikes and decoded values')

    bias = conv(torch.zeros_like(x), edge_index)
    total: Any = bias
    for step in range(code.num_steps):
        current = conv(spikes.current(step), edge_index) - bias
        total = total + float(code.levels[step]) * current
    _assert_close(total, out, 'the sum over time steps and the closed form')

    edge_order = torch.randperm(edge_index.size(1))
    _assert_close(conv(spikes, edge_index[:, edge_order]), out, 'another edge order')
    order = torch.randperm(x.size(0))
    moved = Spikes(spikes.spike_time[order], code, spikes.scale)
    position = order.argsort()
    _assert_close(conv(moved, position[edge_index]), out[order], 'another node order')

    fired = Spikes(encode(out, code), code, torch.ones((), dtype=out.dtype)).raster()
    assert int(fired.sum(dim=0).max()) <= 1, 'a neuron fired more than once'


def _assert_close(found: Tensor, expected: Tensor, what: str) -> None:
    assert torch.allclose(found, expected, rtol=1e-9, atol=1e-9), (
        f'{what} differ by {float((found - expected).abs().max()):g}'
    )
