"""What is wrapped around a model, or around its weights."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize, prune
from torch.nn.utils.spectral_norm import SpectralNorm, remove_spectral_norm
from torch.nn.utils.weight_norm import WeightNorm, remove_weight_norm
from torch_geometric.nn.models.rev_gnn import InvertibleModule

from spikegraph.calls.swapping import Swaps
from spikegraph.kernels.copying import deepcopy

# Held by whoever swaps what calls a module: the tracer of PyTorch does, for all threads.
MODULE_CALLS = threading.RLock()
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


@contextmanager
def full_precision() -> Iterator[None]:
    """Lets this thread ignore :obj:`torch.autocast`, outside and inside of models, as
    spiking networks do.
    """
    with (
        torch.autocast('cpu', enabled=False),
        torch.autocast('cuda', enabled=False),
        Swaps() as swaps,
    ):
        swaps.put(torch.autocast, '__enter__', _disabled)
        yield


def _disabled(enter: Any) -> Any:
    def entered(self: Any) -> Any:
        enabled, self._enabled = self._enabled, False
        try:
            return enter(self)
        finally:
            self._enabled = enabled

    return entered


@contextmanager
def own_modules(model: nn.Module) -> Iterator[None]:
    """Lets this thread call copies in place of the modules that a model calls and does
    not hold, such as those in a list or in a closure, which are the user's own.

    Args:
        model (torch.nn.Module): A plain copy of a model.
    """
    known = {id(module): module for module in model.modules()}
    others = []  # Kept, so that each has its own id.

    def make(call: Any) -> Any:
        def called(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
            if id(module) not in known:
                others.append(module)
                known[id(module)] = own = plain_copy(module)
                known.update({id(part): part for part in own.modules()})
            return call(known[id(module)], *args, **kwargs)

        return called

    with MODULE_CALLS, Swaps() as swaps:
        swaps.put(nn.Module, '__call__', make)
        yield


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
    given = {id(module) for module in model.modules()}
    model = deepcopy(model)
    for path, module in model.named_modules():
        if id(module) in given:
            where = f"'{path}' of it" if path else "'model'"
            raise ValueError(
                f"Expected 'copy.deepcopy' to copy {where} (got the same "
                f"{type(module).__name__}); correct its '__deepcopy__', or leave that "
                'out: it would be changed'
            )
    model.eval()
    for module in list(model.modules()):
        for name, part in list(module._modules.items()):
            if unwrap(part) is not part:
                module._modules[name] = unwrap(part)
    for module in list(model.modules()):
        if isinstance(module, InvertibleModule):
            module.disable = True  # Else it frees what it was given.
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
