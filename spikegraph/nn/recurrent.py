"""The spiking twins of recurrent layers: gates are populations, what they let through
is delayed by them, and a sequence is unrolled.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from spikegraph.nn.conv.twin import SpikingTwin, dense


class _Cell(nn.Module):
    """What one time step of a sequence does. A state that is not given is zero, and
    nothing is multiplied by it.

    Args:
        weights (Sequence[torch.Tensor]): Those for the input and for the state.
        biases (Sequence[torch.Tensor]): Those for either, or :obj:`None`.
        projection (torch.Tensor, optional): The weight behind the output of an LSTM.
            (default: :obj:`None`)
    """

    num_states = 1

    def __init__(
        self,
        weights: tuple[Tensor, Tensor],
        biases: tuple[Tensor | None, Tensor | None],
        projection: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.of_input, self.of_state = map(dense, weights, biases)
        self.projection = None if projection is None else dense(projection)

    def sums(self, x: Tensor, h: Tensor | None) -> tuple[Tensor, Any]:
        """The two parts of what arrives, without a state the bias of the second."""
        bias = self.of_state.bias
        other: Any = 0.0 if bias is None else bias
        return self.of_input(x), other if h is None else self.of_state(h)


class _Plain(_Cell):
    r"""The cell of Elman:

    .. math::
        \mathbf{h}' = \sigma(\mathbf{W} \mathbf{x} + \mathbf{U} \mathbf{h} + \mathbf{b})
    """

    activation: Callable[[Tensor], Tensor] = staticmethod(torch.tanh)

    def forward(self, x: Tensor, h: Any = None) -> tuple[Tensor, Any]:
        """The output and the next state."""
        mine, other = self.sums(x, h)
        out = self.activation(mine + other)
        return out, out


class _Rectified(_Plain):
    """The same, with a ReLU."""

    activation = staticmethod(torch.relu)


class _Gated(_Cell):
    r"""The gated recurrent unit:

    .. math::
        \mathbf{h}' = (1 - \mathbf{z}) \odot \mathbf{n} + \mathbf{z} \odot \mathbf{h}
    """

    def forward(self, x: Tensor, h: Any = None) -> tuple[Tensor, Any]:
        """The output and the next state."""
        mine, other = self.sums(x, h)
        r_x, z_x, n_x = mine.chunk(3, -1)
        r_h, z_h, n_h = (other,) * 3
        if isinstance(other, Tensor):
            r_h, z_h, n_h = other.chunk(3, -1)
        r, z = torch.sigmoid(r_x + r_h), torch.sigmoid(z_x + z_h)
        n = torch.tanh(n_x + r * n_h)
        out = (1 - z) * n if h is None else (1 - z) * n + z * h
        return out, out


class _LongShort(_Cell):
    r"""The long short-term memory:

    .. math::
        \mathbf{c}' = \mathbf{f} \odot \mathbf{c} + \mathbf{i} \odot \mathbf{g}, \quad
        \mathbf{h}' = \mathbf{o} \odot \tanh(\mathbf{c}')
    """

    num_states = 2

    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """The output and the next states."""
        h, c = (None, None) if state is None else state
        mine, other = self.sums(x, h)
        i, f, g, o = (mine + other).chunk(4, -1)
        memory = torch.sigmoid(i) * torch.tanh(g)
        memory = memory if c is None else torch.sigmoid(f) * c + memory
        out = torch.sigmoid(o) * torch.tanh(memory)
        out = out if self.projection is None else self.projection(out)
        return out, (out, memory)


def _cell_of(kind: type[nn.Module], layer: Any) -> type[_Cell]:
    cells = {nn.GRU: _Gated, nn.GRUCell: _Gated, nn.LSTM: _LongShort}
    cells[nn.LSTMCell] = _LongShort
    if kind in cells:
        return cells[kind]
    return _Plain if layer.nonlinearity == 'tanh' else _Rectified


class SpikingGRUCell(SpikingTwin):
    r"""One step of a gated recurrent unit, in which spikes are delayed by gates:

    .. math::
        \mathbf{h}' = (1 - \mathbf{\hat{z}}) \odot \mathbf{\hat{n}} + \mathbf{\hat{z}}
        \odot \mathbf{\hat{h}}

    Arguments and shapes are those of :class:`torch.nn.GRUCell`.
    """

    ann_type: ClassVar[type[nn.Module]] = nn.GRUCell

    def build(self, conv: Any) -> None:
        """Takes the weights."""
        weights = conv.weight_ih, conv.weight_hh
        made = _cell_of(self.ann_type, conv)
        self.cell = made(weights, (conv.bias_ih, conv.bias_hh))

    def forward(self, input: Tensor, hx: Any = None) -> Any:
        """Returns the next state."""
        return self.cell(input, hx)[1]


class SpikingRNNCell(SpikingGRUCell):
    """Like :class:`SpikingGRUCell`, for :class:`torch.nn.RNNCell`."""

    ann_type = nn.RNNCell


class SpikingLSTMCell(SpikingGRUCell):
    """Like :class:`SpikingGRUCell`, for :class:`torch.nn.LSTMCell`."""

    ann_type = nn.LSTMCell


class SpikingGRU(SpikingTwin):
    r"""Layers of gated recurrent units, unrolled over the length of the sequence.

    Arguments and shapes are those of :class:`torch.nn.GRU`. All sequences are as long
    as those that it is converted with.
    """

    ann_type: ClassVar[type[nn.Module]] = nn.GRU

    def build(self, conv: Any) -> None:
        """Takes the weights of every layer and direction."""
        self.batch_first, self.num_layers = conv.batch_first, conv.num_layers
        self.num_directions = 2 if conv.bidirectional else 1
        made = _cell_of(self.ann_type, conv)
        self.cells = nn.ModuleList()
        for layer in range(conv.num_layers):
            for suffix in ('', '_reverse')[: self.num_directions]:
                names = [f'{n}_l{layer}{suffix}' for n in ('weight', 'bias')]
                ends = [
                    n.replace('_', f'_{e}_', 1) for n in names for e in ('ih', 'hh')
                ]
                w, u, b, c = (getattr(conv, name, None) for name in ends)
                last = getattr(conv, f'weight_hr_l{layer}{suffix}', None)
                self.cells.append(made((w, u), (b, c), last))  # type: ignore[arg-type]

    def forward(self, input: Any, hx: Any = None) -> tuple[Tensor, Any]:
        """Returns the outputs at all steps, and the last states."""
        if isinstance(input, PackedSequence):
            raise NotImplementedError(
                "Expected 'input' to be a tensor (got a PackedSequence), of sequences "
                'that are equally long'
            )
        rank: int = input.dim()
        dim = 1 if self.batch_first and rank == 3 else 0
        values = [input.select(dim, i) for i in range(input.size(dim))]
        last = []
        for layer in range(self.num_layers):
            sides = []
            for direction in range(self.num_directions):
                which = layer * self.num_directions + direction
                cell: Any = self.cells[which]
                order = values[::-1] if direction else values
                outs, state = self._run(cell, order, _state(hx, which))
                sides.append(outs[::-1] if direction else outs)
                last.append(state)
            values = sides[0]
            if len(sides) > 1:
                values = [torch.cat(pair, -1) for pair in zip(*sides, strict=True)]
        if isinstance(last[0], tuple):
            return torch.stack(values, dim), tuple(
                torch.stack(each) for each in zip(*last, strict=True)
            )
        return torch.stack(values, dim), torch.stack(last)

    def _run(self, cell: Any, values: list[Any], state: Any) -> tuple[list[Any], Any]:
        outs = []
        for value in values:
            out, state = cell(value, state)
            outs.append(out)
        return outs, state


class SpikingRNN(SpikingGRU):
    """Like :class:`SpikingGRU`, for :class:`torch.nn.RNN`."""

    ann_type = nn.RNN


class SpikingLSTM(SpikingGRU):
    """Like :class:`SpikingGRU`, for :class:`torch.nn.LSTM`."""

    ann_type = nn.LSTM


def _state(hx: Any, which: int) -> Any:
    if hx is None:
        return None
    if isinstance(hx, (tuple, list)):
        return tuple(each[which] for each in hx)
    return hx[which]
