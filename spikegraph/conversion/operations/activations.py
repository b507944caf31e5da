"""Which activation an operation computes, however it was written."""

from __future__ import annotations

from typing import Any, Literal

from torch import fx, nn

from spikegraph.conversion.operations.refusals import ARGUMENT, BOUND, EMPTY, SLOPE
from spikegraph.kernels.copying import deepcopy
from spikegraph.network.ops import op_of
from spikegraph.nn import ACTIVATIONS
from spikegraph.nn.activation import check_activation

Activation = Literal['relu', 'identity'] | nn.Module


def is_activation(network: fx.GraphModule, node: fx.Node) -> bool:
    """Whether a node with a rule can be a population."""
    if node.op != 'call_module':
        op = op_of(node)
        return op is not None and (bool(op.bounds) or op.module in ACTIVATIONS)
    module = network.get_submodule(str(node.target))
    return isinstance(module, tuple(ACTIVATIONS))


def activation_of(network: fx.GraphModule, node: fx.Node) -> Activation:
    """The activation that a node computes, as a module of its own.

    Raises:
        ValueError: If thresholds can not replace it.
    """
    if node.op == 'call_module':
        module = network.get_submodule(str(node.target))
        check_hooks(str(node.target), module)
        return _checked(deepcopy(module))
    arguments = node.args[1:]
    options = {name: v for name, v in node.kwargs.items() if name != 'input'}
    op = op_of(node)
    assert op is not None
    if op.bounds:
        bounds = dict(zip(op.bounds, arguments, strict=False)) | options
        return _clamp(bounds.get('min'), bounds.get('max'))
    module_type: Any = op.module
    if module_type is nn.PReLU:
        return _prelu(network, *arguments, **options)
    for value in (*arguments, *options.values()):
        if isinstance(value, fx.Node):
            raise ValueError(ARGUMENT)
    return _checked(module_type(*arguments, **options))


def check_hooks(target: str, module: nn.Module) -> None:
    """Raises a :obj:`ValueError` if a module has forward hooks."""
    hooks = [*module._forward_hooks.values(), *module._forward_pre_hooks.values()]
    if hooks:
        name = getattr(hooks[0], '__qualname__', type(hooks[0]).__name__)
        raise ValueError(
            f"Expected '{target}' ({type(module).__name__}) to have no forward hooks, "
            f'which conversion would drop (got {name}); remove them first'
        )


def _checked(module: nn.Module) -> Activation:
    if isinstance(module, nn.ReLU):
        return 'relu'
    if isinstance(module, nn.Threshold) and module.threshold == module.value == 0:
        return 'relu'
    # What depends on parameters must not decide about the structure.
    check_activation(module, parameters=False)
    return module


def _clamp(low: Any, high: Any) -> Activation:
    for value in (low, high):
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if value is not None and not is_number:
            raise ValueError(BOUND)
    if low == 0 and high is None:
        return 'relu'
    low = -float('inf') if low is None else float(low)
    high = float('inf') if high is None else float(high)
    if not low < high:
        raise ValueError(EMPTY.format(low, high))
    return nn.Hardtanh(low, high)


def _prelu(network: fx.GraphModule, weight: Any) -> nn.Module:
    if not (isinstance(weight, fx.Node) and weight.op == 'get_attr'):
        raise ValueError(SLOPE)
    value: Any = network
    for name in str(weight.target).split('.'):
        value = getattr(value, name)
    prelu = nn.PReLU(value.numel(), device=value.device, dtype=value.dtype)
    prelu.weight = nn.Parameter(value.detach().clone().view(-1))
    return prelu
