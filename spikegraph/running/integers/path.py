"""What integers become on their way from spikes to a membrane, step by step."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from spikegraph.running.integers import replay
from spikegraph.running.integers.fixed import WHOLE_BITS, Fixed, fixed, magnitude
from spikegraph.running.integers.maps import Map, rows_of

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
        places (Dict[str, int]): The binary places of what steps make of currents, so
            that they keep to :obj:`CURRENT_BITS`, whatever is in a batch.
        chooses (bool): Whether these are chosen, and written there.
        slack (int, optional): By how many bits what is sent may be finer in another
            batch. (default: :obj:`0`)

    Attributes:
        steps (List[Dict[str, Any]]): What is done, as :mod:`replay` reads it.
    """

    def __init__(
        self,
        exponent: int,
        sent: np.ndarray,
        bits: int,
        name: str,
        places: dict[str, int],
        chooses: bool,
        slack: int = 0,
    ) -> None:
        self.steps: list[dict[str, Any]] = []
        self.bits, self.name = bits, name
        self._places, self._chooses = places, chooses
        self._exponents, self._slack = [exponent], slack
        self._values = [np.abs(sent).astype(np.float64)]
        self._counts: Counter[str] = Counter()

    @property
    def exponent(self) -> int:
        """That of the last value."""
        return self._exponents[-1]

    @property
    def bound(self) -> np.ndarray:
        """A bound of each part of the last value, at any time steps together."""
        return self._values[-1]

    def key(self) -> str:
        """What the next step is called, the same in any batch."""
        self._counts[self.name] += 1
        return f'{self.name} {self._counts[self.name]}'

    def append(
        self,
        op: str,
        inputs: list[int],
        exponent: int,
        key: str = '',
        slack: int = 0,
        **values: Any,
    ) -> int:
        """Adds a step; the number of its value. With slack, the constant that it
        multiplies by may be finer by some bits in another batch.
        """
        step = {'op': op, 'inputs': inputs, 'shifts': [0], **values, 'right': 0}
        value = _magnitude(self._values, step)
        most = float(value.max(initial=0))
        key = key or self.key()
        if self._chooses:
            slack += self._slack if 0 in inputs else 0
            self._places[key] = _places(exponent + slack, math.ldexp(most, slack))
        step['right'] = exponent - self._places.get(key, exponent)
        self._values.append(np.ldexp(value, -step['right']))
        most = max(most, float(self._values[-1].max(initial=0)))
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
        key = self.key()
        if not (values != 1).any():
            most = float(self._values[x].max(initial=0))
            if self._chooses:
                places = _places(self._exponents[x] + bits, math.ldexp(most, bits))
                self._places[key] = max(places, self._exponents[x])
            if self._places.get(key, self._exponents[x]) >= self._exponents[x]:
                return x
        known, slack = self._constant(key, without_copies(values), bits)
        exponent = self._exponents[x] + known.exponent
        return self.append('scale', [x], exponent, key, slack, value=known.value)

    def _constant(self, key: str, values: np.ndarray, bits: int) -> tuple[Fixed, int]:
        """Constants that are the same integers whatever is beside them, and the slack."""
        if bits == _EXACT_BITS:  # Of the network alone.
            return fixed(values, bits), 0
        if self._chooses:
            self._places[f'{key} constant'] = WHOLE_BITS - magnitude(values)
        known = fixed(values, bits, places=self._places.get(f'{key} constant'))
        return known, max(0, bits - magnitude(values) - known.exponent)

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
        key, known, slack = self.key(), None, 0
        exponent = self._exponents[x]
        if values is not None:
            known, slack = self._constant(key, values, self.bits)
            exponent += known.exponent
        return self.append(
            'sparse',
            [x],
            exponent,
            key,
            slack,
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
        known = fixed(row, 53, span=12)
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
        some = values[(slice(None),) * dim + (slice(1),)]
        if values.shape[dim] > 1 and (values == some).all():
            values = some
    return values


def _places(exponent: int, most: float) -> int:
    """The binary places with which a current of some size keeps to its bits."""
    return exponent - max(0, magnitude(np.array(most)) + 2 - CURRENT_BITS)


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
