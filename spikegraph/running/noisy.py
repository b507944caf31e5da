"""Networks on unreliable hardware."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from spikegraph.calls.wrappers import full_precision
from spikegraph.coding import Spikes
from spikegraph.kernels import encode_spikes
from spikegraph.network.graph import Node, arguments, made_of
from spikegraph.network.interpreter import SpikeReading
from spikegraph.network.network import Network
from spikegraph.network.ops import is_call
from spikegraph.network.roles import Role
from spikegraph.nn import PhaseNeuron
from spikegraph.running.model import SpikingModel, check_spiking
from spikegraph.running.noise import Disturbance, SpikeNoise, generator
from spikegraph.running.steps import Run, Simulation, fire_window

_WITH_WEIGHTS = (Role.LAYER, Role.CURRENT, Role.AFFINE)


class NoisyModel(nn.Module):
    """A spiking network on hardware that is unreliable. It is called as the network is.

    Each inference draws noise of its own; that of :attr:`inference` comes next.

    Made by :func:`disturb`.

    Args:
        model (SpikingModel): The network, with the weights that it has there.
        noise (SpikeNoise): What happens to spikes, and the faults of neurons.
        populations (Iterable[str], optional): Whose. (default: :obj:`None`, of all)

    Attributes:
        inference (int): The number of the next inference, 0 at first. Set to an earlier
            one, that inference happens again.

    Example:
        >>> from spikegraph import convert
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
        >>> snn = convert(model, torch.rand(5, 4))
        >>> noisy = disturb(snn, SpikeNoise(drop=1.0))
        >>> {name: s.num_spikes for name, s in noisy.spikes(torch.rand(5, 4)).items()}
        {'input_input': 0, '_1': 0}
    """

    #: What is done to populations.
    disturbance = Disturbance

    def __init__(
        self,
        model: SpikingModel,
        noise: SpikeNoise,
        populations: Iterable[str] | None = None,
    ) -> None:
        super().__init__()
        self.model, self.noise = model, noise
        names = model.neurons if populations is None else populations
        self.populations = tuple(names)
        self.inference = 0
        self._shares_rows = _has_samples(model)
        self.eval()

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """One inference: what the network returns, disturbed.

        Raises:
            ValueError: If features are not finite or inputs do not fit.
        """
        if self.noise.is_quiet or not self.populations:
            self.inference += 1
            return self.model(*args, **kwargs)
        _, values = self._read(args, kwargs)
        return self.model.returned(values, args, kwargs)

    def spikes(self, *args: Any, **kwargs: Any) -> dict[str, Spikes]:
        """The spikes that the others receive of every population, by name, in one
        inference.
        """
        return self._read(args, kwargs)[0].spikes

    @torch.no_grad()
    def simulate(self, *args: Any, **kwargs: Any) -> Simulation:
        """One inference step by step, see :func:`spikegraph.simulate`, with what the
        closed form draws for the same one.
        """
        inputs = self.model.bind(*args, **kwargs)
        result = _NoisyRun(self.model, self._next()).run(inputs)
        result.output = self.model.returned(result.output, args, kwargs)
        return result

    @torch.no_grad()
    def _read(self, args: Any, kwargs: dict[str, Any]) -> tuple[SpikeReading, Any]:
        inputs = self.model.bind(*args, **kwargs)
        reading = _NoisyReading(self.model.network, self._next())
        with full_precision():
            return reading, reading.run(inputs)

    def _next(self) -> _Populations:
        number = self.inference
        if not isinstance(number, int) or number < 0:
            raise ValueError(
                f"Expected 'inference' to be an integer of at least 0 (got {number!r})"
            )
        self.inference += 1
        drawn = self.disturbance(self.noise, number, self._shares_rows)
        return _Populations(drawn, frozenset(self.populations))

    @property
    def spec(self) -> Any:
        """How it is called."""
        return self.model.spec

    def extra_repr(self) -> str:
        return f'{self.noise}, inference={self.inference}'


def disturb(
    snn: SpikingModel, noise: SpikeNoise, *, populations: Iterable[str] | None = None
) -> NoisyModel:
    r"""Puts a network on unreliable hardware.

    Inputs are populations, too. What has no neurons is not disturbed by itself: gates,
    such as maxima and delays, pass on what they are given.

    Neurons of a graph are those of its nodes: row after row. In a network without graphs
    rows are samples, which the same neurons work on one after the other.

    Args:
        snn (SpikingModel): The network, which stays as it is.
        noise (SpikeNoise): What happens.
        populations (Iterable[str], optional): The populations that it happens to, by
            the names of ``snn.neurons``; and of weights, those which their spikes meet.
            (default: :obj:`None`, all, and all weights)

    Returns:
        NoisyModel: A copy on this hardware.

    Raises:
        ValueError: If :obj:`snn` is no spiking network, or a population is unknown.

    Example:
        >>> from spikegraph import convert, disturb, SpikeNoise
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
        >>> x = torch.rand(5, 4)
        >>> snn = convert(model, x)
        >>> noisy = disturb(snn, SpikeNoise(jitter=0.2, weight=0.05))
        >>> noisy(x).shape, torch.equal(noisy(x), noisy(x))
        (torch.Size([5, 3]), False)
        >>> noisy.inference = 0  # The first one again.
        >>> torch.equal(noisy(x), disturb(snn, noisy.noise)(x))
        True
    """
    check_spiking(snn)
    if not isinstance(noise, SpikeNoise):
        raise ValueError(f"Expected 'noise' to be a SpikeNoise (got {noise!r})")
    chosen = None if populations is None else _known(snn, populations)
    model = copy.deepcopy(snn)
    if noise.weight > 0:
        with torch.no_grad():
            for name, weight in _synapses(model.network, chosen):
                normal = generator(noise.seed, name, 'weight').standard_normal
                drawn = torch.as_tensor(normal(tuple(weight.shape))).to(weight)
                weight.mul_(1 + noise.weight * drawn)
    return NoisyModel(model, noise, chosen)


def _known(snn: SpikingModel, populations: Iterable[str]) -> tuple[str, ...]:
    if not isinstance(populations, (str, list, tuple, set, frozenset)):
        raise ValueError(
            f"Expected 'populations' to be names of populations (got {populations!r})"
        )
    names = (populations,) if isinstance(populations, str) else tuple(populations)
    for name in names:
        if name not in snn.neurons:
            raise ValueError(
                f"Expected 'populations' to be names of populations (got {name!r}); "
                f'there are {", ".join(map(repr, snn.neurons))}'
            )
    return names


def _has_samples(model: SpikingModel) -> bool:
    """Whether rows are samples: the network has no inputs but features."""
    known = model.plan.features or {*model.spec.features} - {*model.spec.static}
    inputs = {n.target for n in model.network.nodes if n.role is Role.INPUT}
    return inputs <= known


def _synapses(
    network: Network, chosen: tuple[str, ...] | None
) -> Iterator[tuple[str, Tensor]]:
    """The weights, each once, by name; of populations only those that they meet."""
    seen: set[int] = set()
    for node in network.nodes:
        found = dict(_weights(network, node))
        if chosen is not None and not _sources(node).intersection(chosen):
            continue
        for name, weight in found.items():
            if id(weight) not in seen:
                seen.add(id(weight))
                yield name, weight


def _weights(network: Network, node: Node) -> Iterator[tuple[str, Tensor]]:
    """What a node multiplies values by, biases left out: of a layer its parameters, and
    constants that are factors, such as the vectors of attention.
    """
    if node.role not in _WITH_WEIGHTS:
        return
    module = network.operation(node)
    if isinstance(module, nn.Module):
        for name, weight in module.named_parameters():
            if not name.rpartition('.')[2].startswith('bias'):
                yield f'{node.target}.{name}', weight
    elif is_call(node, 'mul', 'matmul', 'div'):
        for source in node.all_input_nodes:
            value = None
            if source.role is Role.CONSTANT:
                value = getattr(network, source.target, None)
            if isinstance(value, Tensor) and value.is_floating_point():
                yield str(source.target), value


def _sources(node: Node) -> set[str]:
    """The populations whose spikes a node is made of, without those behind them."""
    found = made_of(node, lambda n: n.role is not Role.POPULATION)
    return {n.record.label for n in found if n.role is Role.POPULATION}


class _Populations:
    """The disturbed populations of one inference."""

    def __init__(self, drawn: Disturbance, names: frozenset[str]) -> None:
        self.drawn, self.names = drawn, names

    def gain(self, node: Node, potential: Tensor) -> Tensor | None:
        """What thresholds are multiplied by."""
        label = node.record.label
        return self.drawn.gain(label, potential) if label in self.names else None

    def sent(self, node: Node, neuron: PhaseNeuron, spikes: Spikes) -> Spikes:
        """What others receive."""
        label = node.record.label
        if label not in self.names:
            return spikes
        return self.drawn.sent(label, spikes, neuron.activation != 'relu')


class _NoisyReading(SpikeReading):
    """The closed form, node by node."""

    def __init__(self, network: Network, populations: _Populations) -> None:
        super().__init__(network)
        self.populations = populations

    def population(self, node: Node) -> Any:
        neuron: Any = self.network.operation(node)
        (potential, *others), kwargs = arguments(node, self.env)
        gain = self.populations.gain(node, potential)
        if gain is None:
            spikes = neuron(potential, *others, **kwargs)
        elif neuron.node_scale:  # Relative to the largest potential, not to a quotient.
            scale = neuron.scale_for(potential)
            spike_time = encode_spikes(potential / gain, neuron.code, scale)
            spikes = Spikes(spike_time, neuron.code, scale, neuron.density)
        else:
            spikes = neuron(potential / gain, *others, **kwargs)
        found = self.populations.sent(node, neuron, spikes)
        self.spikes[node.record.label] = found
        return found


class _NoisyRun(Run):
    """The steps."""

    def __init__(self, model: SpikingModel, populations: _Populations) -> None:
        super().__init__(model)
        self.populations = populations

    def fire(
        self,
        node: Node,
        potential: Tensor,
        neuron: PhaseNeuron,
        factor: Tensor | None,
        **kwargs: Any,
    ) -> Spikes:
        gain = self.populations.gain(node, potential)
        spikes = fire_window(potential, neuron, factor, gain=gain, **kwargs)
        return self.populations.sent(node, neuron, spikes)
