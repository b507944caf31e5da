from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from spikegraph.coding import Spikes
from spikegraph.kernels import Weights, multiply_rows
from spikegraph.nn.encoding import Encoding
from spikegraph.nn.layer import Operation, SpikingLayer, check_width, values_of
from spikegraph.nn.potentials import Potentials, transform


class SpikingLinear(SpikingLayer):
    r"""A fully connected synapse between two populations.

    .. math::
        \mathbf{v} = \mathbf{W} \hat{\mathbf{x}} + \mathbf{b}

    Args:
        in_channels (int): Size of each input sample.
        out_channels (int): Size of each output sample.
        bias (bool, optional): If set to :obj:`False`, there is no bias.
            (default: :obj:`True`)

    Raises:
        ValueError: If the input has another width.

    Shapes:
        - **input:** spikes or values :math:`(*, F_{in})`
        - **output:** potentials :math:`(*, F_{out})`

    Example:
        >>> from spikegraph.coding import PhaseCode
        >>> layer = SpikingLinear(2, 1, bias=False)
        >>> layer.set_parameters(torch.tensor([[3.0, -1.0]]), None)
        >>> x = torch.tensor([[1.0, 0.5]])
        >>> layer(Spikes.from_values(x, PhaseCode(num_steps=4, base=2))).tolist()
        [[2.5]]
    """

    weight: nn.Parameter

    def __init__(self, in_channels: int, out_channels: int, bias: bool = True) -> None:
        weight = torch.empty(out_channels, in_channels)
        self._build(weight, torch.empty(out_channels) if bias else None)
        self.reset_parameters()

    def _build(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.out_channels, self.in_channels = weight.shape
        self.set_parameters(weight, bias)

    @property
    def in_features(self) -> int:
        """The number of inputs, as :class:`torch.nn.Linear` calls it."""
        return self.in_channels

    @property
    def out_features(self) -> int:
        """The number of outputs, as :class:`torch.nn.Linear` calls it."""
        return self.out_channels

    def reset_parameters(self) -> None:
        """Draws new parameters, as :class:`torch.nn.Linear` does."""
        bound = 1 / math.sqrt(max(1, self.in_channels))
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound)

    @classmethod
    def from_ann(cls, linear: Any) -> SpikingLinear:
        """Takes the parameters of a :class:`torch.nn.Linear` or PyG's."""
        return cls.from_weight(linear.weight, linear.bias)

    @classmethod
    def from_weight(cls, weight: Tensor, bias: Tensor | None = None) -> SpikingLinear:
        r"""Takes copies of a trained weight
        :math:`(F_{out}, F_{in})` and bias :math:`(F_{out})`, and draws none."""
        layer = cls.__new__(cls)
        layer._build(weight, bias)
        return layer

    def forward(self, x: Spikes | Tensor) -> Tensor:
        """Returns the potentials that the input leaves behind."""
        check_width(x, self.in_channels, self)
        if isinstance(x, Tensor) or len(x.shape) != 2:
            return multiply_rows(values_of(x), Weights(self.weight, self.bias))
        return self.potentials(x).whole()

    def potentials(self, x: Spikes | Encoding | Tensor) -> Potentials:
        """The same, in rows."""
        check_width(x, self.in_channels, self)
        return transform(x, self.weight, self.bias)

    def features(self, x: Spikes | Tensor) -> Tensor:
        """The decoded input itself."""
        check_width(x, self.in_channels, self)
        return values_of(x)

    def operations(self, x: Spikes | Tensor) -> list[Operation]:
        """One transform."""
        num = x.shape.numel() * self.out_channels
        return [Operation('transform', num, self.out_channels, self.weight.numel())]

    def extra_repr(self) -> str:
        bias = self.bias is not None
        return f'{self.in_channels}, {self.out_channels}, bias={bias}'
