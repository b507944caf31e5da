"""The potentials that a layer leaves behind, computed block by block when they
are asked for, so that no layer is ever held as real values as a whole.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from functools import reduce

import torch
from torch import Tensor

from spikegraph.coding import Spikes
from spikegraph.kernels import (
    Messages,
    Weights,
    multiply_rows,
    own_adjacency,
    send,
    transform_spikes,
)
from spikegraph.kernels.memory import empty
from spikegraph.nn.encoding import Encoding, encoded
from spikegraph.nn.layer import values_of
from spikegraph.nn.neuron import PhaseNeuron

BLOCK_SIZE = 1 << 20  # Values of a block: they stay in the last cache.
_DENSITY = 0.45  # Up to which events are sooner than dense products of wide rows,
_ENCODED = 0.4  # or than those of features, all of which would have to be encoded:
_WIDE = 400  # rows of so many are hardly ever anything else.
_FOUND = 64  # To find an event takes as long as to add so many products up.


class Potentials:
    """The potentials :math:`(N, F)` of all neurons of a population, in rows.

    Args:
        shape (Tuple[int, int]): Their shape.
        dtype (torch.dtype): Their data type.
        width (int, optional): The values a row needs on the way, the most at a
            time, if more than :math:`F`. (default: :obj:`0`)
    """

    def __init__(
        self, shape: tuple[int, int], dtype: torch.dtype, width: int = 0
    ) -> None:
        self.shape, self.dtype = shape, dtype
        self.width = max(1, width, shape[1])
        self._memory: dict[str, Tensor] = {}

    @abstractmethod
    def rows(self, start: int, stop: int) -> Tensor:
        """The potentials of some rows, to be read (or overwritten) before the next
        ones are asked for.
        """

    def spikes(self, neuron: PhaseNeuron) -> Spikes | None:
        """The spikes of a population, without its potentials; None where that
        cannot be done.
        """
        return None

    def blocks(self) -> list[tuple[int, int]]:
        """The first row of each block, and the one after its last."""
        step = max(1, BLOCK_SIZE // self.width)
        starts = range(0, max(1, self.shape[0]), step)
        return [(start, min(start + step, self.shape[0])) for start in starts]

    def memory(self, name: str, num_rows: int, width: int) -> Tensor:
        """A block that is used again for the next rows."""
        size = num_rows * width
        if name not in self._memory or self._memory[name].numel() < size:
            self._memory[name] = empty((size,), self.dtype)
        return self._memory[name][:size].view(num_rows, width)

    def added_to(self, rows: Tensor, start: int, stop: int) -> Tensor:
        """Some rows plus others, which are overwritten."""
        return rows.add_(self.rows(start, stop))

    def whole(self) -> Tensor:
        """All potentials."""
        blocks = self.blocks()
        if len(blocks) == 1:
            return self.rows(*blocks[0])
        out = empty(self.shape, self.dtype)
        for start, stop in blocks:
            out[start:stop] = self.rows(start, stop)
        return out


class Given(Potentials):
    """Potentials that are there already."""

    def __init__(self, value: Tensor) -> None:
        super().__init__((value.size(0), value.size(1)), value.dtype)
        self.value = value

    def rows(self, start: int, stop: int) -> Tensor:
        return self.value[start:stop].clone()

    def added_to(self, rows: Tensor, start: int, stop: int) -> Tensor:
        return rows.add_(self.value[start:stop])

    def whole(self) -> Tensor:
        return self.value


class Gathered(Potentials):
    """Rows of values at an index, such as those of the sources of edges."""

    def __init__(self, value: Tensor, index: Tensor) -> None:
        super().__init__((len(index), value.size(1)), value.dtype)
        self.value, self.index = value, index

    def rows(self, start: int, stop: int) -> Tensor:
        out = self.memory('rows', stop - start, self.shape[1])
        return torch.index_select(self.value, 0, self.index[start:stop], out=out)


class Sums(Potentials):
    """Sums over neighbours, plus a bias."""

    def __init__(self, messages: Messages, bias: Tensor | None) -> None:
        super().__init__((messages.shape[0], messages.shape[1]), messages.dtype)
        self.messages, self.bias = messages, bias

    def rows(self, start: int, stop: int) -> Tensor:
        out = self.memory('sums', stop - start, self.shape[1])
        out = self.messages.sums((start, stop), out)
        return out if self.bias is None else out.add_(self.bias)

    def whole(self) -> Tensor:
        out = self.messages.sums()
        return out if self.bias is None else out.add_(self.bias)

    def spikes(self, neuron: PhaseNeuron) -> Spikes | None:
        return _spikes_at_once(neuron, self.messages, self.bias)


class Product(Potentials):
    """Weights times the sums over neighbours, plus a bias."""

    def __init__(self, messages: Messages, weight: Tensor, bias: Tensor | None) -> None:
        shape = (messages.shape[0], weight.size(0))
        super().__init__(shape, messages.dtype, weight.size(1))
        self.messages, self.weights = messages, Weights(weight, bias)

    def rows(self, start: int, stop: int) -> Tensor:
        out = self.memory('product', stop - start, self.shape[1])
        return self.messages.products(self.weights, (start, stop), out)

    def whole(self) -> Tensor:
        out = empty(self.shape, self.dtype)
        return self.messages.products(self.weights, (0, self.shape[0]), out)

    def spikes(self, neuron: PhaseNeuron) -> Spikes | None:
        return _spikes_at_once(neuron, self.messages, None, self.weights)


class Mixture(Potentials):
    r"""Weights times what they see in each row: :math:`h_0` times its own values
    plus :math:`h_1` times the sums over its neighbours, for each of the weights.
    """

    def __init__(
        self,
        x: Spikes | Tensor,
        messages: Messages | None,
        coefficients: Sequence[Sequence[float]],
        weight: Tensor,
        bias: Tensor | None,
    ) -> None:
        num_rows = x.shape[0] if messages is None else messages.shape[0]
        super().__init__((num_rows, weight.size(0)), x.dtype, weight.size(1))
        self.x, self.messages, self.coefficients = x, messages, coefficients
        self.weights = Weights(weight, bias)

    def rows(self, start: int, stop: int) -> Tensor:
        own = sums = None
        if any(row[0] for row in self.coefficients):
            own = values_of(self.x[start:stop])
        if any(any(row[1:]) for row in self.coefficients):
            assert self.messages is not None
            sums = self.memory('sums', stop - start, self.messages.width)
            sums = self.messages.sums((start, stop), sums)
        seen = [_mixed(row, own, sums) for row in self.coefficients]
        x = seen[0] if len(seen) == 1 else torch.cat(seen, dim=-1)
        out = self.memory('product', stop - start, self.shape[1])
        return multiply_rows(x, self.weights, out)


class Decoded(Potentials):
    """What spikes stand for."""

    def __init__(self, spikes: Spikes) -> None:
        super().__init__((spikes.shape[0], spikes.shape[1]), spikes.dtype)
        self.sent = spikes

    def rows(self, start: int, stop: int) -> Tensor:
        return values_of(self.sent[start:stop])


class Total(Potentials):
    """The potentials of several layers, added up."""

    def __init__(self, parts: Sequence[Potentials]) -> None:
        super().__init__(
            parts[0].shape, parts[0].dtype, sum(part.width for part in parts)
        )
        self.parts = parts

    def rows(self, start: int, stop: int) -> Tensor:
        first, *others = self.parts
        rows = first.rows(start, stop)
        return reduce(lambda sum_, p: p.added_to(sum_, start, stop), others, rows)


def transform(
    x: Spikes | Encoding | Tensor, weight: Tensor, bias: Tensor | None = None
) -> Potentials:
    """Weights times values :math:`(N, F_{out})`, event by event where few neurons
    fire.
    """
    if isinstance(x, Tensor):
        return Mixture(x, None, ((1.0,),), weight, bias)
    if not is_sparse(x, len(weight)):
        given = encoded(x)
        messages = send(own_adjacency(x.shape[0], given.device), given)
        return Product(messages, weight, bias)
    if isinstance(x, Encoding):
        return Given(x.transform(weight, bias))
    return Given(transform_spikes(x, weight, bias))


def is_sparse(x: Spikes | Encoding | Tensor, num_outputs: int) -> bool:
    """Whether so few neurons fire that events are worthwhile."""
    most = _DENSITY * num_outputs / (num_outputs + _FOUND)
    if isinstance(x, Tensor):
        return False
    return density_of(x) <= (_ENCODED if x.shape[-1] >= _WIDE else most)


def density_of(x: Spikes | Encoding | Tensor) -> float:
    """The share of neurons that fire, as measured by calibration; 1 if unknown."""
    density = None if isinstance(x, Tensor) else x.density
    return 1.0 if density is None else density


def spikes_of(neuron: PhaseNeuron, potentials: Potentials) -> Spikes:
    """Lets a population fire, block by block."""
    spikes = potentials.spikes(neuron)
    if spikes is not None:
        return spikes
    blocks = potentials.blocks()
    if len(blocks) == 1:
        return neuron(potentials.rows(*blocks[0]))
    spike_time = empty(potentials.shape, torch.uint8)
    scales = []
    for start, stop in blocks:
        part: Spikes = neuron(potentials.rows(start, stop))
        spike_time[start:stop] = part.spike_time
        scales.append(part.scale)
    scale = torch.cat(scales) if neuron.node_scale else scales[0]
    return replace(part, spike_time=spike_time, scale=scale)


def relative_spikes(
    neuron: PhaseNeuron, messages: Messages, divisor: Tensor, bias: Tensor | None
) -> Spikes | None:
    """Lets a population fire on sums over edges of all heads, side by side, plus a bias
    times the divisor that moves its thresholds; None where there is no kernel for that.
    """
    if neuron.node_scale:
        return None
    like = divisor.new_empty(1).expand(messages.shape[0], messages.width)
    tables = neuron.moved_thresholds(like, divisor)
    spike_time = tables.encode_sums(messages, bias)
    if spike_time is None:
        return None
    scale = neuron.scale_for(like).to(like)
    return Spikes(spike_time, neuron.code, scale, neuron.density)


def _spikes_at_once(
    neuron: PhaseNeuron,
    messages: Messages,
    bias: Tensor | None,
    weights: Weights | None = None,
) -> Spikes | None:
    if neuron.node_scale or not isinstance(neuron.activation, str):
        return None
    if neuron.activation == 'relu' and neuron.code.signed:
        return None
    scale = neuron.scale.to(messages.dtype)
    spike_time = messages.encode(bias, neuron.code, scale, weights)
    if spike_time is None:
        return None
    return Spikes(spike_time, neuron.code, scale, neuron.density)


def _mixed(row: Sequence[float], own: Tensor | None, sums: Tensor | None) -> Tensor:
    first, second = (*row, 0.0)[:2]
    parts = [
        value if factor == 1 else factor * value
        for factor, value in ((first, own), (second, sums))
        if factor != 0 and value is not None
    ]
    if not parts:
        given = own if own is not None else sums
        assert given is not None
        return torch.zeros_like(given)
    return parts[0] if len(parts) == 1 else parts[0] + parts[1]
