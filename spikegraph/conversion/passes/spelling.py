"""What operations on several signals are made of, in terms of products, quotients,
powers and sums: each function has the signature of the one that it stands for.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx
from torch_geometric.utils import softmax

from spikegraph.conversion.passes.contractions import CONTRACTIONS
from spikegraph.conversion.passes.distances import DISTANCES
from spikegraph.conversion.passes.known import (
    dtype_known,
    record,
    shape_known,
    sizes_from,
)
from spikegraph.network.functions import check_answer, set_items
from spikegraph.network.graph import Seen
from spikegraph.nn.products import relative_exponentials

_ABOVE = 2**-10  # So that some neuron fires on the logarithm of a sum that is one.


def layer_norm(
    x: Any,
    normalized_shape: Sequence[int],
    weight: Any = None,
    bias: Any = None,
    eps: float = 1e-5,
) -> Any:
    """``F.layer_norm``."""
    out = _standardised(x, tuple(range(-len(tuple(normalized_shape)), 0)), eps)
    out = out if weight is None else out * weight
    return out if bias is None else out + bias


def rms_norm(
    x: Any, normalized_shape: Sequence[int], weight: Any = None, eps: Any = None
) -> Any:
    """``F.rms_norm``."""
    dims = tuple(range(-len(tuple(normalized_shape)), 0))
    eps = torch.finfo(dtype_known(x)).eps if eps is None else eps
    out = x / torch.sqrt((x * x).mean(dims, keepdim=True) + eps)
    return out if weight is None else out * weight


def group_norm(
    x: Any, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5
) -> Any:
    """``F.group_norm``."""
    shape = shape_known(x)
    groups = x.unflatten(1, (num_groups, shape[1] // num_groups)).flatten(2)
    out = _standardised(groups, -1, eps)
    out = out.unflatten(2, (shape[1] // num_groups, *sizes_from(x, shape, 2))).flatten(
        1, 2
    )
    if weight is not None:
        out = out * weight.view(-1, *[1] * (len(shape) - 2))
    return out if bias is None else out + bias.view(-1, *[1] * (len(shape) - 2))


def instance_norm(
    x: Any,
    running_mean: Any = None,
    running_var: Any = None,
    weight: Any = None,
    bias: Any = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Any:
    """``F.instance_norm``, by the statistics of each input."""
    if not use_input_stats:
        raise NotImplementedError
    if len(shape_known(x)) < 3:
        raise NotImplementedError
    return group_norm(x, shape_known(x)[1], weight, bias, eps)


def local_response_norm(
    x: Any, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Any:
    """``F.local_response_norm``."""
    rows = (x * x).flatten(2).unsqueeze(1)
    rows = F.pad(rows, (0, 0, size // 2, (size - 1) // 2))
    mean = F.avg_pool2d(rows, (size, 1), stride=1).squeeze(1)
    mean = mean.unflatten(2, sizes_from(x, shape_known(x), 2))
    return x / torch.pow(mean * alpha + k, beta)


def bilinear(x: Any, input2: Any, weight: Any, bias: Any = None) -> Any:
    """``F.bilinear``."""
    num_out, num_in, width = weight.shape
    folded = x @ weight.permute(1, 0, 2).reshape(num_in, num_out * width)
    out = (folded.unflatten(-1, (num_out, width)) * input2.unsqueeze(-2)).sum(-1)
    return out if bias is None else out + bias


def gated(x: Any, dim: int = -1) -> Any:
    """``F.glu``."""
    value, gate = x.chunk(2, dim)
    return value * torch.sigmoid(gate)


def attention(
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: Any = None,
    enable_gqa: bool = False,
) -> Any:
    """``F.scaled_dot_product_attention``."""
    if enable_gqa:
        number = shape_known(query)[-3] // shape_known(key)[-3]
        key, value = (x.repeat_interleave(number, -3) for x in (key, value))
    scale = 1 / math.sqrt(shape_known(query)[-1]) if scale is None else scale
    scores = (query @ key.transpose(-2, -1)) * scale
    if is_causal:
        rows = torch.arange(query.size(-2), device=query.device)
        columns = torch.arange(key.size(-2), device=query.device)
        scores = _hide(scores, columns > rows.unsqueeze(-1), query, key)
    if attn_mask is not None:
        if dtype_known(attn_mask) == torch.bool:
            scores = _hide(scores, torch.logical_not(attn_mask), query, key)
        else:
            scores = scores + attn_mask
    return torch.softmax(scores, -1) @ value


def _hide(scores: Any, hidden: Any, query: Any, key: Any) -> Any:
    """Lets a mask hide scores, whose shape is known even if that of the mask is not."""
    none = torch.zeros((), dtype=dtype_known(query), device=query.device)
    out = scores + torch.where(hidden, -math.inf, none)
    rows, columns = shape_known(query), shape_known(key)
    shape = torch.broadcast_shapes(rows[:-2], columns[:-2])
    seen = Seen((*shape, rows[-2], columns[-2]), dtype_known(query), torch.strided)
    out.node.meta['example'] = seen
    return out


def product(x: Any, dim: Any = None, keepdim: bool = False) -> Any:
    """``torch.prod`` along a dimension of known size."""
    if not isinstance(dim, int):
        raise NotImplementedError
    out = _products(x, dim)[-1]
    return out.unsqueeze(dim) if keepdim else out


def products(x: Any, dim: int) -> Any:
    """``torch.cumprod``."""
    return torch.stack(_products(x, dim), dim)


def _products(x: Any, dim: int) -> list[Any]:
    """Those of the first values along a dimension, of one, two and more."""
    number = shape_known(x)[dim]
    record(check_answer, x.size(dim), 'size', number, 'prod')
    parts = [x.select(dim, i) for i in range(number)]
    return list(accumulate(parts, operator.mul))


def softmin(x: Any, dim: Any = None, *_: Any, **__: Any) -> Any:
    """``F.softmin``."""
    return torch.softmax(-x, dim)


def softmax_of_groups(
    src: Any, index: Any = None, ptr: Any = None, num_nodes: Any = None, dim: int = 0
) -> Any:
    """PyG's ``softmax``, along another dimension than that of the rows."""
    if dim == 0 or not (isinstance(index, fx.Proxy) or isinstance(ptr, fx.Proxy)):
        raise NotImplementedError
    rows = record(softmax, src.movedim(dim, 0), index, ptr, num_nodes)
    return rows.movedim(0, dim)


def log_sum_exp(x: Any, dim: Any, keepdim: bool = False) -> Any:
    """``torch.logsumexp``, one dimension after the other."""
    dims = sorted((dim,) if isinstance(dim, int) else dim)
    if not dims or (dims[0] < 0 <= dims[-1]):
        raise NotImplementedError
    for each in dims if dims[0] < 0 else reversed(dims):
        mean, rest = _log_sum_exp(x, each)
        x = mean + rest if keepdim else (mean + rest).squeeze(each)
    return x


def log_softmax(x: Any, dim: Any, *_: Any, **__: Any) -> Any:
    """``torch.log_softmax``."""
    mean, rest = _log_sum_exp(x, dim)
    return (x - mean) - rest


def _log_sum_exp(x: Any, dim: Any) -> tuple[Any, Any]:
    """The mean, which is exact, and what comes to it: the largest difference from it,
    and the logarithm of a sum of which the largest part is one.
    """
    mean = x.mean(dim, keepdim=True)
    difference = x - mean
    total: Any = record(relative_exponentials, difference, dim).sum(dim, keepdim=True)
    above_one = torch.log(total * (1 + _ABOVE)) - math.log1p(_ABOVE)
    return mean, torch.amax(difference, dim, keepdim=True) + above_one


def log_add_exp(x: Any, other: Any) -> Any:
    """``torch.logaddexp``."""
    return x + F.softplus(other - x)


def powers_of_two(x: Any) -> Any:
    """``torch.exp2``."""
    return torch.exp(x * math.log(2))


def exponential_less_one(x: Any) -> Any:
    """``torch.expm1``."""
    return torch.exp(x) - 1


def power(x: Any, exponent: Any) -> Any:
    """``torch.pow``, with a signal in the exponent."""
    if isinstance(x, (int, float)):
        if x <= 0:
            raise NotImplementedError
        return torch.exp(exponent * math.log(x))
    if not isinstance(exponent, fx.Proxy):
        raise NotImplementedError
    size: Any = torch.log(x)
    return torch.exp(exponent * size)


def add_product(x: Any, tensor1: Any, tensor2: Any, *, value: Any = 1) -> Any:
    """``torch.addcmul``."""
    product = tensor1 * tensor2
    return x + (product if value == 1 else product * value)


def add_quotient(x: Any, tensor1: Any, tensor2: Any, *, value: Any = 1) -> Any:
    """``torch.addcdiv``."""
    quotient = tensor1 / tensor2
    return x + (quotient if value == 1 else quotient * value)


def between(x: Any, end: Any, weight: Any) -> Any:
    """``torch.lerp``."""
    return x + weight * (end - x)


def bounds(x: Any, *, dim: Any = None, keepdim: bool = False) -> Any:
    """``torch.aminmax``."""
    if not isinstance(dim, int):
        raise NotImplementedError
    return torch.amin(x, dim, keepdim), torch.amax(x, dim, keepdim)


def cross(x: Any, other: Any, dim: Any = None) -> Any:
    """``torch.cross``."""
    shape = shape_known(x)
    places = [i for i, size in enumerate(shape) if size == 3]
    if dim is None and places != [len(shape) - 1]:
        raise NotImplementedError
    dim = -1 if dim is None else dim
    before = x.roll(-1, dim) * other.roll(1, dim)
    return before - x.roll(1, dim) * other.roll(-1, dim)


def normalised(
    edge_index: Any,
    edge_weight: Any = None,
    num_nodes: Any = None,
    improved: bool = False,
    add_self_loops: bool = True,
    flow: str = 'source_to_target',
    dtype: Any = None,
) -> Any:
    """PyG's ``gcn_norm``, of weights that are signals."""
    if add_self_loops:
        source, target = edge_index[0], edge_index[1]
        is_loop, fill = source == target, 2.0 if improved else 1.0
        others = torch.logical_not(is_loop)
        nodes = torch.arange(num_nodes, device=edge_index.device)
        edge_index = torch.cat([edge_index[:, others], torch.stack([nodes, nodes])], 1)
        loops = torch.full((num_nodes,), fill, dtype=edge_weight.dtype)
        chosen = source[is_loop], edge_weight[is_loop]
        loops = record(set_items, loops, *chosen)
        edge_weight = torch.cat([edge_weight[others], loops])
    row, column = edge_index[0], edge_index[1]
    index = column if flow == 'source_to_target' else row
    zeros = torch.zeros((num_nodes,), dtype=edge_weight.dtype)
    degree = torch.scatter_add(zeros, 0, index, edge_weight)
    ones = torch.ones_like(edge_weight)
    alone = torch.scatter_add(zeros, 0, index, ones) == 0  # No edge ends there.
    root = torch.rsqrt(degree + alone) * torch.logical_not(alone)
    return edge_index, root[row] * edge_weight * root[column]


def _standardised(x: Any, dims: Any, eps: float) -> Any:
    """Without the mean, and divided by the deviation."""
    difference = x - x.mean(dims, keepdim=True)
    square = (difference * difference).mean(dims, keepdim=True)
    return difference / torch.sqrt(square + eps)


#: By the first name of the operation, or the function that it does not tell apart.
SPELLED_OUT: dict[Any, Callable[..., Any]] = {
    **CONTRACTIONS,
    **DISTANCES,
    'layer_norm': layer_norm,
    'rms_norm': rms_norm,
    'group_norm': group_norm,
    'instance_norm': instance_norm,
    'local_response_norm': local_response_norm,
    'bilinear': bilinear,
    'glu': gated,
    'scaled_dot_product_attention': attention,
    'prod': product,
    'cumprod': products,
    'cross': cross,
    'addcmul': add_product,
    'addcdiv': add_quotient,
    'lerp': between,
    'aminmax': bounds,
    'exp2': powers_of_two,
    'expm1': exponential_less_one,
    'pow': power,
    'logaddexp': log_add_exp,
    'softmax': softmax_of_groups,
    'softmin': softmin,
    'gcn_norm': normalised,
    'logsumexp': log_sum_exp,
    'log_softmax': log_softmax,
}
