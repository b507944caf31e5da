"""What processes that convert together must have in common."""

from __future__ import annotations

import hashlib
import re
from dataclasses import fields
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

import spikegraph
from spikegraph.calls.call import fingerprint
from spikegraph.network.config import ConversionConfig
from spikegraph.network.network import Network
from spikegraph.nn import PhaseNeuron


def identity_of(model: nn.Module, config: ConversionConfig) -> dict[str, Any]:
    """A model, a configuration and versions, part by part, in few bytes."""
    found = {
        'versions': f'spikegraph {spikegraph.__version__}, torch {torch.__version__}',
        'model': f'{type(model).__name__} {fingerprint(model)}',
        'modules of the model': _digest(_without_places(repr(model))),
    }
    for field in fields(config):
        found[f"'{field.name}' of ConversionConfig"] = repr(getattr(config, field.name))
    return {**found, **_tensors(model, 'of the model')}


def identity_of_network(network: Network) -> dict[str, Any]:
    """A converted network, part by part, in few bytes."""
    nodes = '\n'.join(_without_places(repr(record)) for record in network.records)
    found = {'nodes': _digest(nodes)}
    for name, module in network.named_modules():
        if isinstance(module, PhaseNeuron):
            code = module.code
            levels = [*code.levels.tolist(), *code.thresholds.tolist(), code.signed]
            found[f"code of '{name}'"] = _digest(f'{levels} {module.node_scale}')
            found[f"scale of '{name}'"] = _digest(module.scale)
    return {**found, **_tensors(network, 'of the network')}


def _tensors(module: nn.Module, where: str) -> dict[str, str]:
    named = chain(module.named_parameters(), module.named_buffers())
    return {
        f"tensor '{name}' {where}": _digest(value)
        for name, value in named
        if not nn.parameter.is_lazy(value)
    }


def _without_places(text: str) -> str:
    """Of functions, where they are in memory says nothing."""
    return re.sub(r' at 0x[0-9a-f]+', '', text)


def _digest(value: str | Tensor) -> str:
    if isinstance(value, Tensor):
        value = value if value.layout == torch.strided else value.to_dense()
        value = value.detach().cpu().contiguous()
        data = value.reshape(-1).view(torch.uint8).numpy().tobytes()
        data += f'{value.dtype}{tuple(value.shape)}'.encode()
    else:
        data = value.encode()
    return hashlib.sha256(data).hexdigest()[:12]
