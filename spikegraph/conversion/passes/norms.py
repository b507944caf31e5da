"""Normalisation becomes part of the weights in front of it."""

from __future__ import annotations

from typing import Any

from torch import Tensor, fx
from torch.nn.modules.batchnorm import _BatchNorm

from spikegraph.conversion.passes.graph import (
    Structure,
    summed_layers,
)
from spikegraph.network.naming import module_of


def gain_and_offset(norm: _BatchNorm) -> tuple[Tensor, Tensor]:
    """What a batch norm with statistics multiplies each channel by, and adds to it."""
    assert norm.running_mean is not None and norm.running_var is not None
    gain = (norm.running_var + norm.eps).rsqrt()
    gain = gain if norm.weight is None else gain * norm.weight
    offset = -norm.running_mean * gain
    return gain, offset if norm.bias is None else offset + norm.bias


def fold_norms(structure: Structure, signals: set[fx.Node]) -> None:
    """Scales and shifts the weights in front of a batch norm, through sums."""
    network, graph = structure.network, structure.network.graph
    sums = summed_layers(network)
    for node in list(graph.nodes):
        if node.op != 'call_module' or node not in signals:
            continue
        norm = module_of(network, node)
        if not isinstance(norm, _BatchNorm) or norm.running_mean is None:
            continue  # Without statistics it stays analog.
        before = node.all_input_nodes[0]
        if before not in sums or len(before.users) != 1:
            continue
        calls = [n for n in sums[before] if n.op == 'call_module']
        layers: list[Any] = [module_of(network, n) for n in calls]
        if any(layer.num_channels != norm.num_features for layer in layers):
            continue  # It normalises another dimension, or one is broadcast.
        gain, offset = gain_and_offset(norm)
        for i, layer in enumerate(layers):
            layer.fold(gain, offset if i == 0 else None)
        structure.num_folded += 1
        node.replace_all_uses_with(before)
        graph.erase_node(node)
