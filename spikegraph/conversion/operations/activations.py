"""Which activation an operation computes, however it was written."""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import fx, nn

from spikegraph.kernels.copying import deepcopy
from spikegraph.network.naming import called
from spikegraph.nn import ACTIVATIONS
from spikegraph.nn.activation import check_activation

Activation = Literal['relu', 'identity'] | nn.Module

# The module that takes the same arguments as a function or method.
FUNCTIONS: dict[Any, type[nn.Module]] = {
    **dict.fromkeys((F.relu, F.relu_, torch.relu, torch.relu_, 'relu'), nn.ReLU),
    F.relu6: nn.ReLU6,
    **dict.fromkeys((F.hardtanh, F.hardtanh_), nn.Hardtanh),
    **dict.fromkeys((F.leaky_relu, F.leaky_relu_), nn.LeakyReLU),
    **dict.fromkeys((F.elu, F.elu_), nn.ELU),
    **dict.fromkeys((F.celu, torch.celu, torch.celu_), nn.CELU),
    **dict.fromkeys((F.selu, torch.selu, torch.selu_), nn.SELU),
    **dict.fromkeys((torch.prelu, 'prelu'), nn.PReLU),
    F.gelu: nn.GELU,
    F.silu: nn.SiLU,
    F.mish: nn.Mish,
    F.hardswish: nn.Hardswish,
    **dict.fromkeys((torch.tanh, torch.tanh_, 'tanh'), nn.Tanh),
    **dict.fromkeys((torch.sigmoid, torch.sigmoid_, 'sigmoid'), nn.Sigmoid),
    F.hardsigmoid: nn.Hardsigmoid,
    F.softplus: nn.Softplus,
    F.logsigmoid: nn.LogSigmoid,
    F.softsign: nn.Softsign,
    F.softshrink: nn.Softshrink,
    **dict.fromkeys((torch.hardshrink, 'hardshrink'), nn.Hardshrink),
    F.tanhshrink: nn.Tanhshrink,
}
# Which bounds their arguments give.
CLAMPS: dict[Any, tuple[str, ...]] = {
    **dict.fromkeys((torch.clamp, torch.clamp_, 'clamp'), ('min', 'max')),
    **dict.fromkeys((torch.clip, torch.clip_, 'clip'), ('min', 'max')),
    **dict.fromkeys((torch.clamp_min, torch.clamp_min_, 'clamp_min'), ('min',)),
    **dict.fromkeys((torch.clamp_max, torch.clamp_max_, 'clamp_max'), ('max',)),
}


def is_activation(network: fx.GraphModule, node: fx.Node) -> bool:
    """Whether a node with a rule can be a population."""
    if node.op != 'call_module':
        return called(node) in FUNCTIONS or called(node) in CLAMPS
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
    if called(node) in CLAMPS:
        bounds = dict(zip(CLAMPS[node.target], arguments, strict=False)) | options
        return _clamp(bounds.get('min'), bounds.get('max'))
    module_type = FUNCTIONS[node.target]
    if module_type is nn.PReLU:
        return _prelu(network, *arguments, **options)
    for value in (*arguments, *options.values()):
        if isinstance(value, fx.Node):
            raise ValueError('one of its arguments is computed, and no fixed number')
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
    # What depends on parameters must not decide about the structure.
    check_activation(module, parameters=False)
    return module


def _clamp(low: Any, high: Any) -> Activation:
    for value in (low, high):
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if value is not None and not is_number:
            raise ValueError('one of its bounds is computed, and no fixed number')
    if low == 0 and high is None:
        return 'relu'
    low = -float('inf') if low is None else float(low)
    high = float('inf') if high is None else float(high)
    if not low < high:
        raise ValueError(f'its bounds {low:g} and {high:g} leave no values between')
    return nn.Hardtanh(low, high)


def _prelu(network: fx.GraphModule, weight: Any) -> nn.Module:
    if not (isinstance(weight, fx.Node) and weight.op == 'get_attr'):
        raise ValueError('its slope is computed, and no parameter of the model')
    value: Any = network
    for name in str(weight.target).split('.'):
        value = getattr(value, name)
    prelu = nn.PReLU(value.numel(), device=value.device, dtype=value.dtype)
    prelu.weight = nn.Parameter(value.detach().clone().view(-1))
    return prelu
