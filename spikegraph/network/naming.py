"""What nodes of a graph are, as their author knows them."""

from __future__ import annotations

from typing import Any

from torch import Tensor, fx, nn
from torch_geometric.nn.conv import MessagePassing

from spikegraph.network.graph import called
from spikegraph.network.network import Folder
from spikegraph.nn import SpikingTwin


def module_of(network: fx.GraphModule, node: fx.Node) -> nn.Module:
    """The module that a ``call_module`` node calls."""
    return network.get_submodule(str(node.target))


def operation_of(network: fx.GraphModule, node: fx.Node) -> Any:
    """What a node calls: a module, a function or the name of a method."""
    return module_of(network, node) if node.op == 'call_module' else called(node)


def is_input(node: fx.Node) -> bool:
    """Whether a population encodes an input of the model."""
    return node.meta.get('made') == 'input'


def place(network: fx.GraphModule, path: str, module: nn.Module) -> str:
    """Adds a module of ours to a network, in folders of ours.

    Returns:
        str: Its path: the one that is asked for, unless that is the user's.
    """
    *folders, name = path.split('.')
    holder: nn.Module = network
    for i, folder in enumerate(folders):
        while hasattr(holder, folder) and type(getattr(holder, folder)) is not Folder:
            folder += '_'
        if not hasattr(holder, folder):
            holder.add_module(folder, Folder())
        holder, folders[i] = getattr(holder, folder), folder
    name = _unused(holder, name)
    holder.add_module(name, module)
    return '.'.join([*folders, name])


def place_beside(network: fx.GraphModule, path: str, module: nn.Module) -> str:
    """Adds a module that is made of another one at a path like that one's."""
    around, _, name = path.rpartition('.')
    holder = network.get_submodule(around)
    name = _unused(holder, name)
    holder.add_module(name, module)
    return f'{around}.{name}'.removeprefix('.')


def keep_value(network: fx.GraphModule, name: str, value: Tensor) -> str:
    """Adds a parameter to a network, under a name that nothing has yet."""
    name = _unused(network, name)
    network.register_parameter(name, nn.Parameter(value.detach().clone(), False))
    return name


def _unused(holder: nn.Module, name: str) -> str:
    while hasattr(holder, name):
        name += '_'
    return name


def own_name(node: fx.Node, name: str) -> str:
    """The name of a node, or a path, without the folder of ours that it is in."""
    if node.op != 'call_module' or 'made' not in node.meta:
        return name
    folder = str(node.target).partition('.')[0]
    return name.removeprefix(f'{folder}.').removeprefix(f'{folder}_')


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
