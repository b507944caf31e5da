"""Passes over the whole graph of a network that is being converted."""

from __future__ import annotations

import itertools
import operator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from spikegraph.calls.call import CallSpec
from spikegraph.conversion.operations.kinds import ReadOut
from spikegraph.conversion.operations.rules import rule_for
from spikegraph.network.functions import check_answer
from spikegraph.network.interpretation import is_input, is_sum
from spikegraph.network.naming import (
    module_of,
    operation_of,
)
from spikegraph.network.ops import is_call, op_of
from spikegraph.nn import (
    DegreeFactor,
    GraphFilter,
    PhaseNeuron,
    SpikeGate,
    SpikingConv,
    SpikingGCNConv,
    SpikingLayer,
    SpikingLinear,
)
from spikegraph.nn.conv.twin import dense
from spikegraph.nn.layer import values_of
from spikegraph.nn.routing import gather_rows, trim_rows

_SHAPED_AS = {'expand_as': 'expand', 'view_as': 'reshape', 'reshape_as': 'reshape'}
_ROW_MOVES = (((0,), (-2,)), ((-2,), (0,)))  # Of nodes, in products of matrices.


@dataclass
class Structure:
    """A converted network before calibration.

    Args:
        network (torch.fx.GraphModule): The graph of spiking modules.
        spec (CallSpec): How it is called.
        populations (Dict[str, str]): Each population's module path and the
            activation or input it stands for.
        analog (Dict[str, str]): What stays analog: node name and description.
        groups (List[List[str]]): Populations that must share code and scale.
        currents (List[str]): Inputs that enter as analog currents.
        num_folded (int): Normalisation layers folded into weights.
        preprocessed (List[str]): What is computed of inputs in front of their
            populations.
    """

    network: fx.GraphModule
    spec: CallSpec
    populations: dict[str, str] = field(default_factory=dict)
    analog: dict[str, str] = field(default_factory=dict)
    groups: list[list[str]] = field(default_factory=list)
    currents: list[str] = field(default_factory=list)
    num_folded: int = 0
    preprocessed: list[str] = field(default_factory=list)

    @property
    def has_images(self) -> bool:
        """Whether it has convolutions over images, or volumes."""
        layers = (m for m in self.network.modules() if isinstance(m, SpikingConv))
        return any(layer.channel_dim < -2 for layer in layers)


def ask_for_sizes(network: fx.GraphModule) -> None:
    """Lets what is shaped like another value read that one's size only, not its
    values: indices that are expanded as features are, above all, stay indices.
    """
    for node in list(network.graph.nodes):
        op = op_of(node)
        name = '' if op is None else op.name
        if name not in _SHAPED_AS or len(node.args) != 2 or node.kwargs:
            continue
        x, like = node.args
        if not isinstance(like, fx.Node):
            continue
        with network.graph.inserting_before(node):
            size = network.graph.call_method('size', (like,))
        node.op, node.target, node.args = 'call_method', _SHAPED_AS[name], (x, size)


def remove_identities(structure: Structure, signals: set[fx.Node]) -> None:
    network, graph = structure.network, structure.network.graph
    for node in list(graph.nodes):
        if node.op == 'call_method' and node in signals:  # May not be contiguous.
            node.target = 'reshape' if node.target == 'view' else node.target
        rule = rule_for(operation_of(network, node)) if node in signals else None
        if rule is not None and rule.is_removed:
            node.replace_all_uses_with(node.all_input_nodes[0])
            graph.erase_node(node)


def fold_norms(structure: Structure, signals: set[fx.Node]) -> None:
    """Scales and shifts the weights in front of a batch norm, through sums."""
    network, graph = structure.network, structure.network.graph
    sums = summed_layers(network)
    for node in list(graph.nodes):
        if node.op != 'call_module' or node not in signals:
            continue
        norm = module_of(network, node)
        if not isinstance(norm, _BatchNorm) or norm.running_mean is None:
            continue  # Without statistics it stays analog.
        before = node.all_input_nodes[0]
        if before not in sums or len(before.users) != 1:
            continue
        calls = [n for n in sums[before] if n.op == 'call_module']
        layers: list[Any] = [module_of(network, n) for n in calls]
        if any(layer.num_channels != norm.num_features for layer in layers):
            continue  # It normalises another dimension, or one is broadcast.
        assert norm.running_var is not None
        gain = (norm.running_var + norm.eps).rsqrt()
        gain = gain if norm.weight is None else gain * norm.weight
        offset = -norm.running_mean * gain
        offset = offset if norm.bias is None else offset + norm.bias
        for i, layer in enumerate(layers):
            layer.fold(gain, offset if i == 0 else None)
        structure.num_folded += 1
        node.replace_all_uses_with(before)
        graph.erase_node(node)


def count_calls(graph: fx.Graph) -> dict[str, int]:
    """How often each module is called, by its path."""
    calls: dict[str, int] = {}
    for node in graph.nodes:
        if node.op == 'call_module':
            calls[str(node.target)] = calls.get(str(node.target), 0) + 1
    return calls


def summed_layers(
    network: fx.GraphModule, with_others: bool = False
) -> dict[fx.Node, list[fx.Node]]:
    """The nodes that are layers with weights, or sums of such layers only,
    with the nodes they are made of, in order and themselves included.

    Args:
        network (torch.fx.GraphModule): The network.
        with_others (bool, optional): Whether anything else may be added to the
            layers, too, such as the identity of a residual block.
            (default: :obj:`False`)
    """
    calls = count_calls(network.graph)
    found: dict[fx.Node, list[fx.Node]] = {}
    for node in network.graph.nodes:
        if node.op == 'call_module':
            layer = module_of(network, node)
            usable = isinstance(layer, SpikingLayer) and layer.weight is not None
            if usable and calls[str(node.target)] == 1:
                found[node] = [node]
        elif is_sum(node):
            before = node.all_input_nodes
            parts = [found.get(n, []) if len(n.users) == 1 else [] for n in before]
            if all(parts) or (with_others and any(parts)):
                found[node] = [*parts[0], *parts[1], node]
                for n, part in zip(before, parts, strict=True):
                    if part:
                        del found[n]
    return found


def readout_weight(network: fx.GraphModule, node: fx.Node) -> Tensor | None:
    """The weights of the linear layer that alone reads a population and leads
    to the output row by row; :obj:`None` where the graph goes on otherwise.
    """
    if len(node.users) != 1:
        return None
    user = next(iter(node.users))
    if user.op != 'call_module':
        return None
    layer = module_of(network, user)
    if not isinstance(layer, SpikingLinear):
        return None
    while len(user.users) == 1:
        user = next(iter(user.users))
        if user.op == 'output':
            return layer.weight
        rule = rule_for(operation_of(network, user))
        if not isinstance(rule, ReadOut):
            return None
    return None


def fuse_linear(structure: Structure) -> None:
    """Lets a filter without weights take those of the linear layer behind it, or of
    the one without bias before it: weights and edges commute, and weights then read
    spikes, not sums of them. Linear layers in a row become one.
    """
    network, graph = structure.network, structure.network.graph
    calls = count_calls(graph)
    for node in list(graph.nodes):
        last = _after_moves(node)
        user = next(iter(last.users)) if len(last.users) == 1 else node
        if node.op != 'call_module' or user.op != 'call_module' or user is node:
            continue
        if user.args[:1] != (last,):
            continue
        first: Any = module_of(network, node)
        second: Any = module_of(network, user)
        alone = calls[str(node.target)] == calls[str(user.target)] == 1
        if not alone or user.all_input_nodes.count(last) != 1:
            continue
        if is_plain_filter(first) and type(second) is SpikingLinear:
            first.set_parameters(second.weight, second.bias)
            user.replace_all_uses_with(last)
            graph.erase_node(user)
        elif type(first) is SpikingLinear and is_plain_filter(second):
            if first.bias is None:
                second.set_parameters(first.weight, None)
                reader = next(iter(node.users))
                reader.replace_input_with(node, node.all_input_nodes[0])
                graph.erase_node(node)
        elif type(first) is type(second) is SpikingLinear and last is node:
            merged = _merged(first, second)
            if merged is not None:
                network.add_submodule(str(user.target), merged)
                user.replace_input_with(node, node.all_input_nodes[0])
                graph.erase_node(node)
    _pass_weights_on(structure)


def _merged(first: SpikingLinear, second: SpikingLinear) -> SpikingLinear | None:
    """A layer that does what two in a row do, unless it takes more weights than they."""
    weight = second.weight @ first.weight
    if weight.numel() > first.weight.numel() + second.weight.numel():
        return None
    bias: Tensor | None = second.bias
    if first.bias is not None:
        passed = second.weight @ first.bias
        bias = passed if bias is None else bias + passed
    return dense(weight, bias)


def _after_moves(node: fx.Node) -> fx.Node:
    """The value once its rows are elsewhere, and its channels where they were."""
    while len(node.users) == 1:
        user = next(iter(node.users))
        if user.target is not torch.movedim or user.args[1:] not in _ROW_MOVES:
            break
        node = user
    return node


def _pass_weights_on(structure: Structure) -> None:
    """Gives the weights of a filter to the filter without weights in front of it, and
    so on, up to where spikes are read.
    """
    network, graph = structure.network, structure.network.graph
    calls = count_calls(graph)
    for node in reversed(list(graph.nodes)):
        before = node.args[0] if node.op == 'call_module' and node.args else None
        if not isinstance(before, fx.Node) or before.op != 'call_module':
            continue
        first: Any = module_of(network, before)
        second: Any = module_of(network, node)
        alone = calls[str(before.target)] == calls[str(node.target)] == 1
        alone &= len(before.users) == 1 and node.all_input_nodes.count(before) == 1
        if not alone or not is_plain_filter(first) or type(second) is not GraphFilter:
            continue
        if second.weight is not None and len(second.coefficients) == 1:
            first.set_parameters(second.weight, None)
            second.set_parameters(None, second.bias)


def is_plain_filter(layer: Any) -> bool:
    """Whether it has no weights and no bias, so that it may take some."""
    if not isinstance(layer, GraphFilter):
        return False
    return layer.weight is None and layer.bias is None


def insert_decoders(structure: Structure) -> None:
    """Puts a decoder in front of whatever reads values, not spikes; spikes
    that are only moved stay spikes.
    """
    network, graph = structure.network, structure.network.graph
    moved: set[fx.Node] = set()
    for node in list(graph.nodes):
        if not node.meta.get('population') and node not in moved:
            continue
        moved.update(user for user in node.users if moves_rows(user, node))
        readers = [u for u in node.users if not _reads_spikes(network, u)]
        readers = [u for u in readers if u not in moved]
        if not readers:
            continue
        if not is_input(node):  # Decoded anyway, and once is enough.
            readers += [u for u in node.users if _is_conv(network, u)]
        with graph.inserting_after(node):
            decoded = graph.call_function(values_of, (node,))
        for reader in readers:
            reader.replace_input_with(node, decoded)


def _is_conv(network: fx.GraphModule, user: fx.Node) -> bool:
    return user.op == 'call_module' and isinstance(
        module_of(network, user), SpikingConv
    )


def moves_rows(user: fx.Node, node: fx.Node) -> bool:
    """Whether an operation takes some rows of a population."""
    if user.target in (gather_rows, trim_rows):
        return user.args[0] is node
    if user.target is not operator.getitem or user.args[0] is not node:
        return False
    return isinstance(user.args[1], (slice, fx.Node)) and user.args[1] is not node


def _reads_spikes(network: fx.GraphModule, user: fx.Node) -> bool:
    if user.op != 'call_module':
        asks = user.target is check_answer and user.args[1] == 'length'
        return asks or is_call(user, 'size', 'dtype', 'device')
    module = module_of(network, user)
    return isinstance(module, (SpikingLayer, SpikeGate))


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
        options = {None if conv is None else conv.shift for _, conv in convs}
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
    folds = isinstance(conv, SpikingGCNConv) and conv.shift.normalize
    folds = folds and not conv.cached
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
