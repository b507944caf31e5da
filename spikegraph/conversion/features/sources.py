"""What the values of a traced network are made of: inputs or parameters."""

from __future__ import annotations

from collections.abc import Sequence

from torch import fx

from spikegraph.conversion.operations.activations import is_activation
from spikegraph.conversion.operations.rules import reads_shape, rule_for
from spikegraph.network.graph import Seen, made_of
from spikegraph.network.naming import describe, is_input, module_of
from spikegraph.network.ops import BILINEAR, means
from spikegraph.nn import PhaseNeuron, SpikeGate


def values_weighted(network: fx.GraphModule, node: fx.Node) -> list[fx.Node]:
    """What a layer, or a product with parameters, multiplies by weights, such
    as integers cast to numbers or degrees.
    """
    inputs = node.all_input_nodes
    if node.op == 'call_module':
        module = module_of(network, node)
        has_weights = any(True for _ in module.parameters())
        return inputs[:1] if has_weights and rule_for(module) is not None else []
    if means(node, *BILINEAR) and any(is_weight(network, n) for n in inputs):
        return inputs
    return []


def is_weight(network: fx.GraphModule, node: fx.Node) -> bool:
    """Whether a value is made of parameters only."""
    if node.op == 'get_attr':
        path, _, name = str(node.target).rpartition('.')
        return name in network.get_submodule(path)._parameters
    inputs = node.all_input_nodes
    return bool(inputs) and all(is_weight(network, n) for n in inputs)


def inputs_behind(node: fx.Node) -> list[str]:
    """The inputs, or attributes of PyG data, that a value is made of, those of
    which it only takes the shape left out.
    """
    values = made_of(node, lambda n: n.op == 'call_module' or not reads_shape(n))
    return sorted(str(n.target) for n in values if n.op == 'placeholder')


def _fires(network: fx.GraphModule, node: fx.Node) -> bool:
    """Whether a value is made by a population or a gate, other than those of inputs."""
    return any(
        isinstance(module_of(network, value), (PhaseNeuron, SpikeGate))
        for value in made_of(node)
        if value.op == 'call_module' and not is_input(value)
    )


def way_to_declare(network: fx.GraphModule, factors: Sequence[fx.Node]) -> str:
    """Which input of a product, that no activation has made of it, may be no signal,
    and how to say so.
    """
    numbers = {str(n.target) for n in network.graph.nodes if _is_number(n)}
    behind = {n: [v for v in inputs_behind(n) if v in numbers] for n in factors}
    for factor, names in behind.items():
        others = [behind[n] for n in factors if n is not factor]
        alone = len(names) == 1 and not any(names[0] in other for other in others)
        if alone and not _fires(network, factor):
            return (
                f"; if '{names[0]}' is structure, such as weights of edges, and not to be "
                f"sent, declare it: 'static_inputs=({names[0]!r},)' of ConversionConfig"
            )
    return ''


def _is_number(node: fx.Node) -> bool:
    """Whether a value may be features; edges, and other integers, are structure."""
    seen = node.meta.get('example')
    return not isinstance(seen, Seen) or seen.dtype.is_floating_point


def activations_on_weights(
    network: fx.GraphModule, features: Sequence[str], signals: set[fx.Node]
) -> list[str]:
    """Activations that only shape the weights of edges, before any spike:
    descriptions of what is computed in analog on which input.
    """
    found = []
    for node in network.graph.nodes:
        calls = node.op.startswith('call') and is_activation(network, node)
        if calls and node not in signals:
            names = [name for name in inputs_behind(node) if name in features]
            found += [f'{describe(network, node)} of {name}' for name in names]
    return found


def values_of_indices(network: fx.GraphModule) -> list[str]:
    """Embeddings: descriptions of the real values that they make, of which input."""
    found = []
    for node in network.graph.nodes:
        if makes_current(network, node):
            names = ', '.join(inputs_behind(node))
            found.append(f'{describe(network, node)} of {names}')
    return found


def makes_current(network: fx.GraphModule, node: fx.Node) -> bool:
    """Whether a node makes currents of indices, as embeddings do."""
    if node.op != 'call_module':
        return False
    rule = rule_for(module_of(network, node))
    return rule is not None and rule.makes_current
