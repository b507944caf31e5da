"""From the graph that conversion works on to the network that everyone reads."""

from __future__ import annotations

from itertools import count
from typing import Any

from torch import fx

from spikegraph.calls.outputs import Form, form_of
from spikegraph.conversion.operations.kinds import Affine, ReadOut
from spikegraph.conversion.operations.rules import rule_for
from spikegraph.conversion.passes.graph import Structure, moves_rows
from spikegraph.network.functions import check_answer
from spikegraph.network.graph import ROLES, Record, Ref, Seen
from spikegraph.network.naming import describe, is_input, operation_of, own_name
from spikegraph.network.network import Network
from spikegraph.network.roles import Role
from spikegraph.nn import (
    Analog,
    DegreeFactor,
    PhaseNeuron,
    SpikeGate,
    SpikingLayer,
)
from spikegraph.nn.delayed_sum import DelayedSum
from spikegraph.nn.layer import values_of


def seal(structure: Structure) -> Network:
    """The network of a converted structure: every node with its role."""
    graph_module = structure.network
    nodes = list(graph_module.graph.nodes)
    calls = _calls(nodes)
    roles: dict[fx.Node, Role] = {}
    moving: set[fx.Node] = set()  # Made of spikes, or of currents.
    names = {own_name(node, str(node.target)) for node in nodes}
    reported = {path.partition('.')[2] for path in structure.populations}
    given: set[str] = set()
    records = []
    for node in nodes:
        role = roles[node] = _role_of(structure, node, roles)
        is_source = role.fires or role is Role.CURRENT or _is_current(structure, node)
        if role is Role.SIZE:
            pass  # Whatever it is the size of.
        elif is_source or moving.intersection(node.all_input_nodes):
            moving.add(node)
        elif role is Role.AFFINE:
            role = roles[node] = Role.STRUCTURE
        target = str(node.target)
        is_module = node.op == 'call_module'
        label = own_name(node, target)
        is_gate = role is Role.GATE  # Populations are reported by their names.
        if role.fires and label in given | (reported if is_gate else set()):
            free = (f'{label}_{k}' for k in count(1))
            label = next(name for name in free if name not in names | given)
        if role.fires:
            given.add(label)
        stack = list(node.meta.get('nn_module_stack', {}).values())
        seen = node.meta.get('example')
        records.append(
            Record(
                role=role,
                **calls[node],
                label=label,
                row=own_name(node, node.name),
                joins=node.meta.get('made') == 'charge',
                origin=str(stack[-1][0]) if stack else '',
                stands_for=_stands_for(structure, node),
                where=str(node.meta.get('where') or ''),
                encodes=role is Role.POPULATION and is_input(node),
                is_own=is_module and 'made' in node.meta,
                seen=seen if isinstance(seen, Seen) else None,
            )
        )
    structure.claimed = {node.name for node in nodes if _is_claimed(structure, node)}
    network = Network(records, form_of(graph_module))
    _take_over(network, graph_module)
    for parent in list(network.modules()):
        for name, part in parent._modules.items():
            if isinstance(part, fx.GraphModule):  # A formula.
                parent._modules[name] = _formula(part)
    return network


def _formula(graph_module: fx.GraphModule) -> Network:
    """What computes an activation value by value, as a network of its own."""
    calls = _calls(list(graph_module.graph.nodes))
    records = [
        Record(role=ROLES.get(node.op, Role.AFFINE), **call)
        for node, call in calls.items()
    ]
    network = Network(records, Form('value'))
    _take_over(network, graph_module)
    return network


def _calls(nodes: list[fx.Node]) -> dict[fx.Node, dict[str, Any]]:
    """What each node is called, and calls, as a record holds it."""
    places: dict[Any, Any] = {node: Ref(i) for i, node in enumerate(nodes)}
    found: dict[fx.Node, dict[str, Any]] = {}
    for node in nodes:
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), places.__getitem__)
        is_function = node.op == 'call_function'
        found[node] = {
            'name': node.name,
            'op': node.op,
            'target': node.target if is_function else str(node.target),
            'args': tuple(args),
            'kwargs': dict(kwargs),
        }
    return found


def _take_over(network: Network, graph_module: fx.GraphModule) -> None:
    """Gives a network the modules, tensors and other constants of a graph."""
    for name in ('_modules', '_parameters', '_buffers'):
        network.__dict__[name] = graph_module.__dict__[name]
    held = graph_module.__dict__
    for node in network.nodes:  # Constants that are no tensors.
        if node.role is Role.CONSTANT and node.target in held:
            network.__dict__[node.target] = held[node.target]


def _role_of(structure: Structure, node: fx.Node, roles: dict[fx.Node, Role]) -> Role:
    if node.op in ROLES:
        return ROLES[node.op]
    if node.target is values_of:
        return Role.DECODE
    if node.target is check_answer:
        return Role.CHECK
    operation = operation_of(structure.network, node)
    if node.op == 'call_module':
        kinds = {
            PhaseNeuron: Role.POPULATION,
            SpikeGate: Role.GATE,
            DelayedSum: Role.PRODUCT,
            DegreeFactor: Role.STRUCTURE,
            Analog: Role.ANALOG,
        }
        for kind, role in kinds.items():
            if isinstance(operation, kind):
                return role
    if node.name in structure.analog:
        return Role.ANALOG
    if isinstance(operation, SpikingLayer):
        return Role.LAYER
    before = node.all_input_nodes
    if before and moves_rows(node, before[0]):
        source = roles[before[0]]
        if source.fires or source is Role.MOVE:
            return Role.MOVE
    rule = rule_for(operation)
    if rule is not None and rule.makes_current:
        return Role.CURRENT
    if rule is not None and rule.reads_shape:
        return Role.SIZE
    is_behind = any(roles[n] is Role.READ_OUT for n in before)
    is_read = is_behind or isinstance(rule, ReadOut)
    return Role.READ_OUT if is_read else Role.AFFINE


def _is_current(structure: Structure, node: fx.Node) -> bool:
    return node.op == 'placeholder' and node.target in structure.currents


def _is_claimed(structure: Structure, node: fx.Node) -> bool:
    """Whether a rule of a user says that it is affine, and it is no spiking layer."""
    rule = node.meta.get('rule')
    if not isinstance(rule, Affine) or rule.convert is None:
        return False
    ours = (SpikingLayer, SpikeGate, Analog)
    is_ours = isinstance(operation_of(structure.network, node), ours)
    return not is_ours and node.name not in structure.analog


def _stands_for(structure: Structure, node: fx.Node) -> str:
    if not node.op.startswith('call'):
        return ''
    known = structure.populations.get(str(node.target))
    return describe(structure.network, node) if known is None else known
