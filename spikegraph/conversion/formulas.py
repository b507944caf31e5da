"""Activations that are written out as formulas."""

from __future__ import annotations

import operator
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn

_PRODUCTS = (operator.mul, torch.mul, 'mul')
_QUOTIENTS = (operator.truediv, torch.div, 'div')
_SUMS = (operator.add, torch.add, 'add')
_CALLS: dict[type[nn.Module], tuple[Any, ...]] = {
    nn.Sigmoid: (torch.sigmoid, F.sigmoid, 'sigmoid'),
    nn.Tanh: (torch.tanh, F.tanh, 'tanh'),
    nn.Softplus: (F.softplus,),
    nn.ReLU6: (F.relu6,),
    nn.Hardsigmoid: (F.hardsigmoid,),
}


def recognise(network: fx.GraphModule) -> None:
    r"""Turns :math:`x \, \sigma(x)` into SiLU, :math:`x \tanh(\mathrm{softplus}(x))`
    into Mish, and :math:`x \, \mathrm{ReLU6}(x + 3) / 6` into Hardswish.
    """
    for node in network.graph.nodes:
        found = _activation(network, node)
        if found is not None:
            function, x = found
            node.op, node.target = 'call_function', function
            node.args, node.kwargs = (x,), {}
    network.graph.eliminate_dead_code()


def _activation(network: fx.GraphModule, node: fx.Node) -> tuple[Any, fx.Node] | None:
    if node.target in _QUOTIENTS and node.args[1:] == (6,):
        for x, gate in _factors(node.args[0]):
            if _is_shifted_relu6(network, gate, x):
                return F.hardswish, x
    for x, gate in _factors(node):
        if _argument(network, gate, nn.Sigmoid) is x:
            return F.silu, x
        inside = _argument(network, gate, nn.Tanh)
        if inside is not None and _argument(network, inside, nn.Softplus) is x:
            return F.mish, x
        if _argument(network, gate, nn.Hardsigmoid) is x:
            return F.hardswish, x
        is_sixth = gate.target in _QUOTIENTS and gate.args[1:] == (6,)
        if is_sixth and _is_shifted_relu6(network, gate.args[0], x):
            return F.hardswish, x
    return None


def _factors(node: Any) -> list[tuple[fx.Node, fx.Node]]:
    """The two factors of a product, either way round."""
    if not isinstance(node, fx.Node) or node.target not in _PRODUCTS or node.kwargs:
        return []
    a, b = node.args
    is_product = isinstance(a, fx.Node) and isinstance(b, fx.Node)
    return [(a, b), (b, a)] if is_product else []  # type: ignore[list-item]


def _argument(
    network: fx.GraphModule, node: Any, kind: type[nn.Module]
) -> fx.Node | None:
    """What a node applies an activation with its default options to."""
    if not isinstance(node, fx.Node) or len(node.all_input_nodes) != 1:
        return None
    options = {k: v for k, v in node.kwargs.items() if k not in ('inplace', 'input')}
    plain = len(node.args) <= 1 and not options
    called = node.target in _CALLS[kind]
    if node.op == 'call_module':
        module = network.get_submodule(str(node.target))
        default = type(module) is kind and repr(module).partition('(')[2] in (
            repr(kind()).partition('(')[2],
            'inplace=True)',
        )
        plain, called = True, default
    return node.all_input_nodes[0] if plain and called else None


def _is_shifted_relu6(network: fx.GraphModule, node: Any, x: fx.Node) -> bool:
    shifted = _argument(network, node, nn.ReLU6)
    if shifted is None or shifted.target not in _SUMS or shifted.kwargs:
        return False
    return list(shifted.args) in ([x, 3], [3, x])
