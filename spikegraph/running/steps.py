"""The time-stepped run of a converted network: one binary spike at a time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from spikegraph.coding import Spikes
from spikegraph.network.graph import Node, arguments
from spikegraph.network.interpreter import Interpreter, run_node
from spikegraph.nn import PhaseNeuron, charge, fire
from spikegraph.nn.delayed_sum import Arriving
from spikegraph.nn.routing import never_silent
from spikegraph.running.model import SpikingModel, check_spiking
from spikegraph.running.overview import simulation_parts
from spikegraph.running.windows import windows_of
from spikegraph.tables import Part, Shown

EVENT_DTYPE = np.dtype(
    [
        ('t', np.int32),
        ('layer', np.int16),
        ('node', np.int32),
        ('channel', np.int32),
        ('polarity', np.int8),
    ]
)


@dataclass(repr=False)
class Simulation(Shown):
    r"""What a time-stepped run produced.

    Args:
        output (Any): The output, as the network's :meth:`forward` returns it:
            membrane potentials after the last charge window.
        spikes (Dict[str, Spikes]): The spikes of each population, by name, in
            firing order.
        membrane (Dict[str, torch.Tensor]): The potential of each population
            after its charge window, :math:`V / Q^{T-1}`, bias included, in the
            units of the activation.
        start_step (Dict[str, int]): The step at which each population's fire
            window opens; gates that let the window of a group open at its first spike
            count from there, and so does all that these spikes delay.
        num_steps (int): The steps of the whole run.

    Example:
        >>> from torch import nn
        >>> from spikegraph import convert
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
        >>> x = torch.rand(5, 4)
        >>> snn = convert(model, x)
        >>> simulation = simulate(snn, x)
        >>> {name: tuple(t.shape) for name, t in simulation.spike_time.items()}
        {'input_input': (5, 4), '_1': (5, 8)}
        >>> print(simulation)  # doctest: +ELLIPSIS
        population   fires in steps    neurons     spikes  fire, %  mean step  code
        input_input  0 to 15                20 ...
        >>> simulation.events().dtype.names
        ('t', 'layer', 'node', 'channel', 'polarity')
    """

    output: Any
    spikes: dict[str, Spikes] = field(default_factory=dict)
    membrane: dict[str, Tensor] = field(default_factory=dict)
    start_step: dict[str, int] = field(default_factory=dict)
    num_steps: int = 0

    @property
    def spike_time(self) -> dict[str, Tensor]:
        """The spike times of each population (uint8)."""
        return {name: spikes.spike_time for name, spikes in self.spikes.items()}

    def events(self) -> np.ndarray:
        r"""All spikes as a structured array, ordered in time.

        Fields: ``t`` (step of the run), ``layer`` (index of the population in
        :obj:`spikes`), ``node`` and ``channel`` (row and flattened column of
        the population), ``polarity`` (1 ON, -1 OFF).
        """
        parts = []
        for layer, (name, spikes) in enumerate(self.spikes.items()):
            times = spikes.phase().reshape(max(1, len(spikes.spike_time)), -1)
            sign = spikes.polarity().reshape(times.shape)
            node, channel = (times < spikes.code.num_steps).nonzero(as_tuple=True)
            events = np.empty(len(node), dtype=EVENT_DTYPE)
            step = times[node, channel].long()  # Bytes would overflow.
            events['t'] = self.start_step[name] + step.cpu().numpy()
            events['layer'] = layer
            events['node'] = node.cpu().numpy()
            events['channel'] = channel.cpu().numpy()
            events['polarity'] = sign[node, channel].cpu().numpy()
            parts.append(events)
        events = np.concatenate(parts) if parts else np.empty(0, dtype=EVENT_DTYPE)
        return events[np.argsort(events['t'], kind='stable')]

    def __repr__(self) -> str:
        num_spikes = sum(spikes.num_spikes for spikes in self.spikes.values())
        return (
            f'Simulation({self.num_steps} steps, populations={len(self.spikes)}, '
            f'num_spikes={num_spikes})'
        )

    def _title(self) -> str:
        return f'{self.num_steps} time steps'

    def _parts(self) -> list[Part]:
        return simulation_parts(self)


@torch.no_grad()
def simulate(model: SpikingModel, *args: Any, **kwargs: Any) -> Simulation:
    r"""Runs every time step of a converted network.

    Each population first charges for :math:`T` steps,
    :math:`V \leftarrow Q V + L(s_t)`, while the binary spikes :math:`s_t` of
    its sources pass through the real layers, then fires for :math:`T` steps.
    A segment fed by several populations has one membrane compartment for each.
    :meth:`SpikingModel.forward` must give the same spike times.

    Args:
        model (SpikingModel): The converted network.
        *args (Any): The arguments of its :meth:`forward`, or PyG data.
        **kwargs (Any): Keyword arguments of its :meth:`forward`.

    Returns:
        Simulation: Output, spikes and membranes.

    Raises:
        ValueError: If the inputs do not fit the model.

    Example:
        >>> from torch import nn
        >>> from spikegraph import convert
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
        >>> x = torch.rand(5, 4)
        >>> snn = convert(model, x)
        >>> simulation = simulate(snn, x)
        >>> simulation.num_steps
        48
        >>> torch.allclose(simulation.output, snn(x), atol=1e-5)
        True
    """
    check_spiking(model)
    result = Run(model).run(model.bind(*args, **kwargs))
    result.output = model.returned(result.output, args, kwargs)
    return result


class Run(Interpreter):
    """One simulation: sources (what emits a value to the segments behind it)
    are evaluated in order, each from the segment in front of it.
    """

    def __init__(self, model: SpikingModel) -> None:
        super().__init__(model.network)
        self.num_steps = model.config.num_steps
        self.nodes = list(self.network.nodes)
        self.static: dict[Node, Any] = {}  # Values no spike changes.
        self.spiking: dict[Node, Spikes | Arriving] = {}
        self.feeds: dict[Node, set[Node]] = {}  # Sources of a segment.
        self.result = Simulation(output=None)
        self.windows = windows_of(model.network)
        self.potentials: dict[Node, Tensor] = {}

    def run(self, inputs: Any) -> Simulation:
        self.inputs = inputs
        for node in self.nodes:
            feeds = [self.feeds[n] for n in node.all_input_nodes]
            self.feeds[node] = set().union(*feeds)
            self.evaluate(node)
        return self.result

    def input(self, node: Node) -> None:
        self.static[node] = self.inputs[node.target]

    def call(self, node: Node) -> None:
        """Evaluates what no spike changes; the steps of all else come later."""
        if not self.feeds[node]:
            self.static[node] = run_node(self.network, node, self.static)

    def analog(self, node: Node) -> None:
        """Read-outs and analog leftovers see the charged potential."""
        args = {n: self._potential(n) for n in node.all_input_nodes}
        self.static[node] = run_node(self.network, node, args)
        self.feeds[node] = set()

    read_out = size = structure = analog

    def check(self, node: Node) -> None:
        """Checks a size of what spikes arrive at, as the closed form does."""
        if not self.feeds[node]:
            return self.call(node)
        value = node.all_input_nodes[0]
        found = {**self.static, **self._silence(self.feeds[value])}
        for part in self._segment(value):
            found[part] = run_node(self.network, part, found)
        run_node(self.network, node, found)

    def output(self, node: Node) -> None:
        found = pytree.tree_map_only(Node, self._potential, node.args[0])
        self.result.output = found
        last = max((window.end for window in self.windows.values()), default=0)
        self.result.num_steps = last + self.num_steps

    def population(self, node: Node) -> None:
        module: Any = self.network.operation(node)
        read = {n: self._potential(n) for n in node.all_input_nodes}
        args, kwargs = arguments(node, read)
        potential = args[0]
        factor = args[1] if len(args) > 1 else None
        self.result.membrane[node.record.label] = potential
        assert not (node.record.encodes and self.windows[node].start)
        self._fired(node, self.fire(node, potential, module, factor, **kwargs))

    def fire(
        self,
        node: Node,
        potential: Tensor,
        neuron: PhaseNeuron,
        factor: Tensor | None,
        **kwargs: Any,
    ) -> Spikes:
        """The spikes of a population, step by step."""
        return fire_window(potential, neuron, factor, **kwargs)

    def gate(self, node: Node) -> None:
        """A gate passes spikes on as they come, and has no membrane."""
        read = {n: self._value(n) for n in node.all_input_nodes}
        args, kwargs = arguments(node, read)
        gate: Any = self.network.operation(node)
        self._fired(node, gate.stepped(*args, **kwargs))

    def move(self, node: Node) -> None:
        """Moved spikes arrive as they are; those that come in any case are others."""
        if self.feeds[node] and self.network.operation(node) is never_silent:
            self.spiking[node] = self._spikes_at(node)
            self.feeds[node] = {node}
        else:
            self.call(node)

    def product(self, node: Node) -> None:
        """Pairs arrive one after the other, as spikes do."""
        layer: Any = self.network.operation(node)
        a, b = (self._spikes_at(n) for n in node.args)
        self.spiking[node] = Arriving(layer, a, b)
        self.feeds[node] = {node}

    def _value(self, node: Node) -> Any:
        return self._spikes_at(node) if self.feeds[node] else self.static[node]

    def _fired(self, node: Node, spikes: Spikes) -> None:
        label = node.record.label
        self.spiking[node] = self.result.spikes[label] = spikes
        self.result.start_step[label] = self.windows[node].start
        self.feeds[node] = {node}

    def _spikes_at(self, node: Node) -> Spikes:
        """The spikes of a population, or those rows of it that were moved."""
        found = self.spiking.get(node)
        if isinstance(found, Spikes):
            return found
        env = {
            n: self._spikes_at(n) if self.feeds[n] else self.static[n]
            for n in node.all_input_nodes
        }
        spikes: Spikes = run_node(self.network, node, env)
        return spikes

    def _potential(self, node: Node) -> Any:
        """The value of a node after all steps of its sources' spikes."""
        if node in self.static:
            return self.static[node]
        if node in self.spiking:
            return self.spiking[node].decode()
        if node not in self.potentials:
            self.potentials[node] = self._charge_windows(node)
        return self.potentials[node]

    def _charge_windows(self, node: Node) -> Tensor:
        """Steps through the charge windows of a segment, one per source."""
        sources = sorted(self.feeds[node], key=self.nodes.index)
        segment = self._segment(node)
        silent = self._silence(sources)
        # With all sources silent a segment yields its bias, which enters once.
        bias = self._run_segment(segment, silent)
        if not bias.is_floating_point():
            return bias  # Such as a mask, which depends on shapes only.
        potential = bias
        for source in sources:
            spikes = self.spiking[source]
            membrane = torch.zeros_like(bias)
            for step in range(spikes.code.num_steps):
                current = {**silent, source: spikes.current(step)}
                arriving = self._run_segment(segment, current) - bias
                membrane = charge(membrane, arriving, spikes.code, step)
            potential = potential + membrane * float(spikes.code.levels[-1])
        return potential

    def _silence(self, sources: Iterable[Node]) -> dict[Node, Tensor]:
        """What sources deliver while none of their neurons fires."""
        return {n: torch.zeros_like(self.spiking[n].decode()) for n in sources}

    def _segment(self, target: Node) -> list[Node]:
        """The nodes from the sources to ``target``, in order."""
        needed, queue = {target}, [target]
        while queue:
            for node in queue.pop().all_input_nodes:
                known = node in self.static or node in self.spiking or node in needed
                if not known:
                    needed.add(node)
                    queue.append(node)
        return [node for node in self.nodes if node in needed]

    def _run_segment(self, segment: list[Node], currents: dict[Node, Tensor]) -> Tensor:
        env = {**self.static, **currents}
        for node in segment:
            env[node] = run_node(self.network, node, env)
        return env[segment[-1]]


def fire_window(
    potential: Tensor,
    neuron: PhaseNeuron,
    factor: Tensor | None,
    divisor: Tensor | None = None,
    start: Tensor | None = None,
    gain: Tensor | None = None,
) -> Spikes:
    """The spikes of a population, step by step, as :meth:`PhaseNeuron.forward` gives
    them at once.

    Args:
        potential (torch.Tensor): The membrane potentials.
        neuron (PhaseNeuron): The population.
        factor (torch.Tensor, optional): As of its :meth:`forward`.
        divisor (torch.Tensor, optional): The same.
        start (torch.Tensor, optional): The same.
        gain (torch.Tensor, optional): What the thresholds of each neuron are multiplied
            by, which is to say its potential divided by. (default: :obj:`None`)
    """
    code, scale = neuron.code, neuron.scale_for(potential, factor)
    potential = potential if gain is None else potential / gain
    if start is not None:
        potential, divisor = neuron.analog(potential, divisor, start), None
    spike_time = torch.full_like(potential, code.num_steps, dtype=torch.uint8)
    has_fired = torch.zeros_like(potential, dtype=torch.bool)
    tables = neuron.thresholds_for(potential)
    if divisor is not None:
        tables = neuron.moved_thresholds(potential, divisor)
    for step in range(code.num_steps):
        if tables is None:
            spikes = fire(potential, code, step, has_fired, scale)
        else:
            spikes = tables.fire(potential, step, has_fired)
        spike_time[spikes > 0] = step
        spike_time[spikes < 0] = code.num_steps + 1 + step
        has_fired |= spikes != 0
    return Spikes(spike_time, code, scale)
