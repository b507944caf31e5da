"""The layers of a network, one by one, as nodes of NIR."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor, nn

from spikegraph.export.nir_nodes import import_nir, node_types
from spikegraph.export.segments import Population, Segments
from spikegraph.network.graph import Node, is_sum
from spikegraph.network.ops import is_call
from spikegraph.network.roles import Role
from spikegraph.nn import SpikingConv, SpikingLinear
from spikegraph.nn.layer import values_of
from spikegraph.nn.pool import EarliestInWindow


def is_feedforward(segments: Segments, inputs: bool) -> bool:
    """Whether rows of the input are samples, and each layer is one that NIR has.

    Args:
        segments (Segments): The network.
        inputs (bool): Whether populations that encode inputs count, too, which may have
            scales within a sample.
    """
    for node in segments.network.nodes:
        if node.role is Role.INPUT and not all(
            user.record.encodes or user.role is Role.SIZE for user in node.users
        ):
            return False
        if node.role in (Role.LAYER, Role.AFFINE, Role.GATE, Role.MOVE, Role.CONSTANT):
            if not passes_on(node) and not is_join(node):
                if layer_node(segments, node, with_bias=False) is None:
                    return False
    return all(
        _is_alike(each) or (each.encodes and not inputs)
        for each in segments.populations.values()
    )


def _is_alike(population: Population) -> bool:
    """Whether all samples have one scale, or one that their own peak decides."""
    if population.peak is not None:
        return population.peak.numel() == len(population.peak)
    return population.scale.dim() < len(population.shape)


def passes_on(node: Node) -> bool:
    """Whether a node's value is that of the one it reads."""
    return node.role is Role.DECODE or node.target is values_of


def is_join(node: Node) -> bool:
    """Whether two values meet on one membrane, as they are."""
    return is_sum(node) and len(node.args) == 2


def layer_node(segments: Segments, node: Node, with_bias: bool) -> Any:
    """A node of NIR that does what a layer does to one sample; None if there is none.

    Args:
        segments (Segments): The network.
        node (Node): The layer.
        with_bias (bool): Whether its bias is part of it.
    """
    if len(node.all_input_nodes) != 1:
        return None
    source = segments.silent.env[node.all_input_nodes[0]]
    if not isinstance(source, Tensor) or source.dim() < 2:
        return None
    operation, shape = segments.network.operation(node), tuple(source.shape[1:])
    if isinstance(operation, SpikingLinear):
        return _linear(operation, with_bias) if len(shape) == 1 else None
    if isinstance(operation, SpikingConv):
        return _convolution(operation.conv, shape, with_bias)
    if isinstance(operation, nn.AvgPool2d) and len(shape) == 3:
        return _average(operation)
    if isinstance(operation, EarliestInWindow) and len(shape) == 3:
        sent = segments.sent.get(node.all_input_nodes[0])
        is_plain = len(node.args) == 1 and sent is not None and not sent.code.signed
        return _maximum(operation.pool, shape) if is_plain else None
    if _is_flatten(node, operation, shape):
        flat = import_nir().Flatten
        return flat(input_type={'input': np.array(shape)}, start_dim=0, end_dim=-1)
    return None


def _linear(layer: SpikingLinear, with_bias: bool) -> Any:
    nir = import_nir()
    if not with_bias or layer.bias is None:
        return nir.Linear(weight=array(layer.weight))
    return nir.Affine(weight=array(layer.weight), bias=array(layer.bias))


def _convolution(conv: Any, shape: tuple[int, ...], with_bias: bool) -> Any:
    """NIR takes kernels as large in all dimensions, and one group."""
    nir = import_nir()
    sizes, is_same = {*conv.kernel_size}, conv.padding == 'same'
    is_even = any(size % 2 == 0 for size in sizes)
    if type(conv) not in (nn.Conv1d, nn.Conv2d) or len(sizes) > 1 or conv.groups > 1:
        return None
    if conv.padding_mode != 'zeros' or (is_same and is_even):
        return None
    if len(shape) != conv.weight.dim() - 1:
        return None
    bias = conv.bias if with_bias else None
    if bias is None:
        bias = conv.weight.new_zeros(conv.out_channels)
    options = {name: getattr(conv, name) for name in ('stride', 'padding', 'dilation')}
    options.update(groups=1, bias=array(bias))
    weight = array(conv.weight)
    if isinstance(conv, nn.Conv2d):
        return nir.Conv2d(shape[1:], weight, **options)
    single = {k: v[0] if isinstance(v, tuple) else v for k, v in options.items()}
    return nir.Conv1d(shape[1], weight, **single)


def _average(pool: nn.AvgPool2d) -> Any:
    size, stride, padding = map(_pair, (pool.kernel_size, pool.stride, pool.padding))
    is_padded = bool(padding.any()) and not pool.count_include_pad
    if is_padded or pool.ceil_mode or pool.divisor_override:
        return None
    return import_nir().AvgPool2d(kernel_size=size, stride=stride, padding=padding)


def _maximum(pool: Any, shape: tuple[int, ...]) -> Any:
    if type(pool) is not nn.MaxPool2d or pool.ceil_mode:
        return None
    if (_pair(pool.dilation) != 1).any():
        return None
    options = map(_pair, (pool.kernel_size, pool.stride, pool.padding))
    return node_types().EarliestSpike(*options, input_shape=np.array(shape))


def _is_flatten(node: Node, operation: Any, shape: tuple[int, ...]) -> bool:
    """Whether all but the dimension of samples become one."""
    last = len(shape)
    if isinstance(operation, nn.Flatten):
        start, end = operation.start_dim, operation.end_dim
    elif is_call(node, 'flatten') or operation == 'flatten':
        options = dict(zip(('start_dim', 'end_dim'), node.args[1:], strict=False))
        options.update(node.kwargs)
        start, end = options.get('start_dim', 0), options.get('end_dim', -1)
    else:
        return False
    return start == 1 and end in (-1, last)


def _pair(value: Any) -> np.ndarray:
    return np.array([value, value] if isinstance(value, int) else list(value))


def array(value: Tensor) -> np.ndarray:
    """A tensor as an array of at least one dimension, which files can hold."""
    found: np.ndarray = value.detach().cpu().numpy().copy()
    return np.atleast_1d(found)
