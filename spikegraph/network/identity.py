"""What a network, or any module, is: part by part, in few bytes."""

from __future__ import annotations

import hashlib
import re

import torch
from torch import Tensor, nn

from spikegraph.network.network import Network
from spikegraph.nn import PhaseNeuron


def identity_of_network(network: Network) -> dict[str, str]:
    """A converted network, part by part, in few bytes."""
    nodes = '\n'.join(without_places(repr(record)) for record in network.records)
    modules = without_places(repr(network))
    found = {'nodes': digest(nodes), 'modules of the network': digest(modules)}
    for name, module in network.named_modules():
        if isinstance(module, PhaseNeuron):
            code = module.code
            levels = [*code.levels.tolist(), *code.thresholds.tolist(), code.signed]
            found[f"code of '{name}'"] = digest(f'{levels} {module.node_scale}')
            found[f"scale of '{name}'"] = digest(module.scale)
    for name, value in network.state()['constants'].items():
        is_tensor = isinstance(value, Tensor)
        text = value if is_tensor else without_places(repr(value))
        found[f"constant '{name}'"] = digest(text)
    return {**found, **tensors_of(network, 'of the network')}


def tensors_of(module: nn.Module, where: str) -> dict[str, str]:
    """The digest of each tensor of a module.

    Args:
        module (torch.nn.Module): The module.
        where (str): Whose they are, in words.
    """
    # Buffers that are not saved, too, and what modules save beside tensors of their own.
    named = {**dict(module.named_buffers()), **module.state_dict(keep_vars=True)}
    return {
        f"tensor '{name}' {where}": digest(value)
        for name, value in named.items()
        if isinstance(value, Tensor) and not nn.parameter.is_lazy(value)
    }


def without_places(text: str) -> str:
    """Of functions, where they are in memory says nothing."""
    return re.sub(r' at 0x[0-9a-f]+', '', text)


def digest(value: str | Tensor) -> str:
    """A text that changes with a text, or with what a tensor holds."""
    if isinstance(value, Tensor):
        value = value if value.layout == torch.strided else value.to_dense()
        value = value.detach().cpu().contiguous()
        data = value.reshape(-1).view(torch.uint8).numpy().tobytes()
        data += f'{value.dtype}{tuple(value.shape)}'.encode()
    else:
        data = value.encode()
    return hashlib.sha256(data).hexdigest()[:12]
