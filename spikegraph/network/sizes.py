"""Whether tensors are as long as the modules that hold them say, and as what comes
before them.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch_geometric.nn.dense.linear import Linear

from spikegraph.network.graph import Node
from spikegraph.network.roles import Role
from spikegraph.nn import (
    GraphFilter,
    PhaseNeuron,
    SpikingConv,
    SpikingLinear,
)

# What the dimensions of weights are declared by, in their order.
_SIZES = (
    *('num_embeddings', 'embedding_dim', 'num_parameters', 'num_features'),
    *('num_channels', 'normalized_shape', 'out_features', 'in_features'),
    *('in1_features', 'in2_features', 'out_channels', 'in_channels', 'kernel_size'),
)


def check_sizes(network: Any) -> None:
    """Raises ``ValueError`` if weights are not of the sizes that their module declares,
    or channels not as many as those of what comes before.
    """
    for name, module in network.named_modules():
        is_plain = type(module).__module__.startswith('torch.nn.modules.')
        if is_plain or isinstance(module, (SpikingLinear, Linear)):
            _check_declared(name, module)
    known: dict[Any, tuple[int, int]] = {}  # Where channels are, and how many.
    for node in network.nodes:
        layer, before = network.operation(node), known.get(_source(node))
        if node.role is Role.LAYER and (found := _channels(layer)):
            dim, taken, given = found
            if before not in (None, (dim, taken)):
                _fail(node.record.label, f'{before[1]} channels', taken)
            known[node] = dim, given
        elif node.role in (Role.POPULATION, Role.DECODE) and before is not None:
            known[node] = before
            if isinstance(layer, PhaseNeuron) and layer.channel_dim == before[0]:
                if layer.scale.numel() not in (1, before[1]):
                    expected = f'{before[1]} scales, or one'
                    _fail(node.record.label, expected, layer.scale.numel())


def _check_declared(name: str, module: nn.Module) -> None:
    held = vars(module)
    found = [held[size] for size in _SIZES if size in held]
    weight, bias = (getattr(module, key, None) for key in ('weight', 'bias'))
    if not found or not isinstance(weight, Tensor):
        return
    lists = [
        list(size) if isinstance(size, (list, tuple)) else [size] for size in found
    ]
    sizes = [size for each in lists for size in each]
    rows = lists[0]
    if held.get('transposed'):
        sizes[:2] = sizes[1::-1]
    if 'groups' in held:
        sizes[1] //= held['groups']
    if list(weight.shape) != sizes:
        _fail(f'{name}.weight', f'of shape {sizes}', list(weight.shape))
    if isinstance(bias, Tensor) and list(bias.shape) != rows:
        _fail(f'{name}.bias', f'of shape {rows}', list(bias.shape))


def _source(node: Node) -> Any:
    first = node.args[0] if node.args else None
    return first if isinstance(first, Node) else None


def _channels(layer: Any) -> tuple[int, int, int] | None:
    """Where the channels of a layer are, how many it takes, and how many it gives."""
    if isinstance(layer, SpikingConv):
        return layer.channel_dim, layer.conv.in_channels, layer.conv.out_channels
    if isinstance(layer, (GraphFilter, SpikingLinear)) and layer.weight is not None:
        terms = len(layer.coefficients) if isinstance(layer, GraphFilter) else 1
        given, taken = layer.weight.shape
        return -1, taken // terms, given
    return None


def _fail(name: str, expected: str, found: Any) -> None:
    raise ValueError(f"expected '{name}' to be {expected} (got {found})")
