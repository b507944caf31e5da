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
from spikegraph.nn.layer import is_changed
from spikegraph.running.integers.fixed import Fixed, fixed
from spikegraph.running.integers.maps import Map, map_of

_EXACT_BITS = 30  # Of constants that are integers times scales already.
_MOST_WEIGHT = 2**16
_MOST_BITS = 62


class Path:
    """The way from spikes to a membrane: what happens to integers, step by step.

    Args:
        exponent (int): That of the current that the spikes cause.
        largest (int): Its largest size.
        bits (int): The bits of the mantissas of constants.

    Attributes:
        steps (List[Dict[str, Any]]): What is done, as :mod:`replay` reads it.
    """

    def __init__(self, exponent: int, largest: int, bits: int) -> None:
        self.steps: list[dict[str, Any]] = []
        self.bits = bits
        self._exponents, self._bounds = [exponent], [max(1, largest)]

    @property
    def exponent(self) -> int:
        """That of the last value."""
        return self._exponents[-1]

    @property
    def bound(self) -> int:
        """The largest size of the last value."""
        return self._bounds[-1]

    def append(
        self, op: str, inputs: list[int], exponent: int, bound: int, **values: Any
    ) -> int:
        """Adds a step; the number of its value."""
        if bound.bit_length() > _MOST_BITS:
            raise ValueError(
                f'Expected currents of at most {_MOST_BITS} bits (got '
                f"{bound.bit_length()}); lower 'constant_bits' or 'weight_bits'"
            )
        self.steps.append({'op': op, 'inputs': inputs, **values})
        self._exponents.append(exponent)
        self._bounds.append(max(1, bound))
        return len(self.steps)

    def add(self, parts: list[int]) -> int:
        """The sum of values, in the finest of their units."""
        if len(parts) == 1:
            return parts[0]
        exponent = max(self._exponents[i] for i in parts)
        shifts = [exponent - self._exponents[i] for i in parts]
        bound = sum(
            self._bounds[i] << shift for i, shift in zip(parts, shifts, strict=True)
        )
        return self.append('add', parts, exponent, bound, shifts=shifts)

    def scale(self, x: int, values: np.ndarray, bits: int) -> int:
        """Each value times a constant that broadcasts to it."""
        if not (values != 1).any():
            return x
        known = fixed(_narrow(values), bits)
        exponent = self._exponents[x] + known.exponent
        bound = self._bounds[x] * known.largest
        return self.append('scale', [x], exponent, bound, value=known.value)

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
        sizes = np.diff(rowptr)
        most = int(sizes.max(initial=0))
        exponent, bound = self._exponents[x], self._bounds[x] * most
        if known is not None:
            exponent, bound = exponent + known.exponent, bound * known.largest
        return self.append(
            'sparse',
            [x],
            exponent,
            bound,
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
        row, col, value, width = _rows_of(found, in_shape)
        order = np.argsort(row, kind='stable')
        counts = np.bincount(row, minlength=size // width if width else 0)
        rowptr = np.concatenate([[0], counts.cumsum()])
        values = None if (value == 1).all() else value[order]
        return self.sparse(x, rowptr, col[order], values, width, found.shape)

    def weighed(self, x: int, matrix: Tensor, name: str, **options: Any) -> int:
        """Weights that are integers times a scale for each output, and then the scale."""
        weight, unit = integer_weights(matrix, name)
        rows = np.abs(weight).reshape(len(weight), -1).sum(1).max(initial=1)
        bound = self._bounds[x] * int(rows)
        op = options.pop('op')
        y = self.append(op, [x], self._exponents[x], bound, weight=weight, **options)
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


def _narrow(values: np.ndarray) -> np.ndarray:
    """Constants that do not change along a dimension, once."""
    for dim in range(values.ndim):
        some = values.take([0], axis=dim)
        if values.shape[dim] > 1 and (values == some).all():
            values = some
    return values


def _rows_of(
    found: Map, in_shape: Any
) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """A map of rows of the largest width that goes, by its rows, or of single values."""
    is_sum = len(np.unique(found.row)) < len(found.row)
    order = np.argsort(found.col if is_sum else found.row, kind='stable')
    row, col, value = (part[order] for part in found[:3])
    for dims in range(min(len(in_shape), len(found.shape)) - 1, 0, -1):
        width = int(np.prod(in_shape[-dims:]))
        if tuple(in_shape[-dims:]) != found.shape[-dims:] or width < 2:
            continue
        if len(row) % width:
            continue
        rows, cols, values = (part.reshape(-1, width) for part in (row, col, value))
        step = np.arange(width)
        if (
            (rows[:, :1] % width == 0).all()
            and (cols[:, :1] % width == 0).all()
            and (rows == rows[:, :1] + step).all()
            and (cols == cols[:, :1] + step).all()
            and (values == values[:, :1]).all()
        ):
            return rows[:, 0] // width, cols[:, 0] // width, values[:, 0], width
    return row, col, value, 1


class Synapses:
    """Reads the nodes between sources of spikes and a potential.

    Args:
        network (Network): The network, in float64.
        segment (List[Node]): The nodes, in order; the potential is the last.
        env (Dict[Node, Any]): Their values, and those of all that they read, while all
            sources are silent.
        bits (int): The bits of the mantissas of constants.
    """

    def __init__(
        self, network: Network, segment: list[Node], env: dict[Node, Any], bits: int
    ) -> None:
        self.network, self.segment, self.env = network, segment, env
        self.bits = bits

    def path(self, source: Node, exponent: int, largest: int) -> Path:
        """The way from one source to the potential."""
        path = Path(exponent, largest, self.bits)
        known = {source: 0}
        for node in self.segment:
            parts = [
                self._between(path, known[n], n, node)
                for n in node.all_input_nodes
                if n in known and node.role is not Role.SIZE
            ]
            if parts:
                known[node] = path.add(parts)
        assert not self.segment or known[self.segment[-1]] == len(path.steps)
        return path

    def _between(self, path: Path, x: int, source: Node, node: Node) -> int:
        """What one of its inputs adds to the value of a node."""
        operation: Any = self.network.operation(node)
        if isinstance(operation, SpikingLayer):
            if node.all_input_nodes[0] is source and not is_changed(operation):
                found = self._layer(path, x, node, operation)
                if found is not None:
                    return found
            raise self._refusal(node)
        like = self.env[source]

        def function(value: Tensor) -> Tensor:
            out: Tensor = run_node(self.network, node, {**self.env, source: value})
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
