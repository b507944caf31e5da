"""What is wrapped around a model, or around its weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize, prune
from torch.nn.utils.spectral_norm import SpectralNorm, remove_spectral_norm
from torch.nn.utils.weight_norm import WeightNorm, remove_weight_norm

from spikegraph.kernels.copying import deepcopy

_PARALLEL = (nn.DataParallel, nn.parallel.DistributedDataParallel)


def unwrap(model: Any) -> Any:
    """The model in a wrapper that spreads it over devices, or compiles it."""
    while True:
        if isinstance(model, _PARALLEL):
            model = model.module
        elif isinstance(model, torch._dynamo.OptimizedModule):
            model = model._orig_mod
        else:
            return model


def _remove_parametrizations(module: Any) -> None:
    """By hand, as PyTorch's function would change the class, which the original
    shares with its copy.
    """
    values = {name: getattr(module, name) for name in module.parametrizations}
    del module.parametrizations
    module.__class__ = type(module).__bases__[0]
    for name, value in values.items():
        setattr(module, name, nn.Parameter(value.detach().clone()))


@torch.no_grad()
def plain_copy(model: nn.Module) -> nn.Module:
    """A copy in evaluation mode, with weights that are plain parameters: what
    parametrizations, weight norm, spectral norm and pruning make of them.
    """
    for module in model.modules():
        for name, value in list(vars(module).items()):
            if isinstance(value, Tensor) and value.grad_fn is not None:
                vars(module)[name] = value.detach()  # Else there is no copy of it.
    model = deepcopy(model).eval()
    for module in list(model.modules()):
        for name, part in module._modules.items():
            module._modules[name] = unwrap(part)
    for module in list(model.modules()):
        if parametrize.is_parametrized(module):
            _remove_parametrizations(module)
        for hook in list(module._forward_pre_hooks.values()):
            if isinstance(hook, WeightNorm):
                remove_weight_norm(module, hook.name)
            elif isinstance(hook, SpectralNorm):
                remove_spectral_norm(module, hook.name)
                module._load_state_dict_pre_hooks.clear()  # They ask for its vectors.
            elif isinstance(hook, prune.BasePruningMethod):
                prune.remove(module, hook._tensor_name)
    return model
