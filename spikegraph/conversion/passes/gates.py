"""Maxima become gates: the largest value is the earliest spike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import fx

from spikegraph.conversion.operations.refusals import INDICES, describe_call
from spikegraph.conversion.passes.graph import Structure, moves_rows
from spikegraph.conversion.passes.populations import add_relay
from spikegraph.kernels.copying import deepcopy
from spikegraph.network.naming import (
    module_of,
    place,
    place_beside,
)
from spikegraph.network.ops import Meaning, is_call, means, op_of
from spikegraph.nn import (
    ACTIVATIONS,
    EarliestGate,
    EarliestInWindow,
    EarliestSpike,
    PhaseNeuron,
    SpikeGate,
)
from spikegraph.nn.members import ProductMember

AddRelay = Callable[[fx.Node, fx.Node], fx.Node]


def insert_gates(structure: Structure, signals: set[fx.Node]) -> None:
    """Gives every maximum spikes to compare, and ties what it compares.

    Where a maximum compares potentials and only one activation reads it, the
    activation moves in front, as monotone functions commute with a maximum;
    else a population of either sign relays the potentials.
    """
    network, graph = structure.network, structure.network.graph
    relays: dict[fx.Node, fx.Node] = {}
    _split_windows(structure, signals)
    for node in list(graph.nodes):
        if node not in signals:
            continue
        gate: fx.Node | None = None
        if values_compared(node):
            gate = _replace_maximum(structure, node)
            signals.add(gate)
        elif node.op == 'call_module':
            if isinstance(module_of(network, node), (EarliestGate, ProductMember)):
                gate = node
        if gate is None:
            continue
        gate.meta['population'] = True
        _move_activation(structure, gate)
        for value in _compared(gate):
            if not _holds_spikes(value):
                if value not in relays:
                    relays[value] = add_relay(structure, value, gate)
                    signals.add(relays[value])
                gate.replace_input_with(value, relays[value])
        adds = isinstance(module_of(network, gate), ProductMember)
        _tie(structure, _compared(gate), adds)


def _split_windows(structure: Structure, signals: set[fx.Node]) -> None:
    """Pools each part of a concatenation by itself: windows do not reach across
    channels, and parts of different populations have different codes. Potentials
    that are joined, pooled and activated become one population in front.
    """
    network = structure.network
    queue = list(network.graph.nodes)
    while queue:
        node = queue.pop(0)
        if node not in signals or node.op != 'call_module':
            continue
        gate = module_of(network, node)
        if not isinstance(gate, EarliestInWindow):
            continue
        joined: Any = node.args[0]
        if not is_call(joined, 'cat'):
            continue
        given: dict[str, Any] = dict(zip(('tensors', 'dim'), joined.args, strict=False))
        given.update(joined.kwargs)
        if given.get('dim', 0) not in (1, -1 - gate.num_dims):
            continue
        if not isinstance(given['tensors'], (list, tuple)):
            continue  # Parts of one value.
        if not any(_holds_spikes(part) for part in given['tensors']):
            _move_activation(structure, node)
            if node.args[0] is not joined:
                continue
        parts = []
        with network.graph.inserting_before(node):
            for i, part in enumerate(given['tensors']):
                path = place_beside(network, f'{node.target}_{i}', deepcopy(gate))
                parts.append(network.graph.call_module(path, (part, *node.args[1:])))
                parts[-1].meta.update(node.meta)
            whole = network.graph.call_function(torch.cat, (parts, given['dim']))
        signals.update((*parts, whole))
        queue += parts  # Which may be joined themselves.
        node.replace_all_uses_with(whole)
        network.graph.erase_node(node)


def values_compared(node: fx.Node) -> list[Any]:
    """The values that ``node`` takes the maximum (minimum) of, place by place:
    two, or a stack of any number, along its new dimension.
    """
    is_pair = is_call(node, 'max', 'min')
    is_pair = is_pair and isinstance((*node.args, 0, 0)[1], fx.Node)
    if is_pair or is_call(node, 'maximum', 'minimum'):
        return list(node.args)
    stack = _stack_of(node)
    values: Any = [] if stack is None else stack.args[0]
    return list(values) if isinstance(values, (list, tuple)) else []


def _stack_of(node: fx.Node) -> fx.Node | None:
    stack = node.args[0] if node.args else None
    if not means(node, Meaning.MAXIMUM) or not isinstance(stack, fx.Node):
        return None
    if not is_call(stack, 'stack'):
        return None
    dim = node.kwargs.get('dim', node.args[1] if len(node.args) > 1 else None)
    over = stack.kwargs.get('dim', stack.args[1] if len(stack.args) > 1 else 0)
    return stack if dim == over else None


def _replace_maximum(structure: Structure, node: fx.Node) -> fx.Node:
    network, graph = structure.network, structure.network.graph
    stack = _stack_of(node)
    op = op_of(node)
    assert op is not None
    made = EarliestSpike(smallest=op.smallest)
    name = place(network, f'gates.{node.name}', made)
    with graph.inserting_after(node):
        gate = graph.call_module(name, (values_compared(node),))
    gate.meta['made'] = 'gate'
    if stack is None:
        node.replace_all_uses_with(gate)
    else:
        replace_values(node, gate)
    graph.erase_node(node)
    if stack is not None and not stack.users:
        graph.erase_node(stack)
    return gate


def replace_values(node: fx.Node, gate: fx.Node) -> None:
    """Lets the readers of a maximum read the gate, which may be the same node."""
    if is_call(node, 'amax', 'amin'):
        if gate is not node:
            node.replace_all_uses_with(gate)
        return
    for user in list(node.users):
        picks = is_call(user, 'getitem') and user.args[1] == 0
        if not picks and not (user.target is getattr and user.args[1] == 'values'):
            refusal = describe_call(node, INDICES, 'Read only the values')
            raise NotImplementedError(refusal)
        user.replace_all_uses_with(gate)
        node.graph.erase_node(user)


def _compared(gate: fx.Node) -> list[fx.Node]:
    first: Any = gate.args[0]
    return list(first) if isinstance(first, (list, tuple)) else [first]


def origin_of(value: fx.Node) -> fx.Node:
    """The node whose rows ``value`` holds, however they were moved."""
    while value.all_input_nodes and moves_rows(value, value.all_input_nodes[0]):
        value = value.all_input_nodes[0]
    return value


def _holds_spikes(value: fx.Node) -> bool:
    return bool(origin_of(value).meta.get('population'))


def _move_activation(structure: Structure, gate: fx.Node) -> None:
    """``relu(max(v))`` becomes ``max(relu(v))``."""
    network, graph = structure.network, structure.network.graph
    values = _compared(gate)
    if any(_holds_spikes(value) for value in values) or len(gate.users) != 1:
        return
    user = next(iter(gate.users))
    if user.op != 'call_module' or not user.meta.get('population'):
        return
    neuron = module_of(network, user)
    if not isinstance(neuron, PhaseNeuron) or not commutes_with_maximum(neuron):
        return
    target = str(user.target)
    what = structure.populations.pop(target)
    for i, value in enumerate(dict.fromkeys(values)):
        name = target
        if i > 0:
            twin = PhaseNeuron(neuron.code, activation=neuron.activation)
            name = place_beside(network, f'{target}_{i}', twin)
        structure.populations[name] = what
        with graph.inserting_after(value):
            moved = graph.call_module(name, (value,))
        moved.meta.update(population=True, made=user.meta['made'])
        gate.replace_input_with(value, moved)
    user.replace_all_uses_with(gate)
    graph.erase_node(user)


def commutes_with_maximum(neuron: PhaseNeuron) -> bool:
    """Whether a population's activation is monotone and keeps zero, the value
    of an empty group.
    """
    activation = neuron.activation
    if isinstance(activation, str):
        return True
    is_monotone = ACTIVATIONS.get(type(activation), ()) is None
    like = next(activation.parameters(), torch.zeros(1))
    zero = like.new_zeros(1, like.numel())  # One for each slope of a PReLU.
    return is_monotone and not bool(activation(zero).any())


def _tie(structure: Structure, values: list[fx.Node], adds: bool) -> None:
    """Populations whose spike times compare share one code and scale; if times are
    added, it has one base.
    """
    neurons: set[str] = set()
    queue = list(values)
    while queue:
        value = origin_of(queue.pop())
        if isinstance(module_of(structure.network, value), SpikeGate):
            queue += _compared(value)
        else:
            neurons.add(str(value.target))
    if adds:
        structure.tied.append(neurons)
    merged = [g for g in structure.groups if neurons & set(g)]
    rest = [g for g in structure.groups if not neurons & set(g)]
    structure.groups = [*rest, sorted(neurons.union(*map(set, merged)))]
