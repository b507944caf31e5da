"""Two readings of one converted graph: what the ANN computes, and one node at
a time.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

from torch import Tensor, fx, nn
from torch_geometric.nn.aggr import Aggregation

from spikegraph.network.ops import is_call
from spikegraph.nn import PhaseNeuron, SpikeGate


def is_population(network: fx.GraphModule, node: fx.Node) -> bool:
    """Whether a node's value is spikes: a population or a gate."""
    if node.op != 'call_module':
        return False
    module = network.get_submodule(str(node.target))
    return isinstance(module, (PhaseNeuron, SpikeGate))


def arguments(
    node: fx.Node, env: Mapping[fx.Node, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The positional and keyword arguments of a node, as values."""
    values: Any = fx.node.map_arg((node.args, node.kwargs), env.__getitem__)
    return values


def call_module(module: nn.Module, args: Any, kwargs: Any) -> Any:
    """Calls a module; an aggregation as PyG does, whatever a subclass takes."""
    if isinstance(module, Aggregation):
        return Aggregation.__call__(module, *args, **kwargs)
    return module(*args, **kwargs)


def run_node(network: fx.GraphModule, node: fx.Node, env: Mapping[fx.Node, Any]) -> Any:
    """Evaluates one node, given the values of its inputs."""
    args, kwargs = arguments(node, env)
    if node.op == 'call_module':
        return call_module(network.get_submodule(str(node.target)), args, kwargs)
    if node.op == 'call_function':
        return node.target(*args, **kwargs)  # type: ignore[operator]
    if node.op == 'call_method':
        return getattr(args[0], str(node.target))(*args[1:], **kwargs)
    if node.op == 'get_attr':
        value: Any = network
        for name in str(node.target).split('.'):
            value = getattr(value, name)
        return value
    assert node.op == 'output', node.op
    return args[0]


def run_analog(network: fx.GraphModule, node: fx.Node, env: dict[fx.Node, Any]) -> Any:
    """Evaluates one node as the ANN does: the activation for populations, a
    maximum for gates, no coding.
    """
    if is_population(network, node):
        module = network.get_submodule(str(node.target))
        if isinstance(module, SpikeGate):
            args, kwargs = arguments(node, env)
            return module.analog(*args, **kwargs)
        assert isinstance(module, PhaseNeuron)
        return module.analog(env[node.all_input_nodes[0]])
    return run_node(network, node, env)


def population_name(node: fx.Node) -> str:
    """The name of a population, or of a gate that is a layer by its path; with
    a number from the second call of a gate on.
    """
    target = str(node.target)
    first, _, rest = target.partition('.')
    name = rest if first in ('neurons', 'gates', 'pools') else target
    before = itertools.takewhile(lambda n: n is not node, node.graph.nodes)
    calls = sum(n.op == 'call_module' and n.target == target for n in before)
    return f'{name}_{calls}' if calls else name


def is_input(node: fx.Node) -> bool:
    """Whether a population encodes an input of the model."""
    source = node.args[0] if node.args else None
    if not str(node.target).startswith('neurons.input_'):
        return False
    return isinstance(source, fx.Node) and not _has_spikes_behind(source)


def _has_spikes_behind(node: fx.Node) -> bool:
    """Whether a value is made of populations."""
    queue, seen = [node], {node}
    while queue:
        value = queue.pop()
        if value.op == 'call_module' and str(value.target).startswith('neurons.'):
            return True
        queue += [n for n in value.all_input_nodes if n not in seen]
        seen.update(value.all_input_nodes)
    return False


class AnalogInterpreter(fx.Interpreter):
    """Runs a converted network as the ANN it was made from, calling
    ``observe(node, value)`` on the way.
    """

    def __init__(self, network: fx.GraphModule, observe: Any = None) -> None:
        super().__init__(network)
        self.observe = observe

    def run_node(self, n: fx.Node) -> Any:
        if n.op == 'placeholder':
            return super().run_node(n)
        value = run_analog(self.module, n, self.env)  # type: ignore[arg-type]
        if self.observe is not None:
            self.observe(n, value)
        return value


def run_interpreter(interpreter: fx.Interpreter, inputs: dict[str, Any]) -> Any:
    """Runs an interpreter on inputs by name."""
    graph: Any = interpreter.module.graph
    names = [str(node.target) for node in graph.nodes if node.op == 'placeholder']
    return interpreter.run(*[inputs[name] for name in names])


def run_network_as_ann(
    network: fx.GraphModule, inputs: dict[str, Any], observe: Any = None
) -> Tensor:
    """The output of the ANN, computed on the converted graph."""
    return run_interpreter(AnalogInterpreter(network, observe), inputs)


def is_sum(node: fx.Node) -> bool:
    """Whether a node adds two others up, as they are."""
    return is_call(node, 'add') and not node.kwargs and len(node.all_input_nodes) == 2
