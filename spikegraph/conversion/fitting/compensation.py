"""Closed-form correction of a layer for the coding error of its inputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from spikegraph.conversion.fitting.ridge import Rows, find_change
from spikegraph.conversion.fitting.sampling import as_rows, pick
from spikegraph.conversion.passes.graph import is_sum
from spikegraph.conversion.ranks import Ranks
from spikegraph.network.config import ConversionConfig
from spikegraph.network.graph import Node, arguments
from spikegraph.network.interpreter import run_node
from spikegraph.network.network import Network
from spikegraph.network.ops import is_call
from spikegraph.network.roles import Role
from spikegraph.nn.products import quotient

MAX_ROWS = 2**16  # Rows that a layer is corrected on, more if its features are many.
ROWS_PER_FEATURE = 16


def compensate_layers(
    node: Node,
    layers: list[Node],
    network: Network,
    analog: list[dict[Node, Any]],
    spiking: list[dict[Node, Any]],
    config: ConversionConfig,
    numerators: Mapping[Node, Node | None],
    ranks: Ranks,
) -> bool:
    """Corrects the layers whose sum a node is, as one layer of all their
    features. A layer whose output is broadcast has other rows or columns. What is
    divided later on is corrected as the quotient that it will be, if its divisor is
    known, and by weights only: where nothing is weighed, nothing may be added.
    """
    modules: list[Any] = [network.get_submodule(str(n.target)) for n in layers]
    channel_dims = {getattr(module, 'channel_dim', -1) for module in modules}
    grouped = any(module.num_groups != 1 for module in modules)
    if len(channel_dims) > 1 or (grouped and len(modules) > 1):
        return False
    channel_dim = channel_dims.pop()
    # Of a transposed convolution, only the bias.
    has_rows = config.compensate == 'ridge' and all(m.has_rows for m in modules)
    num_features = sum(module.matrix().size(1) for module in modules)
    limit = max(MAX_ROWS, ROWS_PER_FEATURE * num_features) // ranks.total + 1
    is_divided, den = node in numerators, numerators.get(node)
    if is_divided and not has_rows:
        return False

    def take() -> list[Rows] | None:
        if any(a[layer].shape != a[node].shape for a in analog for layer in layers):
            return None
        found = []
        for a, s in zip(analog, spiking, strict=True):
            target, features = as_rows(a[node], channel_dim), None
            index = pick(len(target), limit, target.device)
            ratios = [
                _divisors(den, network, env, index, len(target)) for env in (a, s)
            ]
            if any(ratio is None for ratio in ratios):
                ratios = [None, None]
            if has_rows:
                parts = []
                for layer, module in zip(layers, modules, strict=True):
                    args, kwargs = arguments(layer, s)
                    parts.append(module.feature_rows(index, *args, **kwargs))
                features = _divided(torch.cat(parts, dim=-1), ratios[1])
            goal = _divided(target[index], ratios[0])
            coded = as_rows(s[node], channel_dim)[index]
            found.append(Rows(features, goal - _divided(coded, ratios[1]), goal))
        return found

    change = find_change(
        f"correcting '{layers[0].target}'", take, ranks, not is_divided
    )
    if change is None:
        return False
    delta, shift = change
    for i, module in enumerate(modules):
        weight, bias = module.weight, module.bias
        if delta is not None:
            matrix = module.matrix()
            own, delta = delta.tensor_split([matrix.size(1)], dim=1)
            weight = matrix + own
        if i == 0 and not is_divided:
            bias = shift if bias is None else bias + shift
        module.set_parameters(weight, bias)
    return True


def numerators_of(network: Network) -> dict[Node, Node | None]:
    """What is divided later on, before anything fires on it, and the divisor of what is
    only added to other such values until then.
    """
    found: dict[Node, Node | None] = {}
    for node in network.nodes:
        den = node.kwargs.get('divisor')
        if network.operation(node) is quotient:
            den = node.args[1]
        if isinstance(den, Node):
            num: Any = node.args[0]
            found[num] = den
    for known in (True, False):  # What is added up first, then all else behind it.
        queue = list(found)
        while queue:
            node = queue.pop()
            keeps = is_sum(node) or is_call(node, 'reshape', 'view')
            for source in node.all_input_nodes if keeps or not known else ():
                if source not in found and source.role in (Role.AFFINE, Role.LAYER):
                    found[source] = found[node] if keeps and known else None
                    queue.append(source)
    return found


def _divisors(
    den: Node | None, network: Network, env: dict[Node, Any], index: Tensor, num: int
) -> Tensor | None:
    """The divisors of some of a number of rows :math:`(n, 1)`, if each has one."""
    if den is None:
        return None
    rows = as_rows(_value_of(den, network, env))
    is_one = len(rows) == num and bool((rows == rows[:, :1]).all())
    return rows[index, :1] if is_one else None


def _value_of(node: Node, network: Network, env: dict[Node, Any]) -> Any:
    """The value of a node that may come later, of values that are there."""
    if node in env:
        return env[node]
    own = {n: _value_of(n, network, env) for n in node.all_input_nodes}
    return run_node(network, node, own)


def _divided(rows: Tensor, den: Tensor | None) -> Tensor:
    if den is None:
        return rows
    return rows / den.view(-1, *[1] * (rows.dim() - 1))
