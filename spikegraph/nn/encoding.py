from __future__ import annotations

from typing import Any

from torch import Tensor

from spikegraph.coding import Spikes
from spikegraph.kernels import encode_transform
from spikegraph.nn.neuron import PhaseNeuron


class Encoding:
    """The spikes of an input, fired where they are read, so that they need not be
    kept.

    Args:
        neuron (PhaseNeuron): The input population.
        value (torch.Tensor): The input :math:`(N, F)`.

    Attributes:
        shape (torch.Size): The shape of the population.
        dtype (torch.dtype): The data type of the decoded values.
        device (torch.device): Where the input is stored.
        code (PhaseCode): The code of the population.
        density (float, optional): The share of neurons that fire, as measured by
            calibration.
    """

    def __init__(self, neuron: PhaseNeuron, value: Tensor) -> None:
        self.neuron, self.value = neuron, value
        self.shape, self.dtype, self.device = value.shape, value.dtype, value.device
        self.code, self.density = neuron.code, neuron.density

    def size(self, dim: int | None = None) -> Any:
        """The shape, or the size of one dimension, as of a tensor."""
        return self.shape if dim is None else self.shape[dim]

    def spikes(self) -> Spikes:
        """The spikes."""
        return self.neuron(self.value)

    def __getitem__(self, rows: slice) -> Encoding:
        """Some of the rows."""
        return Encoding(self.neuron, self.value[rows])

    def transform(self, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Weights times what the spikes stand for, by events."""
        neuron = self.neuron
        scale = neuron.scale.to(self.value)
        return encode_transform(
            self.value, neuron.code, scale, weight, bias, neuron.node_scale
        )


def encoded(x: Spikes | Encoding | Tensor) -> Spikes | Tensor:
    """The input as it is, or the spikes of an encoding."""
    return x.spikes() if isinstance(x, Encoding) else x
