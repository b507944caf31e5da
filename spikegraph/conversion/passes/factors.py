"""Constant factors, offsets and sums around layers become part of their weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx

from spikegraph.conversion.passes.constants import Constants, as_tensor
from spikegraph.conversion.passes.graph import (
    Structure,
    count_calls,
)
from spikegraph.network.graph import is_sum
from spikegraph.network.naming import module_of
from spikegraph.network.ops import is_call
from spikegraph.nn import GraphFilter, SpikingConv, SpikingLayer, SpikingLinear
from spikegraph.nn.shift import MemberShift

_OWN = (SpikingLinear, GraphFilter, SpikingConv)  # Not those derived from them.


def fold_constants(structure: Structure, signals: set[fx.Node]) -> None:
    """Takes what multiplies or is added to a value of a layer, and no input changes,
    into the layer's weights and bias; the same nodes' own values beside a sum over
    neighbours into that sum.
    """
    folder = _Folder(structure.network, signals)
    changed = True
    while changed:  # One may make room for the next.
        changed = False
        for node in list(folder.graph.nodes):
            if node in signals and not node._erased:
                changed |= any(fold(node) for fold in folder.folds)
    folder.graph.eliminate_dead_code()


class _Folder:
    def __init__(self, network: fx.GraphModule, signals: set[fx.Node]) -> None:
        self.network = network
        self.graph = network.graph
        self.signals = signals
        self.constants = Constants(network, signals)
        self.calls = count_calls(network.graph.nodes)
        self.folds: list[Callable[[fx.Node], bool]] = [
            *(self._fold_offset, self._fold_gain, self._fold_factor),
            self._merge_own_value,
        ]

    def _layer(self, value: Any) -> Any:
        """The layer that alone makes a value, if nothing else calls it."""
        if not isinstance(value, fx.Node) or value.op != 'call_module':
            return None
        layer = module_of(self.network, value)
        alone = self.calls.get(str(value.target)) == 1
        return layer if type(layer) in _OWN and alone else None

    def _layer_before(self, value: Any) -> Any:
        layer = self._layer(value)
        return layer if layer is not None and len(value.users) == 1 else None

    def _replace(self, node: fx.Node, by: fx.Node) -> bool:
        if 'example' in node.meta:
            by.meta.setdefault('example', node.meta['example'])
        node.replace_all_uses_with(by)
        self.graph.erase_node(node)
        return True

    def _fold_offset(self, node: fx.Node) -> bool:
        """``layer(x) + b``, also behind a sum of layers."""
        if len(node.args) != 2 or node.kwargs:
            return False
        (a, b), sign = node.args, 1.0
        if is_call(node, 'add') and b in self.signals:
            a, b = b, a
        elif is_call(node, 'sub') and a in self.signals:
            sign = -1.0
        elif not is_call(node, 'add'):
            return False
        if a not in self.signals or not self.constants.knows(b):
            return False
        taker = self._taker(a)
        layer = None if taker is None else self._layer(taker)
        if layer is None or layer.weight is None:
            return False
        offset = _per_channel(self.constants.value(b), layer, layer.num_channels)
        if offset is None:
            return False
        bias = sign * offset if layer.bias is None else layer.bias + sign * offset
        layer.set_parameters(layer.weight, bias)
        return self._replace(node, a)  # type: ignore[arg-type]

    def _taker(self, value: Any) -> fx.Node | None:
        """A layer whose output, or a sum with it, is the value."""
        if not isinstance(value, fx.Node) or len(value.users) != 1:
            return None
        if is_sum(value):
            widths = {self._width(n) for n in value.all_input_nodes}
            if len(widths) == 1 and None not in widths:
                return self._taker(value.args[0])
            return None
        return value if self._layer(value) is not None else None

    def _width(self, value: fx.Node) -> int | None:
        layer = self._layer(value) if value in self.signals else None
        if layer is not None and layer.weight is not None:
            return int(layer.num_channels)
        if is_sum(value):
            widths = {self._width(n) for n in value.all_input_nodes}
            return widths.pop() if len(widths) == 1 else None
        return None

    def _scaled(self, node: fx.Node) -> tuple[fx.Node, Any] | None:
        """A signal and the constant that it is multiplied by."""
        if node.kwargs or node.op not in ('call_function', 'call_method'):
            return None
        if is_call(node, 'neg') and len(node.args) == 1:
            return node.args[0], -1.0  # type: ignore[return-value]
        if len(node.args) != 2:
            return None
        a, b = node.args
        if is_call(node, 'mul') and b in self.signals:
            a, b = b, a
        elif is_call(node, 'div') and a in self.signals:
            b = self.constants.value(b) if self.constants.knows(b) else None
            if b is not None:
                dtype = None if isinstance(b, Tensor) else torch.float64
                b = 1 / torch.as_tensor(b, dtype=dtype)
        elif not is_call(node, 'mul'):
            return None
        if b is None or a not in self.signals or not self.constants.knows(b):
            return None
        value = self.constants.value(b)
        if isinstance(value, Tensor) and not bool(value.isfinite().all()):
            return None
        return a, value  # type: ignore[return-value]

    def _fold_gain(self, node: fx.Node) -> bool:
        """``c * layer(x)``."""
        found = self._scaled(node)
        layer = None if found is None else self._layer_before(found[0])
        if found is None or layer is None:
            return False
        source, value = found
        if layer.weight is None:
            factor = _number(value)
            if factor is None:
                return False
            layer.coefficients = _times(layer.coefficients, factor)
            if layer.bias is not None:
                layer.set_parameters(None, factor * layer.bias)
            return self._replace(node, source)
        gain = _per_channel(value, layer, layer.num_channels)
        if gain is None:
            return False
        layer.fold(gain, None)
        return self._replace(node, source)

    def _fold_factor(self, node: fx.Node) -> bool:
        """``layer(c * x)``, if nothing but layers reads the product."""
        found = self._scaled(node)
        if found is None or not node.users:
            return False
        source, value = found
        weights = []
        for user in node.users:
            layer = self._layer(user)
            if layer is None or user.all_input_nodes.count(node) != 1:
                return False
            if user.args[:1] != (node,):
                return False
            scaled = _scaled_inputs(layer, value)
            if scaled is None:
                return False
            weights.append((layer, scaled))
        for layer, scaled in weights:
            if layer.weight is None:
                layer.coefficients = scaled
            else:
                layer.set_parameters(scaled, layer.bias)
        return self._replace(node, source)

    def _merge_own_value(self, node: fx.Node) -> bool:
        """``c * x + filter(x)`` is a filter with another first coefficient."""
        if not is_call(node, 'add') or node.kwargs or len(node.args) != 2:
            return False
        for own, summed in (node.args, node.args[::-1]):
            layer = self._layer_before(summed)
            if not isinstance(layer, GraphFilter) or layer.weight is not None:
                continue
            if isinstance(layer.shift, MemberShift) or not _is_square(summed):
                continue  # Groups, or a bipartite graph, which have other rows.
            found = self._scaled(own) if isinstance(own, fx.Node) else None
            source, value = (own, 1.0) if found is None else found
            factor = _number(value)
            if factor is None or summed.args[0] is not source:  # type: ignore[union-attr]
                continue
            row = list(layer.coefficients[0])
            row[0] += factor
            layer.coefficients = [row]
            return self._replace(node, summed)  # type: ignore[arg-type]
        return False


def _is_square(node: Any) -> bool:
    """Whether a filter has as many destinations as it is given rows."""
    if len(node.args) <= 2:
        return True
    source, num = node.args[0], node.args[-1]
    if len(node.args) != 4 or not isinstance(num, fx.Node):
        return False
    same = [source, *(source.args[:1] if source.meta.get('population') else ())]
    return is_call(num, 'size') and num.args[1:] == (0,) and num.args[0] in same


def _number(value: Any) -> float | None:
    """A factor of all values alike."""
    if isinstance(value, Tensor):
        return float(value) if value.numel() == 1 else None
    return float(value) if isinstance(value, (int, float)) else None


def _times(coefficients: list[list[float]], factor: float) -> list[list[float]]:
    return [[factor * h for h in row] for row in coefficients]


def _per_channel(value: Any, layer: SpikingLayer, size: int) -> Tensor | None:
    """A constant as one number for each channel, if it is the same everywhere."""
    assert layer.weight is not None
    found = as_tensor(value, layer.weight)
    if found is None:
        return None
    if found.numel() == 1:
        return found.reshape(1).expand(size)
    channel_dim = getattr(layer, 'channel_dim', -1)
    if found.numel() != size or found.dim() < -channel_dim:
        return None
    return found.reshape(-1) if found.size(channel_dim) == size else None


def _scaled_inputs(layer: Any, value: Any) -> Any:
    """The weights, or coefficients, of a layer on multiplied inputs."""
    if layer.weight is None:
        factor = _number(value)
        return None if factor is None else _times(layer.coefficients, factor)
    if isinstance(layer, SpikingConv):
        spread = layer.is_transposed or layer.num_groups > 1
        factor = _number(value)
        if spread or factor is not None:
            return None if factor is None else factor * layer.weight
        gain = _per_channel(value, layer, layer.weight.size(1))
        if gain is None:
            return None
        return layer.weight * gain.view(-1, *[1] * (layer.weight.dim() - 2))
    num_terms = len(layer.coefficients) if isinstance(layer, GraphFilter) else 1
    gain = _per_channel(value, layer, layer.weight.size(1) // num_terms)
    return None if gain is None else layer.weight * gain.repeat(num_terms)
