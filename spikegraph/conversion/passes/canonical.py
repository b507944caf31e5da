"""Linear operations, however they are spelled, become the library's own: layers with
weights where parameters multiply signals, filters where a matrix does that no
parameter is.
"""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from spikegraph.conversion.passes.constants import Constants
from spikegraph.conversion.passes.graph import Structure
from spikegraph.conversion.passes.products import (
    Contraction,
    contraction_of,
    rank_of,
)
from spikegraph.network.naming import called, is_input, place
from spikegraph.network.ops import Count, is_call, op_of
from spikegraph.nn import GraphFilter, PhaseNeuron, SpikingConv, SpikingLinear
from spikegraph.nn.conv.twin import dense
from spikegraph.nn.shift import MatrixShift

_OPTIONS = ('stride', 'padding', 'dilation', 'groups')
_TRANSPOSED_OPTIONS = ('stride', 'padding', 'output_padding', 'groups', 'dilation')


def canonicalise(structure: Structure, signals: set[fx.Node]) -> None:
    """Replaces products and convolutions of a signal and something that no spike
    changes by layers; what cannot be one stays as it is.

    Args:
        structure (Structure): The network, whose graph is changed.
        signals (Set[torch.fx.Node]): Values on their way to a membrane; those of
            new nodes are added.
    """
    _unchain(structure.network, signals)
    builder = _Layers(structure.network, signals)
    for node in list(structure.network.graph.nodes):
        if node not in signals:
            continue
        found = contraction_of(node)
        if found is not None:
            builder.replace_product(node, found)
        elif is_convolution(node):
            builder.replace_convolution(node)
    structure.network.graph.eliminate_dead_code()


class _Layers:
    def __init__(self, network: fx.GraphModule, signals: set[fx.Node]) -> None:
        self.network = network
        self.graph = network.graph
        self.signals = signals
        self.constants = Constants(network, signals)

    def replace_product(self, node: fx.Node, found: Contraction) -> None:
        a, b = (self._is_signal(value) for value in (found.a, found.b))
        if a == b:
            return
        x, other = (found.a, found.b) if a else (found.b, found.a)
        layout = getattr(x.meta.get('example'), 'layout', torch.strided)
        if layout != torch.strided:
            return  # A matrix whose entries are signals: no rows that a layer reads.
        dims, other_dims = found.a_dims, found.b_dims
        if not a:
            dims, other_dims = other_dims, dims
        if found.is_matmul and rank_of(x) == 1:
            dims = (-1,)
        is_known = self.constants.knows(other)
        factors = found.alpha, found.beta
        if any(isinstance(f, fx.Node) for f in factors):
            return
        with self.graph.inserting_before(node):
            on_channels = not dims or dims[-1] == -1
            if is_known and (self.constants.is_learned(other) or on_channels):
                weight = self._weight(self.constants.value(other), other_dims, found)
                out = (
                    None if weight is None else self._transform(node, x, dims, *weight)
                )
            else:
                out = self._aggregation(node, x, dims, other, other_dims)
            if out is None:
                return
            out = self._arrange(node, out, found, x_first=a)
            if found.alpha != 1:
                out = self._call(node, operator.mul, out, found.alpha)
            if found.added is not None and found.beta != 0:
                added = found.added
                if found.beta != 1:
                    added = self.graph.call_function(operator.mul, (added, found.beta))
                    if self._is_signal(found.added):
                        self.signals.add(added)
                out = self._call(node, operator.add, out, added)
        self._replace(node, out)

    def _is_signal(self, value: Any) -> bool:
        return isinstance(value, fx.Node) and value in self.signals

    def _weight(
        self, value: Any, dims: tuple[int, ...], found: Contraction
    ) -> tuple[Tensor, tuple[int, ...]] | None:
        """The weights of a layer, and the dimensions of its output."""
        if not isinstance(value, Tensor) or value.dim() == 0:
            return None
        value = value.to_dense() if value.layout != torch.strided else value
        if found.is_matmul:
            if value.dim() > 2:
                return None
            dims = (-1,) if value.dim() == 1 else dims
        if not value.is_floating_point() or any(-d > value.dim() for d in dims):
            return None
        left = [d for d in range(-value.dim(), 0) if d not in dims]
        sizes = tuple(value.size(d) for d in left)
        arranged = value.permute(*left, *dims)
        num_inputs = arranged.shape[len(left) :].numel()
        return arranged.reshape(-1, num_inputs), sizes

    def _transform(
        self,
        node: fx.Node,
        x: fx.Node,
        dims: tuple[int, ...],
        weight: Tensor,
        sizes: tuple[int, ...],
    ) -> fx.Node:
        """A layer on the given dimensions, whose outputs come last; on each number
        where there are none.
        """
        if not dims:
            x = self._call(node, torch.unsqueeze, x, -1)
        x = self._move(node, x, dims, tuple(range(-len(dims), 0)))
        if len(dims) > 1:
            x = self._call(node, torch.flatten, x, -len(dims))
        out = self._layer(node, dense(weight), x)
        if len(sizes) == 0:
            return self._call(node, torch.squeeze, out, -1)
        if len(sizes) == 1:
            return out
        return self._call(node, torch.unflatten, out, -1, sizes)

    def _aggregation(
        self,
        node: fx.Node,
        x: fx.Node,
        dims: tuple[int, ...],
        matrix: fx.Node,
        matrix_dims: tuple[int, ...],
    ) -> fx.Node | None:
        """A filter on the rows of a signal, whose outputs come last."""
        rank = rank_of(matrix)
        if len(dims) != 1 or rank not in (None, 2):
            return None
        if matrix_dims[0] == -2:  # Destinations are the rows of a matrix.
            matrix = self.graph.call_function(torch.t, (matrix,))
        is_flat = rank_of(x) in (None, 2)
        first = -2 if is_flat else 0
        rows = self._move(node, x, dims, (first,))
        out = self._layer(node, GraphFilter(MatrixShift()), rows, matrix)
        return self._move(node, out, (first,), (-1,))

    def _arrange(
        self, node: fx.Node, out: fx.Node, found: Contraction, x_first: bool
    ) -> fx.Node:
        """What is left of the signal, then the new dimensions, as the node has them."""
        if found.is_matmul:
            x = found.a if x_first else found.b
            if x_first or rank_of(x) == 1:
                return out
            other = found.a
            if self._num_dims(other) == 1:
                return out
            if called(out) is torch.movedim and out.args[1:] == ((0,), (-1,)):
                out.args = (out.args[0], (0,), (-2,))
                return out
            return self._move(node, out, (-1,), (-2,))
        other = found.b if x_first else found.a
        num_dims = self._num_dims(other) - len(found.b_dims)
        if not x_first and num_dims > 0:
            out = self._move(
                node, out, tuple(range(-num_dims, 0)), tuple(range(num_dims))
            )
        order = found.order
        if order is not None and order != tuple(sorted(order)):
            out = self._call(node, torch.permute, out, order)
        return out

    def _num_dims(self, value: Any) -> int:
        if self.constants.knows(value):
            return int(self.constants.value(value).dim())
        return rank_of(value) or 2

    def replace_convolution(self, node: fx.Node) -> None:
        """Makes a layer of a convolution with parameters."""
        op = op_of(node)
        assert op is not None
        kind: Any = op.module
        is_transposed = 'transpose' in op.name
        options = _TRANSPOSED_OPTIONS if is_transposed else _OPTIONS
        names = ('input', 'weight', 'bias', *options)
        given = {**dict(zip(names, node.args, strict=False)), **node.kwargs}
        x, rest = given.pop('input'), given
        if not self._is_signal(x) or not self.constants.knows(tuple(rest.values())):
            return
        weight, bias = (self.constants.value(rest.pop(k, None)) for k in names[1:3])
        num = weight.size(0), weight.size(1) * rest.get('groups', 1)
        if any(isinstance(n, fx.Node) for n in pytree.tree_leaves(rest)):
            return
        conv: Any = kind(
            *(num if is_transposed else num[::-1]),
            tuple(weight.shape[2:]),
            bias=bias is not None,
            **rest,
        )
        conv.weight = nn.Parameter(weight.detach().clone())
        conv.bias = None if bias is None else nn.Parameter(bias.detach().clone())
        with self.graph.inserting_before(node):
            out = self._layer(node, SpikingConv(conv), x)
        self._replace(node, out)

    def _layer(self, node: fx.Node, layer: nn.Module, *args: fx.Node) -> fx.Node:
        path = place(self.network, path_for(node, 'products'), layer)
        out = self._describe(node, self.graph.call_module(path, args))
        out.meta['made'] = 'product'
        return out

    def _call(self, node: fx.Node, function: Any, *args: Any) -> fx.Node:
        return self._describe(node, self.graph.call_function(function, args))

    def _describe(self, node: fx.Node, out: fx.Node) -> fx.Node:
        out.meta = {k: v for k, v in node.meta.items() if k != 'example'}
        self.signals.add(out)
        return out

    def _move(
        self,
        node: fx.Node,
        x: fx.Node,
        source: tuple[int, ...],
        target: tuple[int, ...],
    ) -> fx.Node:
        if source == target:
            return x
        if {*source, *target} == {-1, -2} and len(source) == 1:
            before = swapped_of(x)
            if before is not None:
                return before
            return self._call(node, torch.transpose, x, -1, -2)
        return self._call(node, torch.movedim, x, source, target)

    def _replace(self, node: fx.Node, out: fx.Node) -> None:
        """Lets a new node stand for another; what turns it back reads what it was."""
        if 'example' in node.meta:
            out.meta['example'] = node.meta['example']
        node.replace_all_uses_with(out)
        self.graph.erase_node(node)
        for user in list(out.users):
            before = swapped_of(out)
            if before is not None and swapped_of(user) is out:
                user.replace_all_uses_with(before)


def is_convolution(node: fx.Node) -> bool:
    """Whether a node calls a convolution, whose weights are arguments."""
    op = op_of(node)
    return op is not None and op.count is Count.CONVOLUTION


def ask_before_layers(network: fx.GraphModule) -> None:
    """Lets questions for the number of rows, or the type, ask what a layer reads, or
    what an input population encodes: it is the same, and the layer, or population,
    then has fewer readers. Of what other populations fire on, they are asked only if
    nobody reads the spikes.
    """
    for node in network.graph.nodes:
        if node.op != 'call_module':
            continue
        asks = [user for user in node.users if _asks_alike(network, node, user)]
        is_inner = bool(node.meta.get('population')) and not is_input(node)
        if not is_inner or len(asks) == len(node.users):
            for user in asks:
                user.replace_input_with(node, node.args[0])


def _asks_alike(network: fx.GraphModule, node: fx.Node, user: fx.Node) -> bool:
    is_kind = is_call(user, 'dtype', 'device')
    module = network.get_submodule(str(node.target))
    if isinstance(module, PhaseNeuron) and not node.kwargs:
        return is_kind or is_call(user, 'size')
    if type(module) is not SpikingLinear:
        return False
    is_rows = is_call(user, 'size') and user.args[1:] == (0,)
    return (is_kind or is_rows) and rank_of(node) in (None, 2)


def path_for(node: fx.Node, folder: str) -> str:
    """Where the layer that a node becomes is kept: named by the module around."""
    around = list(node.meta.get('nn_module_stack', {}).values())
    path = str(around[-1][0]) if around else ''
    parts = [part for part in path.split('.') if part and part.isidentifier()]
    return '.'.join([folder, *parts, node.name])


def swapped_of(node: fx.Node) -> fx.Node | None:
    """What a node exchanges the last two dimensions of, if it does that."""
    if node.op not in ('call_function', 'call_method') or node.kwargs:
        return None
    rest: Any = node.args[1:]
    is_swap = is_call(node, 't') and not rest
    is_swap |= is_call(node, 'T')
    if is_call(node, 'transpose', 'swapaxes'):
        is_swap = len(rest) == 2 and set(rest) in _last_two(node.args[0])
    if is_call(node, 'permute'):
        is_swap = rest in ((1, 0), ((1, 0),), ([1, 0],))
    return node.args[0] if is_swap else None  # type: ignore[return-value]


def _last_two(value: Any) -> list[set[int]]:
    rank = rank_of(value)
    first = [] if rank is None else [{rank - 1, rank - 2}, {rank - 1, -2}]
    return [{-1, -2}, {0, 1}] if rank in (None, 2) else [{-1, -2}, *first]


def _unchain(network: fx.GraphModule, signals: set[fx.Node]) -> None:
    """Takes products of several matrices one by one."""
    for node in list(network.graph.nodes):
        if not is_call(node, 'multi_dot') or node not in signals or node.kwargs:
            continue
        factors = node.args[0] if len(node.args) == 1 else node.args
        if not isinstance(factors, (tuple, list)):
            continue
        out = factors[0]
        with network.graph.inserting_before(node):
            for factor in factors[1:]:
                moves = out in signals or factor in signals
                out = network.graph.call_function(torch.matmul, (out, factor))
                out.meta = dict(node.meta)
                if moves:
                    signals.add(out)
        node.replace_all_uses_with(out)
        network.graph.erase_node(node)
