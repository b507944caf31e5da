"""What a run in time steps cost: the account of measure, of the spikes that were sent."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from spikegraph.calls.wrappers import full_precision
from spikegraph.coding import Spikes
from spikegraph.measurement.ann import AnalogCounter
from spikegraph.measurement.counter import Counter, signal_names
from spikegraph.measurement.counts import Counts, LayerCounts
from spikegraph.measurement.meetings import num_membranes
from spikegraph.network.graph import Node
from spikegraph.network.roles import Role
from spikegraph.nn import SpikingConv
from spikegraph.running.model import SpikingModel
from spikegraph.running.steps import Simulation


@dataclass
class SteppedCounts:
    """The counts of one run in time steps.

    Args:
        rows (Dict[str, LayerCounts]): What the spiking network did, by row, as
            :func:`~spikegraph.measurement.measure` counts it.
        dense (int): Synaptic operations if every neuron had sent a value once: weights
            times activations, and edges times width.
        dense_steps (int): The same if every neuron sent one in every step of its window,
            which is what a chip does that cannot skip silence. Weights of convolutions
            that meet the padding are left out, as NeuroBench does.
        state_bytes (int): Bytes of membranes, one for each neuron and source of its
            potential, and of spike times, one for each neuron and gate.
        spikes (Dict[str, Spikes]): The spikes of each population, gates left out.
        uncounted (List[str]): What could not be counted.
    """

    rows: dict[str, LayerCounts]
    dense: int
    dense_steps: int
    state_bytes: int
    spikes: dict[str, Spikes] = field(default_factory=dict)
    uncounted: list[str] = field(default_factory=list)

    @property
    def total(self) -> Counts:
        """The sum over all rows."""
        return sum((row.counts for row in self.rows.values()), Counts())


@torch.no_grad()
@full_precision()
def count_steps(
    snn: SpikingModel, inputs: dict[str, Any], simulation: Simulation
) -> SteppedCounts:
    """Counts what a run in time steps did, from the spikes that it sent.

    Args:
        snn (SpikingModel): The network.
        inputs (Dict[str, Any]): Its inputs, see :meth:`SpikingModel.bind`.
        simulation (Simulation): The run.

    Example:
        >>> from torch import nn
        >>> from spikegraph import convert, simulate
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
        >>> x = torch.rand(5, 4)
        >>> snn = convert(model, x)
        >>> counts = count_steps(snn, snn.bind(x), simulate(snn, x))
        >>> counts.dense, counts.dense_steps  # 5 rows; 16 steps.
        (280, 4480)
        >>> counts.state_bytes  # Of each row 15 membranes, and 12 spike times.
        360
    """
    counter = _StepCounter(snn, inputs, simulation.spikes)
    ann = AnalogCounter(snn, inputs, signal_names(snn))
    dense = dense_steps = 0
    for name, counts in ann.found.items():
        num = counts.ann_macs + counts.ann_aggregation_macs
        dense += num
        steps = max(1, counter.row_steps.get(name, 1))
        dense_steps += (num - counter.in_padding.get(name, 0)) * steps
    neurons = snn.network.named_nodes(Role.POPULATION)
    return SteppedCounts(
        rows=counter.rows,
        dense=dense,
        dense_steps=dense_steps,
        state_bytes=counter.state_bytes,
        spikes={name: simulation.spikes[name] for name in neurons},
        uncounted=list(dict.fromkeys([*counter.uncounted, *ann.uncounted])),
    )


class _StepCounter(Counter):
    """Counts a pass in which populations and gates send what they sent in steps."""

    def __init__(
        self, snn: SpikingModel, inputs: dict[str, Any], sent: dict[str, Spikes]
    ) -> None:
        self.sent = sent
        self.row_steps: dict[str, int] = {}  # Through which a row's synapses are fed.
        self.in_padding: dict[str, int] = {}  # The products that meet zeros only.
        self.state_bytes = 0
        super().__init__(snn, inputs)

    def call(self, node: Node) -> Any:
        return self.sent[node.record.label] if node.role.fires else super().call(node)

    def evaluate(self, node: Node) -> Any:
        value = super().evaluate(node)
        if node.role in (Role.LAYER, Role.PRODUCT, Role.AFFINE, Role.ANALOG):
            row = node.record.row
            steps = sum(self.steps[source] for source in self._fed_by(node))
            self.row_steps[row] = max(steps, self.row_steps.get(row, 0))
        return value

    def _fed_by(self, node: Node) -> frozenset[Node]:
        return frozenset().union(*(self.sources[n] for n in node.all_input_nodes))

    def layer(self, node: Node) -> Any:
        layer = self.network.operation(node)
        if isinstance(layer, SpikingConv):
            x = self.env[node.all_input_nodes[0]]
            for item in layer.operations(x):
                met = torch.as_tensor(item.fan_out).expand(x.shape).sum()
                row = node.record.row
                self.in_padding[row] = self.in_padding.get(row, 0) + item.num - int(met)
        return super().layer(node)

    def population(self, node: Node) -> Any:
        value = super().population(node)
        self.state_bytes += value.shape.numel()
        read = [
            node.args[0],
            *(node.kwargs[k] for k in ('divisor',) if k in node.kwargs),
        ]
        for potential in read:
            self.state_bytes += self._membrane_bytes(potential)
        return value

    def gate(self, node: Node) -> Any:
        value = super().gate(node)
        self.state_bytes += sum(
            part.shape.numel() for part in pytree.tree_leaves(value) if _is_spikes(part)
        )
        return value

    def output(self, node: Node) -> Any:
        for out in node.all_input_nodes:
            value = self.env[out]
            is_charged = out.role is not Role.DECODE and self.sources[out]
            if isinstance(value, Tensor) and is_charged:
                self.state_bytes += self._membrane_bytes(out)
        return super().output(node)

    def _membrane_bytes(self, potential: Node) -> int:
        value = self.env[potential]
        num = num_membranes(potential, self.env)
        return num * value.dtype.itemsize * max(1, len(self.sources[potential]))


def _is_spikes(value: Any) -> bool:
    return isinstance(value, Spikes)
