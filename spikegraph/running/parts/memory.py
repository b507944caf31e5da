"""How much memory a run in blocks takes, before it is run."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from spikegraph.coding import Spikes
from spikegraph.kernels import Adjacency
from spikegraph.running.parts.rows import Frame
from spikegraph.running.parts.staged import Staged
from spikegraph.running.parts.stages import Stage
from spikegraph.running.parts.step import Index, Kind, Links

_SORTING = 14  # Bytes of an edge, on the way to its place and there.
_PLACES = 32  # Bytes of a row, or an edge, of a block: numbers, and where these lie.
_COPIES = 2  # Of values, while an operation makes new ones.


def block_bytes(staged: Staged, block_size: int) -> int:
    r"""An upper bound for the memory of a run in blocks, beyond what is there before:

    .. math::
        14 \, E + \max_{\text{stages}} \Big( 32 \, (R + E_b) + 2 \sum_{\text{steps}}
        R_s \, b_s \Big) + 9 \, N

    with all edges :math:`E` and nodes :math:`N` of prepared graphs; of the block with the
    most edges, its edges :math:`E_b`, the rows :math:`R_s` of each step and their bytes
    :math:`b_s`, and all rows :math:`R`. Inputs that lie in files, and what is kept in a
    storage, are not in memory.

    Args:
        staged (Staged): The network on its inputs.
        block_size (int): How many rows are made at once.
    """
    blocks = [_largest(stage, block_size) for stage in staged.stages]
    axes = {stage.axis.size for stage in staged.stages}
    nodes = 9 * max(axes, default=0)  # Marks and numbers of rows.
    return _graph_bytes(staged) + max(blocks, default=0) + nodes


def _graph_bytes(staged: Staged) -> int:
    """The bytes of prepared graphs and indices, and of their preparation."""
    links = {s.site for s in staged.layout.steps if isinstance(s.site, Links)}
    indices = {s.site for s in staged.layout.steps if isinstance(s.site, Index)}
    total, largest = 0, 0
    for site in links:
        adjacency: Adjacency = site.adjacency
        parts = (
            *(adjacency.rowptr, adjacency.col, adjacency.weight),
            *(adjacency.source_factor, adjacency.target_factor, adjacency.matrix),
        )
        total += sum(map(_size, parts))
        largest = max(largest, adjacency.num_edges)
    for index in indices:
        total += _size(index.value) * 2 + 8 * index.num_groups
        largest = max(largest, len(index.value))
    return total + (_SORTING - 4) * largest


def _largest(stage: Stage, block_size: int) -> int:
    """The bytes of the block with the most edges."""
    blocks = stage.blocks(block_size)
    if not blocks or stage.axis.size == 0:
        return 0
    return _bytes_of(stage, Frame(max(blocks, key=lambda rows: _edges(stage, rows))))


def _edges(stage: Stage, rows: Tensor) -> int:
    """How many edges end in a block."""
    first, last = int(rows[0]), int(rows[-1]) + 1
    total = 0
    for step in stage.needs:
        start = None
        if (
            step.kind is Kind.LINKS
            and step.site.adjacency.num_targets == stage.axis.size
        ):
            start = step.site.adjacency.rowptr
        elif step.kind is Kind.MEMBERS and step.site.num_groups == stage.axis.size:
            start = step.site.members[0]
        if start is not None and step not in stage.reads:
            total += int(start[last] - start[first])
    return total


def _bytes_of(stage: Stage, frame: Frame) -> int:
    total = 0
    for step, need in stage.needs.items():
        num = len(frame.rows(need))
        total += num * _PLACES + _COPIES * num * _row_bytes(step.probe)
    return total + _edges(stage, frame.goal) * _PLACES


def _row_bytes(value: Any) -> int:
    """The bytes of a row, also of several values."""
    total = 0
    for leaf in pytree.tree_leaves(value, is_leaf=lambda v: isinstance(v, Spikes)):
        if isinstance(leaf, Spikes):
            total += leaf.shape[1:].numel() * 5  # As bytes, and perhaps decoded.
        elif isinstance(leaf, Tensor):
            total += leaf[:1].numel() * leaf.element_size()
    return total


def _size(value: Tensor | None) -> int:
    if value is None or value.layout is not torch.strided:
        return 0
    return value.numel() * value.element_size()
