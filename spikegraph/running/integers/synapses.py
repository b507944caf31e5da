"""What lies between spikes and a membrane, in integers."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from spikegraph.kernels import Adjacency
from spikegraph.network.graph import Node, arguments
from spikegraph.network.interpreter import run_node
from spikegraph.network.network import Network
from spikegraph.network.roles import Role
from spikegraph.nn import GraphFilter, SpikingConv, SpikingLayer, SpikingLinear
from spikegraph.nn.conv.mf_conv import DegreeLinear
from spikegraph.nn.layer import is_changed
from spikegraph.running.integers.maps import map_of
from spikegraph.running.integers.path import Path


class Synapses:
    """Reads the nodes between sources of spikes and a potential.

    Args:
        network (Network): The network, in float64.
        segment (List[Node]): The nodes, in order; the potential is the last.
        env (Dict[Node, Any]): Their values, and those of all that they read, while all
            sources are silent.
        bits (int): The bits of the mantissas of constants.
        places (Dict[str, int]): As for :class:`Path`.
        chooses (bool): As for :class:`Path`.
    """

    def __init__(
        self,
        network: Network,
        segment: list[Node],
        env: dict[Node, Any],
        bits: int,
        places: dict[str, int],
        chooses: bool,
    ) -> None:
        self.network, self.segment, self.env = network, segment, env
        self.bits, self.places, self.chooses = bits, places, chooses

    def path(
        self, source: Node, exponent: int, sent: np.ndarray, slack: int = 0
    ) -> Path:
        """The way from one source to the potential.

        Args:
            source (Node): The source.
            exponent (int): That of what its spikes send.
            sent (numpy.ndarray): What each of them sends.
            slack (int, optional): As for :class:`Path`. (default: :obj:`0`)
        """
        path = Path(exponent, sent, self.bits, '', self.places, self.chooses, slack)
        start = f'{self.segment[-1].name} {source.name}' if self.segment else ''
        known = {source: 0}
        parts_of: dict[Node, Node] = {}  # Several values at once, by what they are of.
        for node in self.segment:
            path.name = f'{start} {node.name}'
            inputs = [n for n in node.all_input_nodes if n in known or n in parts_of]
            if inputs and not isinstance(self.env[node], Tensor):
                parts_of[node] = inputs[0]
            elif inputs and node.role is not Role.SIZE:
                parts = []
                for n in inputs:
                    through = []
                    while n in parts_of:
                        through.append(n)
                        n = parts_of[n]
                    parts.append(self._between(path, known[n], n, [*through, node]))
                known[node] = path.add(parts)
        assert not self.segment or known[self.segment[-1]] == len(path.steps)
        return path

    def _between(self, path: Path, x: int, source: Node, nodes: list[Node]) -> int:
        """What one of its inputs adds to the value of the last of some nodes."""
        node = nodes[-1]
        operation: Any = self.network.operation(node)
        if isinstance(operation, SpikingLayer):
            if node.all_input_nodes[0] is source and not is_changed(operation):
                found = self._layer(path, x, node, operation)
                if found is not None:
                    return found
            raise self._refusal(node)
        like = self.env[source]

        def function(value: Tensor) -> Tensor:
            env = {**self.env, source: value}
            for each in nodes:
                env[each] = run_node(self.network, each, env)
            out: Tensor = env[node]
            return out

        found_map = map_of(function, like)
        if found_map is None:
            raise self._refusal(node)
        return path.mapped(x, found_map, like.shape)

    def _refusal(self, node: Node) -> NotImplementedError:
        operation = self.network.operation(node)
        kind = operation if isinstance(operation, str) else type(operation).__name__
        kind = getattr(operation, '__name__', kind)
        why = (
            'of convolutions, only those over batches of images, padded with zeros and '
            'not transposed, can be written'
            if isinstance(operation, SpikingConv)
            else 'it is neither a linear layer, a convolution, a sum over edges, nor one '
            'that moves, scales or adds values'
        )
        return NotImplementedError(
            f"Cannot write '{node.name}' ({kind}) in integers: {why}"
        )

    def _layer(self, path: Path, x: int, node: Node, layer: Any) -> int | None:
        args, kwargs = arguments(node, self.env)
        if isinstance(layer, SpikingLinear):
            return path.weighed(x, layer.weight, node.name, op='linear')
        if isinstance(layer, SpikingConv):
            options = _conv_options(layer, args)
            if options is None or kwargs or len(args) != 1:
                return None
            return path.weighed(x, layer.weight, node.name, op='conv', **options)
        if isinstance(layer, GraphFilter):
            return self._filter(path, x, node, layer, args, kwargs)
        if isinstance(layer, DegreeLinear):
            lins: list[Any] = list(layer.lins)
            degree = args[1].clamp(max=len(layer.lins) - 1).numpy()
            found = []
            for number, lin in enumerate(lins):  # All, whichever are in the batch.
                y = path.weighed(x, lin.weight, node.name, op='linear')
                rows = (degree == number).astype(np.float64).reshape(-1, 1)
                found.append(path.scale(y, rows, 1))
            return path.add(found)
        return None

    def _filter(
        self, path: Path, x: int, node: Node, layer: Any, args: Any, kwargs: Any
    ) -> int:
        like, *graph = args
        if kwargs:
            graph = [*graph, *kwargs.values()]
        adjacency = layer.adjacency(like, tuple(graph))
        terms = [x]
        shape = tuple(like.shape)
        if layer.weight is not None:
            parts = layer.weight.chunk(len(layer.coefficients), dim=1)
            terms = [path.weighed(x, w, node.name, op='linear') for w in parts]
            shape = (*shape[:-1], layer.weight.size(0))
        out: int | None = None
        for k in reversed(range(layer.num_hops + 1)):
            if out is not None:
                out = _propagated(path, out, adjacency, shape)
            for row, term in zip(layer.coefficients, terms, strict=True):
                if k < len(row) and row[k] != 0:
                    part = path.scale(term, np.array(row[k]), self.bits)
                    out = part if out is None else path.add([out, part])
        assert out is not None
        return out


def _propagated(path: Path, x: int, adjacency: Adjacency, shape: Any) -> int:
    """One hop along the edges."""
    width = int(np.prod(shape[1:]))
    last = [1] * (len(shape) - 1)
    if adjacency.source_factor is not None:
        factor = adjacency.source_factor.double().numpy().reshape(-1, *last)
        x = path.scale(x, factor, path.bits)
    weight = None if adjacency.weight is None else adjacency.weight.double().numpy()
    rowptr, col = (part.numpy() for part in (adjacency.rowptr, adjacency.col))
    out = (adjacency.num_targets, *shape[1:])
    x = path.sparse(x, rowptr, col, weight, width, out)
    if adjacency.target_factor is not None:
        factor = adjacency.target_factor.double().numpy().reshape(-1, *last)
        x = path.scale(x, factor, path.bits)
    return x


def _conv_options(layer: SpikingConv, args: Any) -> dict[str, Any] | None:
    """How a convolution over images goes; None for others."""
    conv: Any = layer.conv
    dims = len(conv.kernel_size)
    if layer.is_transposed or dims != 2 or conv.padding_mode != 'zeros':
        return None
    if args[0].dim() != 4:
        return None
    padding = conv.padding
    if padding == 'same':
        total = [
            d * (k - 1) for d, k in zip(conv.dilation, conv.kernel_size, strict=True)
        ]
        pads = [[t // 2, t - t // 2] for t in total]
    elif padding == 'valid':
        pads = [[0, 0], [0, 0]]
    else:
        pads = [[p, p] for p in padding]
    return {
        'padding': pads,
        'stride': list(conv.stride),
        'dilation': list(conv.dilation),
        'groups': conv.groups,
    }
