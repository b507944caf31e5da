"""What gates and moves do to spike times, in integers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from spikegraph.coding import Spikes
from spikegraph.network.graph import Node
from spikegraph.network.interpreter import run_node
from spikegraph.nn.gate import (
    EarliestAlong,
    EarliestGate,
    EarliestMember,
    EarliestNeighbor,
    EarliestSpike,
)
from spikegraph.nn.pool import EarliestInWindow
from spikegraph.nn.products import Delay, Rebase
from spikegraph.nn.relative import Leading, Relative
from spikegraph.nn.routing import never_silent, silence
from spikegraph.nn.shift import groups_of
from spikegraph.running.integers.maps import map_of, rows_of

Groups = dict[str, Any]


def gate_operation(gate: Any, args: Sequence[Any]) -> dict[str, Any] | None:
    """What a gate does, as :mod:`replay` reads it; None if that is not known.

    Args:
        gate (SpikeGate): The gate.
        args (Sequence[Any]): What it is called with.
    """
    x, *groups = args
    if isinstance(gate, EarliestGate):
        found = _compared(gate, x, groups)
        if found is None:
            return None
        first = x[0] if isinstance(x, (list, tuple)) else x
        steps = first.code.num_steps
        return {'op': 'first', 'num_steps': steps, 'smallest': gate.smallest, **found}
    if type(gate) is Delay:
        steps = [s.code.num_steps for s in (x, *groups)]
        return {'op': 'delay', 'num_steps': steps}
    if type(gate) is Rebase:
        whole = _taken(x, np.arange(len(x.shape) and x.shape[0] or 1), x.shape)
        return {**whole, 'signed': gate.keeps_sign or not x.code.signed}
    if type(gate) in (Leading, Relative):
        window = gate.num_steps if isinstance(gate, Relative) else None
        found = _own_groups(gate, x, groups)
        sent = list(x.shape)
        if gate.dim is not None and window is None:  # Said once for each group.
            sent[gate.dim] = 1
            found['group'] = np.arange(len(found['rowptr']) - 1)
        steps = x.code.num_steps
        return {
            'op': 'relative',
            'num_steps': steps,
            'window': window,
            'smallest': False,
            **found,
            'shape': [len(found['rowptr']) - 1, found['width']],
            'sent': sent,
        }
    return None


def move_operation(
    network: Any, node: Node, env: dict[Node, Any], spikes: Spikes
) -> dict[str, Any] | None:
    """What a move does to the spikes that it is given."""
    operation = network.operation(node)
    size, silent = spikes.shape.numel(), spikes.code.num_steps
    source = node.all_input_nodes[0]
    shape: Any = tuple(spikes.shape)
    if operation is never_silent:
        whole = _taken(spikes, np.arange(size), shape, 1)
        return {**whole, 'latest': silent - 1}
    if operation is silence:
        args = [env.get(a, a) if isinstance(a, Node) else a for a in node.args]
        _, hidden, *alike = args
        if alike and alike[0] is not None and bool(alike[0].any()):
            return None
        mask = torch.as_tensor(hidden).expand(shape).reshape(-1).numpy()
        return _taken(spikes, np.where(mask, size, np.arange(size)), shape, 1)

    def function(value: Tensor) -> Tensor:
        out: Tensor = run_node(network, node, {**env, source: value})
        return out

    found = map_of(function, torch.zeros(shape, dtype=torch.float64))
    if found is None or (found.value != 1).any():
        return None
    row, col, _, width = rows_of(found, shape)
    index = np.full(int(np.prod(found.shape)) // max(1, width), size // max(1, width))
    index[row] = col
    return _taken(spikes, index, found.shape, width)


def _taken(
    x: Spikes, index: np.ndarray, shape: Any, width: int | None = None
) -> Groups:
    """Rows of spikes; without a width, those of nodes."""
    width = x.shape[1:].numel() if width is None else width
    steps = x.code.num_steps
    common = {'op': 'take', 'silent': steps, 'latest': 2 * steps, 'signed': True}
    return {**common, 'index': index, 'width': width, 'shape': list(shape)}


def _compared(gate: EarliestGate, x: Any, groups: list[Any]) -> Groups | None:
    if isinstance(gate, EarliestSpike):
        shape = torch.broadcast_shapes(*(s.shape for s in x))
        stacked: list[np.ndarray] = []
        start = 0
        for s in x:
            own = np.arange(start, start + s.shape.numel()).reshape(tuple(s.shape))
            stacked.append(np.broadcast_to(own, tuple(shape)).reshape(-1))
            start += s.shape.numel()
        return _csr(np.stack(stacked, 1), shape)
    if isinstance(gate, EarliestMember):
        return _members(x, *_grouped(x, groups))
    if isinstance(gate, EarliestNeighbor):
        edge_index, num_targets = (*groups, None)[:2]
        adjacency = gate.shift(x, edge_index, None, num_targets)
        rowptr, col = (part.numpy() for part in (adjacency.rowptr, adjacency.col))
        shape = (adjacency.num_targets, *x.shape[1:])
        width = int(np.prod(x.shape[1:]))
        return {'rowptr': rowptr, 'col': col, 'width': width, 'shape': list(shape)}
    if isinstance(gate, EarliestAlong):
        places = np.arange(x.shape.numel()).reshape(tuple(x.shape))
        moved = np.moveaxis(places, gate.dim, -1)
        shape = moved.shape[:-1]
        if gate.keepdim:
            shape = tuple(
                1 if k - len(x.shape) == gate.dim else n for k, n in enumerate(x.shape)
            )
        return _csr(moved.reshape(-1, moved.shape[-1]), shape)
    if isinstance(gate, EarliestInWindow) and not groups:
        return _windows(gate, x)
    return None


def _windows(gate: EarliestInWindow, x: Spikes) -> Groups | None:
    pool: Any = gate.pool
    if type(pool) is not nn.MaxPool2d or len(x.shape) != 4:
        return None
    size, step, pad, dilation = (
        (v, v) if isinstance(v, int) else tuple(v)
        for v in (pool.kernel_size, pool.stride, pool.padding, pool.dilation)
    )
    like = torch.zeros(1, 1, *x.shape[2:], dtype=torch.float64)
    shape: Any = tuple(pool(like).shape[2:])
    places = np.arange(x.shape.numel()).reshape(tuple(x.shape))
    reach = [
        (n - 1) * s + d * (k - 1) + 1
        for n, s, d, k in zip(shape, step, dilation, size, strict=True)
    ]
    after = [max(0, r - p - n) for r, p, n in zip(reach, pad, x.shape[2:], strict=True)]
    around = [(0, 0), (0, 0), (pad[0], after[0]), (pad[1], after[1])]
    padded = np.pad(places, around, constant_values=-1)
    wide = [d * (k - 1) + 1 for d, k in zip(dilation, size, strict=True)]
    seen: Any = np.lib.stride_tricks.sliding_window_view(padded, wide, axis=(2, 3))
    seen = seen[:, :, :: step[0], :: step[1], :: dilation[0], :: dilation[1]]
    seen = seen[:, :, : shape[0], : shape[1]]
    out = seen.shape[:4]
    return _csr(seen.reshape(-1, size[0] * size[1]), out)


def _own_groups(gate: Leading, x: Spikes, groups: list[Any]) -> Groups:
    if gate.dim is None:
        index, num = _grouped(x, groups)
        return {**_members(x, index, num), 'group': index.numpy()}
    places = np.arange(x.shape.numel()).reshape(tuple(x.shape))
    moved: Any = np.moveaxis(places, gate.dim, -1)
    found = _csr(moved.reshape(-1, moved.shape[-1]), x.shape)
    group = np.empty(places.size, dtype=np.int64)
    rows = np.arange(len(found['rowptr']) - 1).repeat(moved.shape[-1])
    group[found['col']] = rows
    return {**found, 'group': group}


def _grouped(x: Spikes, groups: list[Any]) -> tuple[Tensor, int]:
    return groups_of(x, *(*groups, None, None)[:2])


def _members(x: Spikes, index: Tensor, num_groups: int) -> Groups:
    order = index.argsort(stable=True).numpy()
    counts = np.bincount(index.numpy(), minlength=num_groups)
    rowptr = np.concatenate([[0], counts.cumsum()])
    width = int(np.prod(x.shape[1:]))
    shape = [num_groups, *x.shape[1:]]
    return {'rowptr': rowptr, 'col': order, 'width': width, 'shape': shape}


def _csr(places: np.ndarray, shape: Any) -> Groups:
    """Groups of single values :math:`(G, K)`, where -1 stands for none."""
    known = places >= 0
    rowptr = np.concatenate([[0], known.sum(1).cumsum()])
    return {'rowptr': rowptr, 'col': places[known], 'width': 1, 'shape': list(shape)}
