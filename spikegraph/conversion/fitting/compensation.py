"""Closed-form correction of a layer for the coding error of its inputs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from spikegraph.conversion.fitting.equations import Equations, Rows, Sums
from spikegraph.conversion.fitting.ridge import find_change
from spikegraph.conversion.fitting.rounding import round_nearest, round_weights
from spikegraph.conversion.fitting.sampling import as_rows, pick
from spikegraph.conversion.passes.graph import is_sum
from spikegraph.conversion.ranks import Ranks
from spikegraph.network.config import ConversionConfig
from spikegraph.network.graph import Node, arguments
from spikegraph.network.interpreter import run_node
from spikegraph.network.network import Network
from spikegraph.network.ops import is_call
from spikegraph.network.roles import Role
from spikegraph.nn.layer import SpikingLayer
from spikegraph.nn.products import quotient

MAX_ROWS = 2**16  # Rows that a layer is corrected on, more if its features are many.
ROWS_PER_FEATURE = 16


class Summed:
    """Layers whose sum a node is, as one layer of all their features.

    Args:
        node (Node): The node.
        layers (List[Node]): The layers.
        network (Network): The network.
        analog (List[Dict[Node, Any]]): The values of the ANN, by batch.
        spiking (List[Dict[Node, Any]]): Those of the spiking network.
        numerators (Mapping[Node, Node or None]): From :func:`numerators_of`. What is
            divided later on is looked at as the quotient that it will be, if its divisor
            is known, and has no bias: where nothing is weighed, nothing may be added.
        num_batches (int): How many batches all processes have.
    """

    def __init__(
        self,
        node: Node,
        layers: list[Node],
        network: Network,
        analog: list[dict[Node, Any]],
        spiking: list[dict[Node, Any]],
        numerators: Mapping[Node, Node | None],
        num_batches: int,
    ) -> None:
        self.node, self.layers, self.network = node, layers, network
        self.analog, self.spiking = analog, spiking
        self.modules: list[Any] = [network.get_submodule(str(n.target)) for n in layers]
        self.is_divided, self.divisor = node in numerators, numerators.get(node)
        self.channel_dim = getattr(self.modules[0], 'channel_dim', -1)
        num_features = sum(module.matrix().size(1) for module in self.modules)
        limit = max(MAX_ROWS, ROWS_PER_FEATURE * num_features)
        self.limit = limit // num_batches + 1
        self.name = layers[0].target
        self.dtype = self.modules[0].matrix().dtype
        self._equations: dict[bool, Equations | None] = {}

    @property
    def is_one_layer(self) -> bool:
        """Whether all outputs are in the same rows and columns."""
        dims = {getattr(module, 'channel_dim', -1) for module in self.modules}
        grouped = any(module.num_groups != 1 for module in self.modules)
        return len(dims) == 1 and not (grouped and len(self.modules) > 1)

    @property
    def has_rows(self) -> bool:
        """Whether it is known what weights see: of a transposed convolution, not."""
        return all(module.has_rows for module in self.modules)

    def equations(
        self, doing: str, has_features: bool, ranks: Ranks
    ) -> Equations | None:
        """The normal equations of all rows, made once: weights are no part of what they
        see.
        """
        if has_features not in self._equations:
            self._equations[has_features] = Equations.over(
                doing, lambda: self._rows(has_features), ranks, not self.is_divided
            )
        return self._equations[has_features]

    def _rows(self, has_features: bool) -> list[Rows] | None:
        """The rows of each batch; none of a layer whose output is broadcast, which has
        other rows or columns.
        """
        node, found = self.node, []
        for a in self.analog:
            if any(a[layer].shape != a[node].shape for layer in self.layers):
                return None
        for a, s in zip(self.analog, self.spiking, strict=True):
            target, features = as_rows(a[node], self.channel_dim), None
            index = pick(len(target), self.limit, target.device)
            ratios = [
                _divisors(self.divisor, self.network, env, index, len(target))
                for env in (a, s)
            ]
            if any(ratio is None for ratio in ratios):
                ratios = [None, None]
            if has_features:
                parts = []
                for layer, module in zip(self.layers, self.modules, strict=True):
                    args, kwargs = arguments(layer, s)
                    parts.append(module.feature_rows(index, *args, **kwargs))
                features = _divided(torch.cat(parts, dim=-1), ratios[1])
            goal = _divided(target[index], ratios[0])
            coded = as_rows(s[node], self.channel_dim)[index]
            found.append(Rows(features, goal - _divided(coded, ratios[1]), goal))
        return found


def compensate_layers(summed: Summed, config: ConversionConfig, ranks: Ranks) -> bool:
    """Corrects layers for the coding error of their inputs; whether that helped."""
    has_rows = config.compensate == 'ridge' and summed.has_rows
    is_divided = summed.is_divided
    if not summed.is_one_layer or (is_divided and not has_rows):
        return False
    doing = f"correcting '{summed.name}'"
    change = find_change(summed.equations(doing, has_rows, ranks), doing, ranks)
    if change is None:
        return False
    delta, shift = (None if c is None else c.to(summed.dtype) for c in change)
    for i, module in enumerate(summed.modules):
        weight, bias = module.weight, module.bias
        if delta is not None:
            matrix = module.matrix()
            own, delta = delta.tensor_split([matrix.size(1)], dim=1)
            weight = matrix + own
        if i == 0 and not is_divided:
            bias = shift if bias is None else bias + shift
        module.set_parameters(weight, bias)
    return True


def round_layers(summed: Summed, bits: int, ranks: Ranks) -> None:
    """Rounds the weights of layers, so that their sum differs least on what they see."""
    doing, equations = f"rounding '{summed.name}'", None
    if summed.is_one_layer and summed.has_rows:
        equations = summed.equations(doing, True, ranks)
    modules = summed.modules
    if equations is None:
        for module in modules:
            round_layer(module, bits)
        return
    biases = [module.bias for module in modules if module.bias is not None]
    matrices = [module.matrix() for module in modules]
    bias = sum(biases, matrices[0].new_zeros(len(matrices[0])))

    def decide(sums: Sums) -> tuple[list[Tensor], Tensor]:
        gram = (sums.kept + sums.judge).gram.to(bias.device)
        return round_weights(matrices, bias, gram, bits)

    weights, found = equations.merged(doing, ranks, decide)
    shift = None if torch.equal(found, bias) else found - bias
    for i, module in enumerate(modules):
        own = module.bias
        if i == 0 and shift is not None:
            own = shift if own is None else own + shift
        module.set_parameters(weights[i], own)


def round_layer(module: Any, bits: int) -> None:
    """Rounds the weights of a layer to the nearest integers."""
    if module.has_rows:
        module.set_parameters(round_nearest(module.matrix(), bits), module.bias)
        return
    weight = module.weight  # Transposed: one scale for all.
    rounded = round_nearest(weight.reshape(1, -1), bits).view_as(weight)
    module.set_parameters(rounded, module.bias)


class Rest:
    """The weights of all layers that are not corrected one by one, such as those that are
    called several times, and of tables that indices are looked up in: rounded to the
    nearest integers in the spiking network, and as they were in the ANN beside it.

    Args:
        network (Network): The network.
        summed (Iterable[Node]): The layers that are rounded one by one.
        bits (int): The bits of an integer.
    """

    def __init__(self, network: Network, summed: Iterable[Node], bits: int) -> None:
        known = {str(node.target) for node in summed}
        self._weights: dict[nn.Module, tuple[Tensor, Tensor]] = {}
        for name, module in network.named_modules():
            if isinstance(module, SpikingLayer):
                if module.weight is not None and name not in known:
                    given = module.weight
                    round_layer(module, bits)
                    self._weights[module] = given, module.weight
            elif isinstance(module, nn.Embedding):
                rounded = round_nearest(module.weight.detach().mT, bits).mT
                self._weights[module] = module.weight, rounded.contiguous()

    def put(self, node: Node, network: Network, is_rounded: bool) -> None:
        """Gives the modules that a node calls the weights of either network."""
        if self._weights and node.op == 'call_module':
            for module in network.operation(node).modules():
                weights = self._weights.get(module)
                if weights is None:
                    continue
                if isinstance(module, SpikingLayer):
                    module.set_parameters(weights[is_rounded], module.bias)
                else:
                    module.weight = nn.Parameter(weights[is_rounded].detach().clone())


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
