"""A converted network for given inputs as populations, and matrices between them.

What lies between two populations is affine, whatever it is made of: it is known once it
is known what each neuron's spike, alone, leaves behind. So a graph becomes the entries
of a matrix over nodes and channels.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from spikegraph.calls.inputs import on_cpu_in_double
from spikegraph.coding import Spikes
from spikegraph.network.graph import Node, arguments
from spikegraph.network.interpreter import Interpreter, SpikeReading, run_node
from spikegraph.network.network import Network
from spikegraph.network.roles import Role
from spikegraph.nn import PhaseNeuron
from spikegraph.nn.layer import values_of
from spikegraph.nn.neuron import peaks
from spikegraph.nn.pool import EarliestInWindow
from spikegraph.running.model import SpikingModel, check_spiking
from spikegraph.running.windows import windows_of

OUTPUT = 'output'
_EVENTS = "export its events instead, 'save_events(simulate(snn, ...).events(), ...)'"


@dataclass
class Population:
    """The neurons of a population, for given inputs.

    A neuron whose potential is :math:`v` fires ON at the first step :math:`t` with
    :math:`v \\geq` :obj:`on` :math:`_t`, and OFF at the first with :obj:`off_low`
    :math:`_t \\leq v \\leq` :obj:`off_high` :math:`_t`; it then stands for its scale
    times the level of that step. Tensors broadcast to its shape.

    Args:
        name (str): Its name, as in :attr:`Simulation.spikes`.
        shape (Tuple[int, ...]): The shape of its neurons.
        start (int): The step of the run at which its fire window opens.
        levels (torch.Tensor): What spikes of each step stand for :math:`(T)`.
        scale (torch.Tensor): What level 1 stands for.
        on (torch.Tensor): Thresholds of each step :math:`(T, *)`.
        off_high (torch.Tensor): The largest potentials of an OFF spike
            :math:`(T, *)`; minus infinity where there is none.
        off_low (torch.Tensor): The smallest ones :math:`(T, *)`.
        bias (torch.Tensor): The potential if no source fires :math:`(*)`: biases, and of
            an input population what the network is given.
        encodes (bool): Whether it encodes an input.
        activation (str): What it stands for: ``'ReLU'``, ``'identity'``, or the type of
            the activation that is folded into its thresholds.
        spikes (Spikes): When its neurons fire on the given inputs.
        peak (torch.Tensor, optional): What scale and thresholds were multiplied by, as
            they are relative to the largest size of each row; it broadcasts to the
            shape. (default: :obj:`None`, they are not)
    """

    name: str
    shape: tuple[int, ...]
    start: int
    levels: Tensor
    scale: Tensor
    on: Tensor
    off_high: Tensor
    off_low: Tensor
    bias: Tensor
    encodes: bool
    activation: str
    spikes: Spikes
    peak: Tensor | None = None

    @property
    def num_steps(self) -> int:
        """The number of time steps of its window."""
        return len(self.levels)

    @property
    def num_neurons(self) -> int:
        """The number of its neurons."""
        return math.prod(self.shape)

    @property
    def scales(self) -> Tensor:
        """The scale of each neuron :math:`(*)`."""
        return self.scale.expand(self.shape)

    def of_each(self, table: Tensor) -> Tensor:
        """Thresholds of each step and neuron :math:`(T, *)`."""
        num_steps, *rest = table.shape
        around = [1] * (len(self.shape) - len(rest))
        return table.reshape(num_steps, *around, *rest).expand(num_steps, *self.shape)


class Segments:
    """What lies between the populations of a network, for given inputs, in float64.

    Args:
        snn (SpikingModel): The converted network; it is not changed.
        *args (Any): The arguments of its :meth:`forward`, or PyG data.
        gates (bool, optional): Whether max pooling is allowed, of which matrices know
            nothing. (default: :obj:`False`)
        **kwargs (Any): Keyword arguments of its :meth:`forward`.

    Attributes:
        populations (Dict[str, Population]): The populations, in the order they fire.
        shapes (Dict[str, Tuple[int, ...]]): The shapes of all that is charged: of the
            populations, and of the potential that is returned, :obj:`"output"`.
        output_bias (torch.Tensor): That potential if no neuron fires.
        output (torch.Tensor): That potential on the given inputs.
        read_outs (List[str]): What follows it in the network, such as a softmax.
        start (int): The step at which it is known, all sources having fired.

    Raises:
        NotImplementedError: If populations are joined by more than sums of weights.

    Example:
        >>> from torch import nn
        >>> from spikegraph import convert
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
        >>> x = torch.rand(5, 4)
        >>> segments = Segments(convert(model, x), x)
        >>> segments.shapes
        {'input_input': (5, 4), '_1': (5, 8), 'output': (5, 3)}
        >>> [(source, target) for source, target, _ in segments.matrices()]
        [('input_input', '_1'), ('_1', 'output')]
    """

    def __init__(
        self, snn: SpikingModel, *args: Any, gates: bool = False, **kwargs: Any
    ) -> None:
        check_spiking(snn)
        check_expressible(snn.network, gates)
        inputs = snn.bind(*args, **kwargs)
        self.inputs = {name: on_cpu_in_double(value) for name, value in inputs.items()}
        self.network = copy.deepcopy(snn).cpu().double().network
        self.read, self.read_outs = _read_out(self.network)
        with torch.no_grad():
            self._find()

    def _find(self) -> None:
        reading = _Reading(self.network, self.read)
        reading.run(self.inputs)
        self.sent, self.output = reading.sent, reading.potential
        self.silent = _Silent(self.network, self.sent)
        self.silent.run(self.inputs)
        windows = windows_of(self.network)
        self.populations = {
            node.record.label: self._population(node, spikes, windows[node].start)
            for node, spikes in self.sent.items()
        }
        self.output_bias = self.silent.env[self.read]
        self.start = max((window.end for window in windows.values()), default=0)
        self.shapes = {name: each.shape for name, each in self.populations.items()}
        self.shapes[OUTPUT] = tuple(self.output_bias.shape)

    def _population(self, node: Node, spikes: Spikes, start: int) -> Population:
        neuron: Any = self.network.operation(node)
        code, scale = spikes.code, spikes.scale.double()
        assert isinstance(neuron, PhaseNeuron)
        bias = self.silent.potentials[node.record.label]
        tables = neuron.tables_for(bias, scale)
        on, high, low = tables.on, tables.off_high, tables.off_low
        never = torch.full_like(on, -math.inf)
        return Population(
            name=node.record.label,
            shape=tuple(spikes.shape),
            start=start,
            levels=code.levels.double(),
            scale=scale,
            on=on,
            off_high=never if high is None else high,
            off_low=never if low is None else low,
            bias=bias,
            encodes=node.record.encodes,
            activation=_activation(neuron),
            spikes=spikes,
            peak=peaks(bias, neuron.channel_dim) if neuron.node_scale else None,
        )

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Names of populations, and of what their spikes may reach."""
        for start in self.sent:
            for node in self._reached_from(start):
                if node.role is Role.POPULATION:
                    yield start.record.label, node.record.label
                if node is self.read:
                    yield start.record.label, OUTPUT

    def columns(self, source: str) -> Iterator[tuple[int, dict[str, Tensor]]]:
        """For each neuron of a population, what a 1 that it alone sends adds to all
        potentials that it reaches.
        """
        population = self.populations[source]
        start = next(node for node in self.sent if node.record.label == source)
        segment = self._reached_from(start)
        env = dict(self.silent.env)
        for index in range(population.num_neurons):
            value = torch.zeros(population.num_neurons, dtype=torch.float64)
            value[index] = 1
            env[start] = value.view(population.shape)
            changes: dict[str, Tensor] = {}
            for node in segment:
                if node.role is Role.POPULATION:
                    args, _ = arguments(node, env)
                    name = node.record.label
                    changes[name] = args[0] - self.populations[name].bias
                else:
                    env[node] = run_node(self.network, node, env)
            if self.read in segment or self.read is start:
                changes[OUTPUT] = env[self.read] - self.output_bias
            yield index, {k: v for k, v in changes.items() if bool(v.any())}

    def _reached_from(self, start: Node) -> list[Node]:
        """What is made of the spikes of a population, up to the next ones, in order."""
        reached = {start}
        for node in self.network.nodes:
            before = [n for n in node.all_input_nodes if n in reached]
            is_last = node.role in (Role.READ_OUT, Role.OUTPUT)
            if not is_last and any(n is start or not n.role.fires for n in before):
                reached.add(node)
        return [node for node in self.network.nodes if node in reached - {start}]

    def matrices(self) -> Iterator[tuple[str, str, Tensor]]:
        """The weights between all pairs of populations that are connected: names of
        source and target, and a sparse matrix, target by source, over flattened neurons,
        of what a 1 adds to the potential.
        """
        for source, population in self.populations.items():
            found: dict[str, list[tuple[Tensor, int, Tensor]]] = {}
            with torch.no_grad():
                for index, changes in self.columns(source):
                    for target, change in changes.items():
                        (rows,) = change.flatten().nonzero(as_tuple=True)
                        entries = rows, index, change.flatten()[rows]
                        found.setdefault(target, []).append(entries)
            for target in (name for name in self.shapes if name in found):
                size = (math.prod(self.shapes[target]), population.num_neurons)
                yield source, target, _sparse(found[target], size)


def _sparse(columns: list[tuple[Tensor, int, Tensor]], size: tuple[int, int]) -> Tensor:
    """A matrix of columns: rows, place and values of each."""
    rows = torch.cat([rows for rows, _, _ in columns])
    places = torch.cat([torch.full_like(rows, place) for rows, place, _ in columns])
    values = torch.cat([values for _, _, values in columns])
    return torch.sparse_coo_tensor(torch.stack([rows, places]), values, size).coalesce()


class _Reading(SpikeReading):
    """Keeps the spikes by node, and the potential that is read."""

    potential: Tensor

    def __init__(self, network: Network, read: Node) -> None:
        super().__init__(network)
        self.read = read
        self.sent: dict[Node, Spikes] = {}

    def evaluate(self, node: Node) -> Any:
        value = super().evaluate(node)
        if node is self.read:
            self.potential = values_of(value)
        return value

    def population(self, node: Node) -> Any:
        value = self.sent[node] = super().population(node)
        return value


class _Silent(Interpreter):
    """Evaluates a network in which no neuron fires."""

    forgets = False

    def __init__(self, network: Network, sent: Mapping[Node, Spikes]) -> None:
        super().__init__(network)
        self.sent = sent
        self.potentials: dict[str, Tensor] = {}

    def population(self, node: Node) -> Any:
        args, _ = arguments(node, self.env)
        self.potentials[node.record.label] = args[0]
        return torch.zeros(self.sent[node].shape, dtype=torch.float64)

    def gate(self, node: Node) -> Any:
        args, kwargs = arguments(node, self.env)
        return self.network.operation(node).analog(*args, **kwargs)

    def read_out(self, node: Node) -> Any:
        return None

    output = read_out


def check_expressible(network: Network, gates: bool) -> None:
    """Raises ``NotImplementedError`` if populations are joined by more than weights."""
    for node in network.nodes:
        name = node.record.label
        what = type(network.operation(node)).__name__
        if gates and isinstance(network.operation(node), EarliestInWindow):
            continue
        if node.role in (Role.GATE, Role.PRODUCT, Role.ANALOG):
            raise NotImplementedError(
                f"Cannot write '{name}' ({what}) as connections with weights: it is "
                f'{_WHAT[node.role]}; {_EVENTS}'
            )
        if node.role is Role.POPULATION and {'divisor', 'start'} & {*node.kwargs}:
            raise NotImplementedError(
                f"Cannot write '{name}' ({what}) as connections with weights: its "
                f'thresholds are moved by a second potential; {_EVENTS}'
            )


_WHAT = {
    Role.GATE: 'a gate, which passes on spikes',
    Role.PRODUCT: 'a product of spikes',
    Role.ANALOG: 'analog',
}


def _read_out(network: Network) -> tuple[Node, list[str]]:
    """The potential that the network returns, and what follows it."""
    output = next(n for n in network.nodes if n.role is Role.OUTPUT)
    read = output.all_input_nodes
    names: list[str] = []
    while len(read) == 1 and read[0].role is Role.READ_OUT:
        names.insert(0, read[0].name)
        read = read[0].all_input_nodes
    if len(read) != 1:
        raise NotImplementedError(
            'Cannot write a network that returns more than one potential (got '
            f'{len(read)}); convert one that returns what you need'
        )
    return read[0], names


def _activation(neuron: PhaseNeuron) -> str:
    if isinstance(neuron.activation, str):
        return {'relu': 'ReLU'}.get(neuron.activation, neuron.activation)
    return type(neuron.activation).__name__
