"""What lies between spikes and a membrane, in integers."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from spikegraph.kernels import Adjacency
from spikegraph.network.graph import Node, arguments
from spikegraph.network.interpreter import run_node
from spikegraph.network.network import Network
from spikegraph.network.roles import Role
from spikegraph.nn import GraphFilter, SpikingConv, SpikingLayer, SpikingLinear
from spikegraph.nn.conv.mf_conv import DegreeLinear
from spikegraph.nn.layer import is_changed
from spikegraph.running.integers import replay
from spikegraph.running.integers.fixed import fixed
from spikegraph.running.integers.maps import Map, map_of, rows_of

_EXACT_BITS = 30  # Of constants that are integers times scales already.
_MOST_WEIGHT = 2**16
_MOST_BITS = 60
#: The bits that currents are kept to, sign included, on the inputs that tell their size.
CURRENT_BITS = 32


class Path:
    """The way from spikes to a membrane: what happens to integers, step by step.

    Args:
        exponent (int): That of the current that the spikes cause.
        sent (numpy.ndarray): What each neuron sends with its one spike.
        bits (int): The bits of the mantissas of constants.
        name (str): What the way is called.
        shifts (Dict[str, int]): By how many bits steps make currents coarser, so that
            they keep to :obj:`CURRENT_BITS`.
        chooses (bool): Whether that is chosen, and written there.

    Attributes:
        steps (List[Dict[str, Any]]): What is done, as :mod:`replay` reads it.
    """

    def __init__(
        self,
        exponent: int,
        sent: np.ndarray,
        bits: int,
        name: str,
        shifts: dict[str, int],
        chooses: bool,
    ) -> None:
        self.steps: list[dict[str, Any]] = []
        self.bits, self.name = bits, name
        self._shifts, self._chooses = shifts, chooses
        self._exponents = [exponent]
        self._values = [np.abs(sent).astype(np.float64)]
        self._counts: Counter[str] = Counter()

    @property
    def exponent(self) -> int:
        """That of the last value."""
        return self._exponents[-1]

    @property
    def most(self) -> float:
        """A bound of the last value, at any time steps together."""
        return max(1.0, float(self._values[-1].max(initial=0)))

    def append(self, op: str, inputs: list[int], exponent: int, **values: Any) -> int:
        """Adds a step; the number of its value."""
        step = {'op': op, 'inputs': inputs, 'shifts': [0], **values, 'right': 0}
        value = _magnitude(self._values, step)
        most = float(value.max(initial=0))
        key = f'{self.name} {op}'
        self._counts[key] += 1
        key = f'{key} {self._counts[key]}'
        if self._chooses:
            spare = math.ceil(math.log2(max(1.0, most))) + 2 - CURRENT_BITS
            self._shifts[key] = max(0, spare)
        step['right'] = self._shifts.get(key, 0)
        self._values.append(np.ldexp(value, -step['right']))
        if most >= 2.0**_MOST_BITS:
            raise ValueError(
                f'Expected currents of at most {_MOST_BITS} bits on the way to '
                f"'{self.name}' (got {math.ceil(math.log2(most))}); lower 'constant_bits' "
                "or 'weight_bits', or give 'to_integer' inputs like these"
            )
        self.steps.append(step)
        self._exponents.append(exponent - step['right'])
        return len(self.steps)

    def add(self, parts: list[int]) -> int:
        """The sum of values, in the finest of their units."""
        if len(parts) == 1:
            return parts[0]
        exponent = max(self._exponents[i] for i in parts)
        shifts = [exponent - self._exponents[i] for i in parts]
        return self.append('add', parts, exponent, shifts=shifts)

    def scale(self, x: int, values: np.ndarray, bits: int) -> int:
        """Each value times a constant that broadcasts to it."""
        if not (values != 1).any():
            return x
        known = fixed(without_copies(values), bits)
        exponent = self._exponents[x] + known.exponent
        return self.append('scale', [x], exponent, value=known.value)

    def sparse(
        self,
        x: int,
        rowptr: np.ndarray,
        col: np.ndarray,
        values: np.ndarray | None,
        width: int,
        shape: Any,
    ) -> int:
        """A sparse matrix times rows of some width."""
        known = None if values is None else fixed(values, self.bits)
        exponent = self._exponents[x] + (0 if known is None else known.exponent)
        return self.append(
            'sparse',
            [x],
            exponent,
            rowptr=rowptr,
            col=col,
            value=None if known is None else known.value,
            width=width,
            shape=list(shape),
        )

    def mapped(self, x: int, found: Map, in_shape: Any) -> int:
        """What a map makes of a value."""
        size = int(np.prod(found.shape))
        is_same = (
            len(found.row) == found.size == size and (found.row == found.col).all()
        )
        if is_same and tuple(in_shape) == found.shape:
            values = np.empty(size)
            values[found.row] = found.value
            return self.scale(x, values.reshape(found.shape), self.bits)
        row, col, value, width = rows_of(found, in_shape)
        order = np.argsort(row, kind='stable')
        counts = np.bincount(row, minlength=size // width if width else 0)
        rowptr = np.concatenate([[0], counts.cumsum()])
        own = None if (value == 1).all() else value[order]
        return self.sparse(x, rowptr, col[order], own, width, found.shape)

    def weighed(self, x: int, matrix: Tensor, name: str, **options: Any) -> int:
        """Weights that are integers times a scale for each output, and then the scale."""
        weight, unit = integer_weights(matrix, name)
        op = options.pop('op')
        y = self.append(op, [x], self._exponents[x], weight=weight, **options)
        last = [1] * (weight.ndim - 2)
        return self.scale(y, unit.reshape(-1, *last), _EXACT_BITS)


def integer_weights(matrix: Tensor, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Weights as the smallest integers there are, and the scale of each output.

    Raises:
        ValueError: If they are no small integers times a scale.
    """
    values = matrix.detach().double().numpy()
    flat = values.reshape(len(values), -1)
    units = np.ones(len(flat))
    weights = np.zeros(flat.shape, dtype=np.int64)
    for k, row in enumerate(flat):
        known = fixed(row, 53)
        divisor = int(np.gcd.reduce(known.value)) or 1
        weights[k] = known.value // divisor
        units[k] = np.ldexp(float(divisor), -known.exponent)
    largest = int(np.abs(weights).max(initial=0))
    if largest >= _MOST_WEIGHT:
        raise ValueError(
            f"Expected the weights of '{name}' to be small integers times a scale for each "
            'output (got floating point); convert the model with '
            'ConversionConfig(weight_bits=8)'
        )
    small = np.min_scalar_type(-largest - 1)
    return weights.reshape(values.shape).astype(small), units


def without_copies(values: np.ndarray) -> np.ndarray:
    """Constants that do not change along a dimension, once."""
    for dim in range(values.ndim):
        some = values.take([0], axis=dim)
        if values.shape[dim] > 1 and (values == some).all():
            values = some
    return values


class Synapses:
    """Reads the nodes between sources of spikes and a potential.

    Args:
        network (Network): The network, in float64.
        segment (List[Node]): The nodes, in order; the potential is the last.
        env (Dict[Node, Any]): Their values, and those of all that they read, while all
            sources are silent.
        bits (int): The bits of the mantissas of constants.
        shifts (Dict[str, int]): As for :class:`Path`.
        chooses (bool): As for :class:`Path`.
    """

    def __init__(
        self,
        network: Network,
        segment: list[Node],
        env: dict[Node, Any],
        bits: int,
        shifts: dict[str, int],
        chooses: bool,
    ) -> None:
        self.network, self.segment, self.env = network, segment, env
        self.bits, self.shifts, self.chooses = bits, shifts, chooses

    def path(self, source: Node, exponent: int, sent: np.ndarray) -> Path:
        """The way from one source to the potential.

        Args:
            source (Node): The source.
            exponent (int): That of what its spikes send.
            sent (numpy.ndarray): What each of them sends.
        """
        path = Path(exponent, sent, self.bits, '', self.shifts, self.chooses)
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
        return NotImplementedError(
            f"Cannot write '{node.name}' ({kind}) in integers: it is neither a linear "
            'layer, a convolution, a sum over edges, nor one that moves, scales or adds '
            'values'
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
            found = [
                path.scale(path.weighed(x, lin.weight, node.name, op='linear'), rows, 1)
                for number, lin in enumerate(lins)
                if (rows := (degree == number).astype(float).reshape(-1, 1)).any()
            ]
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


def _magnitude(values: list[np.ndarray], op: dict[str, Any]) -> np.ndarray:
    """A bound of what a step makes of currents of some size."""
    x = values[op['inputs'][0]]
    if op['op'] == 'add':
        parts = zip(op['inputs'], op['shifts'], strict=True)
        total: np.ndarray = sum(np.ldexp(values[i], shift) for i, shift in parts)
        return total
    if op['op'] in ('linear', 'conv'):
        weight = np.abs(op['weight'].astype(np.float64))
        if op['op'] == 'linear':
            return x @ weight.T
        padded = np.pad(x, ((0, 0), (0, 0), *op['padding']))
        options = {name: op[name] for name in ('stride', 'dilation', 'groups')}
        out = F.conv2d(torch.from_numpy(padded), torch.from_numpy(weight), **options)
        return out.numpy()
    value = op['value']
    known = {**op, 'value': None if value is None else np.abs(value) * 1.0}
    found: np.ndarray = replay.LINEAR[op['op']](x, known)
    return found
