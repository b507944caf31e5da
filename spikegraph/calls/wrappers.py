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

from spikegraph.kernels.copying import deepcopy

_PARALLEL = (nn.DataParallel, nn.parallel.DistributedDataParallel)
_ENTER = torch.autocast.__enter__
_IGNORING: list[int] = []  # Threads that ignore it, as often as they asked to.
_LOCK = threading.Lock()


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
    thread = threading.get_ident()
    with _LOCK:
        if not _IGNORING:
            torch.autocast.__enter__ = _enter  # type: ignore[method-assign]
        _IGNORING.append(thread)
    try:
        with (
            torch.autocast('cpu', enabled=False),
            torch.autocast('cuda', enabled=False),
        ):
            yield
    finally:
        with _LOCK:
            _IGNORING.remove(thread)
            if not _IGNORING:
                torch.autocast.__enter__ = _ENTER  # type: ignore[method-assign]


def _enter(self: Any) -> Any:
    if threading.get_ident() not in _IGNORING:
        return _ENTER(self)
    enabled, self._enabled = self._enabled, False
    try:
        return _ENTER(self)
    finally:
        self._enabled = enabled


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
    model = deepcopy(model).eval()
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
