"""Passes over the whole graph of a network that is being converted."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx, nn

from spikegraph.conversion.rules import rule_for
from spikegraph.conversion.tracing import module_of, operation_of
from spikegraph.nn import (
    DegreeFactor,
    EarliestSpike,
    PhaseNeuron,
    SpikingGCNConv,
    SpikingLayer,
)


@dataclass
class Structure:
    """A converted network before calibration.

    Args:
        network (torch.fx.GraphModule): The graph of spiking modules.
        populations (Dict[str, str]): Each population's module path and the
            activation or input it stands for.
        analog (Dict[str, str]): What stays analog: node name and description.
        groups (List[List[str]]): Populations that must share code and scale.
        num_folded (int): Normalisation layers folded into weights.
    """

    network: fx.GraphModule
    populations: dict[str, str] = field(default_factory=dict)
    analog: dict[str, str] = field(default_factory=dict)
    groups: list[list[str]] = field(default_factory=list)
    num_folded: int = 0


def remove_identities(structure: Structure, signals: set[fx.Node]) -> None:
    network, graph = structure.network, structure.network.graph
    for node in list(graph.nodes):
        rule = rule_for(operation_of(network, node)) if node in signals else None
        if rule is not None and rule.kind == 'identity':
            node.replace_all_uses_with(node.all_input_nodes[0])
            graph.erase_node(node)


def fold_norms(structure: Structure, signals: set[fx.Node]) -> None:
    network, graph = structure.network, structure.network.graph
    calls: dict[str, int] = {}
    for node in graph.nodes:
        if node.op == 'call_module':
            calls[str(node.target)] = calls.get(str(node.target), 0) + 1
    for node in list(graph.nodes):
        if node.op != 'call_module' or node not in signals:
            continue
        norm = module_of(network, node)
        before = node.all_input_nodes[0]
        if not isinstance(norm, nn.BatchNorm1d) or before.op != 'call_module':
            continue
        layer = module_of(network, before)
        alone = len(before.users) == 1 and calls[str(before.target)] == 1
        if isinstance(layer, SpikingLayer) and alone:
            assert norm.running_mean is not None and norm.running_var is not None
            gain = (norm.running_var + norm.eps).rsqrt()
            gain = gain if norm.weight is None else gain * norm.weight
            offset = -norm.running_mean * gain
            offset = offset if norm.bias is None else offset + norm.bias
            layer.fold(gain, offset)
            structure.num_folded += 1
            node.replace_all_uses_with(before)
            graph.erase_node(node)


def insert_gates(structure: Structure, signals: set[fx.Node]) -> None:
    """``stack(populations).max(dim)`` is the earliest spike, exactly."""
    network, graph = structure.network, structure.network.graph
    for node in list(graph.nodes):
        stack = stacked(node)
        if stack is None or node not in signals:
            continue
        values: list[fx.Node] = list(stack.args[0])  # type: ignore[arg-type]
        if not all(value.meta.get('population') for value in values):
            found = [v for v in values if not v.meta.get('population')][0]
            raise NotImplementedError(
                f"Cannot convert '{node.name}' (max): it compares potentials, such as "
                f"'{found.name}', where only spikes have an earliest. Apply ReLU "
                'before the maximum'
            )
        name = f'gates.{node.name}'
        network.add_submodule(name, EarliestSpike())
        with graph.inserting_after(node):
            gate = graph.call_module(name, (values,))
        gate.meta['population'] = True
        signals.add(gate)
        _replace_values(node, gate)
        _tie(structure, values)


def _replace_values(node: fx.Node, gate: fx.Node) -> None:
    """Lets the readers of a maximum read the gate."""
    if node.target in (torch.amax, 'amax'):
        node.replace_all_uses_with(gate)
        return
    for user in list(node.users):
        picks = user.target is operator.getitem and user.args[1] == 0
        if not picks and not (user.target is getattr and user.args[1] == 'values'):
            raise NotImplementedError(
                f"Cannot convert '{node.name}' (max): its indices are read, and spike "
                'times do not tell them. Read only the values'
            )
        user.replace_all_uses_with(gate)


def _tie(structure: Structure, values: Sequence[fx.Node]) -> None:
    names = []
    for value in values:
        names += [str(value.target)]
        if str(value.target).startswith('gates.'):
            names += [str(n.target) for n in value.all_input_nodes]
    neurons = {name for name in names if name.startswith('neurons.')}
    merged = [g for g in structure.groups if neurons & set(g)]
    rest = [g for g in structure.groups if not neurons & set(g)]
    group = neurons.union(*map(set, merged))
    structure.groups = [*rest, sorted(group)]


def insert_decoders(structure: Structure) -> None:
    network, graph = structure.network, structure.network.graph
    for node in list(graph.nodes):
        if not node.meta.get('population'):
            continue
        readers = [u for u in node.users if not _reads_spikes(network, u)]
        if not readers:
            continue
        with graph.inserting_after(node):
            decoded = graph.call_method('decode', (node,))
        for reader in readers:
            reader.replace_input_with(node, decoded)


def _reads_spikes(network: fx.GraphModule, user: fx.Node) -> bool:
    if user.op != 'call_module':
        return False
    module = module_of(network, user)
    return isinstance(module, (SpikingLayer, EarliestSpike))


def fold_degree(structure: Structure) -> None:
    network, graph = structure.network, structure.network.graph
    for node in list(graph.nodes):
        if not node.meta.get('population') or node.op != 'call_module':
            continue
        neuron = module_of(network, node)
        if not isinstance(neuron, PhaseNeuron) or isinstance(
            neuron.activation, nn.Module
        ):
            continue  # Only ReLU and identity scale as their argument does.
        convs = [(user, _folding_conv(network, user)) for user in node.users]
        calls = {(u.args[1:], tuple(u.kwargs.items())) for u, _ in convs}
        options = {
            None if conv is None else (conv.improved, conv.add_self_loops, conv.flow)
            for _, conv in convs
        }
        if len(convs) > 0 and len(calls) == 1 and len(options) == 1:
            if None not in options:
                _fold_source(network, node, convs)
    for node in graph.nodes:
        conv = _folding_conv(network, node)
        readers = [u for u in node.users if not str(u.target).startswith('factors.')]
        if conv is not None and readers:
            conv.fold_target = all(u.meta.get('population') for u in readers)


def _folding_conv(network: fx.GraphModule, node: fx.Node) -> SpikingGCNConv | None:
    if node.op != 'call_module':
        return None
    conv = module_of(network, node)
    folds = isinstance(conv, SpikingGCNConv) and conv.normalize and not conv.cached
    return conv if folds else None  # type: ignore[return-value]


def _fold_source(network: fx.GraphModule, node: fx.Node, convs: list[Any]) -> None:
    graph = network.graph
    user, conv = convs[0]
    before = set(itertools.takewhile(lambda n: n is not node, graph.nodes))
    if not before.issuperset(set(user.all_input_nodes) - {node}):
        return  # The graph is only known once the population has fired.
    name = f'factors.{node.name}'
    network.add_submodule(name, DegreeFactor(conv))
    potential = node.args[0]
    with graph.inserting_before(node):
        arguments = (potential, *user.args[1:])
        factor = graph.call_module(name, arguments, dict(user.kwargs))
    node.args = (potential, factor)
    for _, each in convs:
        each.fold_source = True


def stacked(node: fx.Node) -> fx.Node | None:
    """The stack that ``node`` takes the maximum of, along its new dimension."""
    if node.target not in ('max', 'amax', torch.max, torch.amax) or not node.args:
        return None
    stack = node.args[0]
    if not isinstance(stack, fx.Node) or stack.target is not torch.stack:
        return None
    dim = node.kwargs.get('dim', node.args[1] if len(node.args) > 1 else None)
    over = stack.kwargs.get('dim', stack.args[1] if len(stack.args) > 1 else 0)
    return stack if dim == over else None
