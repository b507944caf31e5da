"""Counts by brute force: the original model runs, and each product is counted by
its operands. Nothing here knows of the library.

A product with parameters takes all of its multiplications, zero or not. A matrix that
depends on neither signals nor parameters is a graph, sparse or dense, and a graph has
edges: its entries that are not zero, each as often as the signal is wide.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten
_PRODUCTS = {
    aten.mm.default: (0, 1),
    aten._sparse_mm.default: (0, 1),
    aten.bmm.default: (0, 1),
    aten.mv.default: (0, 1),
    aten._sparse_mm_reduce_impl.default: (0, 1),
    aten._sparse_addmm.default: (1, 2),
    aten.addmv.default: (1, 2),
    aten.dot.default: (0, 1),
    aten.addmm.default: (1, 2),
    aten.addmm_.default: (1, 2),
    aten.baddbmm_.default: (1, 2),
    aten.baddbmm.default: (1, 2),
}
_SUMS = {
    aten.scatter_add_.default: 3,
    aten.scatter_add.default: 3,
    aten.index_add_.default: 3,
    aten.index_add.default: 3,
}
_EMPTY = ('new_', 'zeros', 'ones', 'full', 'empty')  # Take a shape only.
_REDUCTIONS = {aten.scatter_reduce_.two: 4, aten.scatter_reduce.two: 4}


class OperationCounter(TorchDispatchMode):
    """Counts multiply-accumulates of a forward pass, where an operand depends on
    the signals: weights times values, and values summed over edges.

    Args:
        signals (List[torch.Tensor]): The inputs that carry values.
    """

    def __init__(self, signals: list[Tensor]) -> None:
        super().__init__()
        self.num_macs = 0
        self.kept: dict[int, Tensor] = {id(t): t for t in signals}
        self.learned: dict[int, Tensor] = {}  # Made of parameters, not of signals.

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        makes = func.__name__.startswith(_EMPTY)
        carries = not makes and any(
            id(t) in self.kept for t in _tensors((args, kwargs))
        )
        if carries or func is aten.embedding.default:
            for tensor in _tensors(out):
                self.kept[id(tensor)] = tensor  # Kept, so that no other has its id.
        elif not makes and any(map(self._is_learned, _tensors((args, kwargs)))):
            for tensor in _tensors(out):
                self.learned[id(tensor)] = tensor
        if carries:
            self.num_macs += self._macs(func, args, out)
        return out

    def _macs(self, func: Any, args: Any, out: Any) -> int:
        if func in _PRODUCTS:
            first, second = (args[i] for i in _PRODUCTS[func])
            if self._is_graph(first):
                return _num_edges(first) * (second.size(-1) if second.dim() > 1 else 1)
            if self._is_graph(second):
                return _num_edges(second) * (first.size(-2) if first.dim() > 1 else 1)
            return int(out.numel()) * first.size(-1)
        if func is aten.convolution.default:
            weight, transposed = args[1], args[6]
            inputs = args[0].numel() if transposed else out.numel()
            return int(inputs) * weight[0].numel()
        if func in _SUMS:
            added = args[_SUMS[func]]
            return int(added.numel()) if id(added) in self.kept else 0
        if func in _REDUCTIONS and args[4] in ('sum', 'mean'):
            return int(args[3].numel())
        return 0

    def _is_learned(self, value: Tensor) -> bool:
        return isinstance(value, nn.Parameter) or id(value) in self.learned

    def _is_graph(self, value: Tensor) -> bool:
        return id(value) not in self.kept and not self._is_learned(value)


def _num_edges(graph: Tensor) -> int:
    if graph.layout != torch.strided:
        return int(graph._nnz())
    return int(torch.count_nonzero(graph))


def _tensors(values: Any) -> Iterator[Tensor]:
    return (v for v in pytree.tree_leaves(values) if isinstance(v, Tensor))


def count_macs(run: Callable[[], Any], signals: list[Tensor]) -> int:
    """The multiply-accumulates of what is run."""
    with OperationCounter(signals) as counter:
        run()
    return counter.num_macs


def reached(spikes: Tensor, layer: nn.Module) -> int:
    """The weights of a layer that spikes reach, each as often as one does."""
    if isinstance(layer, nn.Linear):
        return int(spikes.sum()) * layer.out_features
    assert isinstance(layer, nn.Conv2d)
    ones = torch.ones_like(layer.weight, dtype=spikes.dtype)
    out = F.conv2d(
        spikes, ones, None, layer.stride, layer.padding, layer.dilation, layer.groups
    )
    return int(out.sum())
