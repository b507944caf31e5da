"""How a converted network runs: potentials are computed block by block where a
population fires on them, inputs are encoded where they are read, and nothing is
kept longer than it is needed.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.modules import module as hooks

from spikegraph.coding import Spikes
from spikegraph.network.interpretation import (
    arguments,
    is_input,
    is_sum,
    run_node,
)
from spikegraph.network.naming import called, module_of
from spikegraph.nn import GraphFilter, PhaseNeuron, SpikingGCNConv, SpikingLinear
from spikegraph.nn.encoding import Encoding
from spikegraph.nn.layer import values_of
from spikegraph.nn.potentials import Charge, Decoded, Total, fire
from spikegraph.running.keeping import GraphValues

_CHARGING = (GraphFilter, SpikingGCNConv, SpikingLinear)  # Not those derived from them.
_PLAN = '_spikegraph_plan'


def execute(network: fx.GraphModule, inputs: dict[str, Any]) -> Any:
    """The output of a converted network.

    Args:
        network (torch.fx.GraphModule): The graph of populations and layers.
        inputs (Dict[str, Any]): Its inputs by name.
    """
    graph = network.graph
    plan = getattr(graph, _PLAN, None)  # Kept there, so that it goes with the graph.
    if plan is None or plan.nodes != _contents(graph):
        plan = _Plan(network)
        setattr(graph, _PLAN, plan)
    env: dict[fx.Node, Any] = {}
    for node in graph.nodes:
        if node in plan.graphs.idle:
            continue
        if node.op == 'placeholder':
            env[node] = inputs[str(node.target)]
        elif node in plan.graphs.kept:
            env[node] = plan.graphs.run(node, env)
        else:
            env[node] = plan.run(network, node, env)
        if node.op == 'output':
            return env[node]
        for source in plan.last_reads[node]:
            env.pop(source, None)
    raise AssertionError('a graph ends with its output')


class _Plan:
    """What may stay rows, or an encoding, until it is read, and what is kept."""

    def __init__(self, network: fx.GraphModule) -> None:
        nodes, self.nodes = list(network.graph.nodes), _contents(network.graph)
        self.graphs = GraphValues(network)
        run = [node for node in nodes if node not in self.graphs.idle]
        last = {source: node for node in run for source in self.graphs.reads(node)}
        last = {**{node: node for node in run}, **last}
        self.last_reads: dict[fx.Node, list[fx.Node]] = {node: [] for node in nodes}
        for source, node in last.items():
            self.last_reads[node].append(source)
        self.in_rows: set[fx.Node] = set()
        for node in reversed(nodes):
            user = next(iter(node.users)) if len(node.users) == 1 else None
            if user is None or not _may_be_rows(network, node):
                continue
            if (user in self.in_rows and is_sum(user)) or _fires_on(
                network, user, node
            ):
                self.in_rows.add(node)
        self.encodings = {
            node
            for node in nodes
            if len(node.users) == 1 and _is_read_once(network, node)
        }

    def run(
        self, network: fx.GraphModule, node: fx.Node, env: dict[fx.Node, Any]
    ) -> Any:
        if node in self.in_rows:
            return _charge(network, node, env)
        if node in self.encodings and _is_read_once(network, node):
            neuron, value = _module(network, node), env[node.all_input_nodes[0]]
            is_flat = isinstance(value, Tensor) and value.dim() == 2
            reader = _module(network, next(iter(node.users)))
            if is_flat and not is_changed(neuron) and not is_changed(reader):
                return Encoding(neuron, value)
        elif node.op == 'call_module' and node.all_input_nodes:
            charge = env[node.all_input_nodes[0]]
            if isinstance(charge, Charge):
                neuron = _module(network, node)
                if type(neuron) is PhaseNeuron and not is_changed(neuron):
                    return fire(neuron, charge)
                return neuron(charge.potential())
        return run_node(network, node, env)


def _charge(network: fx.GraphModule, node: fx.Node, env: dict[fx.Node, Any]) -> Any:
    """The value of a node, in rows where that can be done."""
    args, kwargs = arguments(node, env)
    if node.op == 'call_module':
        layer = _module(network, node)
        x, is_known = (args[0] if args else None), type(layer) in _CHARGING
        if not is_known or is_changed(layer) or x is None or len(x.shape) != 2:
            return run_node(network, node, env)  # May have been put in its place.
        if kwargs:
            args = inspect.signature(layer.forward).bind(*args, **kwargs).args
        return layer.charge(*args)
    if called(node) is values_of:
        x = args[0]
        is_flat = isinstance(x, Spikes) and len(x.shape) == 2
        return Decoded(x) if is_flat else values_of(x)
    parts = [p for p in args if isinstance(p, Charge)]
    if len(parts) == 2 and parts[0].shape == parts[1].shape:
        return Total(parts)
    values = (p.potential() if isinstance(p, Charge) else p for p in args)
    return torch.add(*values)


def _may_be_rows(network: fx.GraphModule, node: fx.Node) -> bool:
    if node.op == 'call_module':
        return type(_module(network, node)) in _CHARGING
    return called(node) is values_of or is_sum(node)


def _fires_on(network: fx.GraphModule, user: fx.Node, node: fx.Node) -> bool:
    if user.op != 'call_module' or user.args != (node,) or user.kwargs:
        return False
    return type(_module(network, user)) is PhaseNeuron


def _is_read_once(network: fx.GraphModule, node: fx.Node) -> bool:
    """Whether it encodes an input for a single layer."""
    if node.op != 'call_module' or type(_module(network, node)) is not PhaseNeuron:
        return False
    if not is_input(node) or len(node.args) != 1:
        return False
    user = next(iter(node.users))
    if user.op != 'call_module' or user.args[:1] != (node,):
        return False
    return node not in user.args[1:] and type(_module(network, user)) in _CHARGING


def _module(network: fx.GraphModule, node: fx.Node) -> Any:
    return module_of(network, node)


def is_changed(module: nn.Module) -> bool:
    """Whether a call does more than what the class says: hooks, or a forward of its
    own.
    """
    own = module._forward_hooks or module._forward_pre_hooks
    all_modules = hooks._global_forward_hooks or hooks._global_forward_pre_hooks
    return bool(own or all_modules or 'forward' in vars(module))


def _contents(graph: fx.Graph) -> list[tuple[Any, ...]]:
    """What tells one graph from what it is changed into."""
    return [(node, node.target, node.args, node.kwargs) for node in graph.nodes]
