"""What nodes of a graph are, as their author knows them."""

from __future__ import annotations

from typing import Any

from torch import fx, nn
from torch_geometric.nn.conv import MessagePassing

from spikegraph.nn import SpikingTwin


def module_of(network: fx.GraphModule, node: fx.Node) -> nn.Module:
    """The module that a ``call_module`` node calls."""
    return network.get_submodule(str(node.target))


def operation_of(network: fx.GraphModule, node: fx.Node) -> Any:
    """What a node calls: a module, a function or the name of a method."""
    return module_of(network, node) if node.op == 'call_module' else node.target


def describe(network: fx.GraphModule, node: fx.Node) -> str:
    """A node as the user wrote it, such as ``convs.0 (GCNConv)``."""
    inside = _layer_around(node)
    if node.op == 'call_module':
        kind = node.meta.get('ann_type') or type(module_of(network, node)).__name__
        return f'{node.target} ({kind})'
    if node.op == 'call_method':
        return f'{node.name} (Tensor.{node.target}){inside}'
    name = getattr(node.target, '__name__', str(node.target))
    return f'{node.name} ({name}){inside}'


def name_of(network: fx.GraphModule, node: fx.Node) -> str:
    """A node in messages: a module by its path, a function or a method by what it is
    called, and not by what a graph calls it."""
    what = describe(network, node)
    if node.op == 'call_module':
        path, _, kind = what.partition(' ')
        return f"'{path}' {kind}"
    name = str(getattr(node.target, '__name__', node.target))
    return f"'{name}' {what.partition(' ')[2]}"


def place_of(node: fx.Node, before: str = ' (') -> str:
    """The line of user code that a node comes from."""
    if not node.meta.get('where'):
        return ''
    return f'{before}{node.meta["where"]}' + (')' if before == ' (' else '')


def _layer_around(node: fx.Node) -> str:
    """The message passing layer, or else the module, that a function is called in."""
    around = list(node.meta.get('nn_module_stack', {}).values())
    layers = [
        (path, kind)
        for path, kind in around
        if isinstance(kind, type) and issubclass(kind, (MessagePassing, SpikingTwin))
    ]
    for path, kind in layers[:1] or around[-1:]:
        name = getattr(kind, '__name__', str(kind).rpartition('.')[2])
        return f' in {path} ({name.removeprefix("Spiking")})'
    return ''
