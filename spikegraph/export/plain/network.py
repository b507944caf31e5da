"""A converted network as a module of plain PyTorch."""

from __future__ import annotations

import copy
import inspect
from typing import Any

import torch
from torch import nn

from spikegraph.coding import Spikes
from spikegraph.export.plain.populations import decoded
from spikegraph.export.plain.reading import Example, PlainReading
from spikegraph.network.roles import Role
from spikegraph.running.model import SpikingModel, check_spiking

_KIND = inspect.Parameter.POSITIONAL_OR_KEYWORD


class PlainNetwork(nn.Module):
    r"""A converted network in PyTorch's own operations: populations are comparisons with
    thresholds, spikes entries of a table of levels, layers linear maps, convolutions and
    sums over edges, gates minima of spike times. It asks about no value, calls no kernel
    and prepares each graph anew, so that tracers and exporters can follow it.

    Its inputs are those that the network reads, by the names of the arguments of the
    ANN's ``forward`` and in their order. What it returns has the structure that the
    network returns, in plain dictionaries, lists and tuples. Inputs are not checked.

    Args:
        snn (SpikingModel): The converted network.
        *args: An example of its arguments, of which data types, and the numbers of
            dimensions, are kept.
        **kwargs: Keyword arguments of the example.

    Raises:
        ValueError: If :obj:`snn` is no converted network.
        NotImplementedError: If a layer has no plain form.

    Example:
        >>> import spikegraph
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
        >>> x = torch.rand(5, 4)
        >>> snn = spikegraph.convert(model, x)
        >>> plain = PlainNetwork(snn, x)
        >>> torch.allclose(plain(x), snn(x))
        True
    """

    def __init__(self, snn: SpikingModel, *args: Any, **kwargs: Any) -> None:
        super().__init__()
        check_spiking(snn)
        self.network = copy.deepcopy(snn.network).requires_grad_(False)
        for value in [*self.network.parameters(), *self.network.buffers()]:
            value.data = value.data.clone(memory_format=torch.contiguous_format)
        self.inputs = snn.bind(*args, **kwargs)
        read = [node.target for node in self.network.nodes if node.role is Role.INPUT]
        self.names = tuple(sorted(read, key=list(self.inputs).index))
        example = Example(self.network)
        with torch.no_grad():
            example.run(self.inputs)
        self.populations = nn.ModuleList(example.populations.values())
        self._fired = dict(example.populations)
        self._operations = {n: self.network.operation(n) for n in self.network.nodes}
        self.orders = example.orders
        self.eval()

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the network returns."""
        return _plain(self._read(args, kwargs)[1])

    @torch.no_grad()
    def spikes(self, *args: Any, **kwargs: Any) -> dict[str, Spikes]:
        """The spikes of every population and gate, by name, as of
        :meth:`SpikingModel.spikes`, but for their times, which are int32.
        """
        env = self._read(args, kwargs)[0].env
        return {n.record.label: env[n] for n in self.network.nodes if n.role.fires}

    def _read(self, args: Any, kwargs: dict[str, Any]) -> tuple[PlainReading, Any]:
        inputs = {**dict(zip(self.names, args, strict=False)), **kwargs}
        reading = PlainReading(self.network, self._fired, self._operations, self.orders)
        return reading, reading.run(inputs)


def _plain(value: Any) -> Any:
    """Values of spikes in a structure of them."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map(_plain, value))
    return decoded(value) if isinstance(value, Spikes) else value


def named(network: PlainNetwork) -> PlainNetwork:
    """The same, with a ``forward`` whose parameters have the names of the inputs."""
    own = type(network).forward

    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        return own(self, *args, **kwargs)

    names = ('self', *network.names)
    parameters = [inspect.Parameter(name, _KIND) for name in names]
    forward.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    kind = type('PlainNetwork', (type(network),), {'forward': forward})
    network.__class__ = kind
    return network
