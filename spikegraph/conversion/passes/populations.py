"""New populations."""

from __future__ import annotations

from typing import Any

from torch import fx

from spikegraph.coding import PhaseCode
from spikegraph.conversion.operations.activations import Activation
from spikegraph.conversion.passes.graph import Structure
from spikegraph.network.naming import describe, place
from spikegraph.nn import PhaseNeuron

_UNFITTED = PhaseCode(1, 2)  # Every population is calibrated before use.


def add_population(
    structure: Structure,
    name: str,
    args: tuple[Any, ...],
    what: str,
    activation: Activation,
    made: str = 'population',
) -> fx.Node:
    """Adds a population where the graph is being written to."""
    network = structure.network
    neuron = PhaseNeuron(_UNFITTED, activation=activation)
    target = place(network, f'neurons.{name}', neuron)
    node = network.graph.call_module(target, args)
    node.meta.update(population=True, made=made)
    if 'example' in args[0].meta:
        node.meta['example'] = args[0].meta['example']
    structure.populations[target] = what
    return node


def add_relay(structure: Structure, value: fx.Node, gate: fx.Node) -> fx.Node:
    """A population that passes potentials of either sign on as spikes."""
    name = f'relay_{value.name}'
    what = f'potentials compared by {describe(structure.network, gate)}'
    with structure.network.graph.inserting_after(value):
        return add_population(structure, name, (value,), what, 'identity', 'relay')
