"""What operations on several signals are made of, in terms of products, quotients,
powers and sums: each function has the signature of the one that it stands for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx

from spikegraph.network.functions import check_answer, set_items
from spikegraph.network.graph import Seen

# What is added to lengths, where PyTorch takes the larger one.
_SMALL = 1e-7


def variance(
    x: Any,
    dim: Any = None,
    unbiased: Any = True,
    keepdim: bool = False,
    *,
    correction: Any = None,
) -> Any:
    """``torch.var``."""
    if isinstance(dim, bool):  # The first of its two signatures.
        dim, unbiased = None, dim
    dims = _dims_of(x, dim)
    difference = x - x.mean(dims, keepdim=True)
    square = difference * difference
    if correction is None:
        correction = int(unbiased)
    total = square.sum(dims, keepdim=keepdim)
    return total / (_number(x, dims) - correction)


def deviation(*args: Any, **kwargs: Any) -> Any:
    """``torch.std``."""
    return torch.sqrt(variance(*args, **kwargs))


def norm(
    x: Any, p: Any = 2, dim: Any = None, keepdim: bool = False, dtype: Any = None
) -> Any:
    """``torch.norm``, of vectors."""
    if p in ('fro', None, 2):
        return torch.sqrt((x * x).sum(_dims_of(x, dim), keepdim=keepdim))
    if p == 1:
        return torch.abs(x).sum(_dims_of(x, dim), keepdim=keepdim)
    raise NotImplementedError


def normalize(x: Any, p: float = 2.0, dim: int = 1, eps: float = 1e-12) -> Any:
    """``F.normalize``."""
    length = norm(x, p, dim, keepdim=True)
    return x / (length + eps if eps < _SMALL else length.clamp(min=eps))


def cosine_similarity(x: Any, y: Any, dim: int = 1, eps: float = 1e-8) -> Any:
    """``F.cosine_similarity``."""
    eps = min(eps, 1e-12) if eps < _SMALL else eps
    return (normalize(x, dim=dim, eps=eps) * normalize(y, dim=dim, eps=eps)).sum(dim)


def pairwise_distance(
    x: Any, y: Any, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False
) -> Any:
    """``F.pairwise_distance``."""
    return norm(x - y + eps, p, -1, keepdim)


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
    eps = torch.finfo(_dtype_of(x)).eps if eps is None else eps
    out = x / torch.sqrt((x * x).mean(dims, keepdim=True) + eps)
    return out if weight is None else out * weight


def group_norm(
    x: Any, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5
) -> Any:
    """``F.group_norm``."""
    shape = _shape_of(x)
    groups = x.unflatten(1, (num_groups, shape[1] // num_groups)).flatten(2)
    out = _standardised(groups, -1, eps)
    out = out.unflatten(2, (shape[1] // num_groups, *_sizes(x, shape, 2))).flatten(1, 2)
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
    if len(_shape_of(x)) < 3:
        raise NotImplementedError
    return group_norm(x, _shape_of(x)[1], weight, bias, eps)


def local_response_norm(
    x: Any, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Any:
    """``F.local_response_norm``."""
    rows = (x * x).flatten(2).unsqueeze(1)
    rows = F.pad(rows, (0, 0, size // 2, (size - 1) // 2))
    mean = F.avg_pool2d(rows, (size, 1), stride=1).squeeze(1)
    mean = mean.unflatten(2, _sizes(x, _shape_of(x), 2))
    return x / torch.pow(mean * alpha + k, beta)


def bilinear(x: Any, y: Any, weight: Any, bias: Any = None) -> Any:
    """``F.bilinear``."""
    num_out, num_in, width = weight.shape
    folded = x @ weight.permute(1, 0, 2).reshape(num_in, num_out * width)
    out = (folded.unflatten(-1, (num_out, width)) * y.unsqueeze(-2)).sum(-1)
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
        raise NotImplementedError
    scale = 1 / math.sqrt(_shape_of(query)[-1]) if scale is None else scale
    scores = (query @ key.transpose(-2, -1)) * scale
    if is_causal:
        rows = torch.arange(query.size(-2), device=query.device)
        columns = torch.arange(key.size(-2), device=query.device)
        scores = _hide(scores, columns > rows.unsqueeze(-1), query, key)
    if attn_mask is not None:
        if _dtype_of(attn_mask) == torch.bool:
            scores = _hide(scores, torch.logical_not(attn_mask), query, key)
        else:
            scores = scores + attn_mask
    return torch.softmax(scores, -1) @ value


def _hide(scores: Any, hidden: Any, query: Any, key: Any) -> Any:
    """Lets a mask hide scores, whose shape is known even if that of the mask is not."""
    none = torch.zeros((), dtype=_dtype_of(query), device=query.device)
    out = scores + torch.where(hidden, -math.inf, none)
    rows, columns = _shape_of(query), _shape_of(key)
    shape = torch.broadcast_shapes(rows[:-2], columns[:-2])
    seen = Seen((*shape, rows[-2], columns[-2]), _dtype_of(query), torch.strided)
    out.node.meta['example'] = seen
    return out


def product(x: Any, dim: Any = None, keepdim: bool = False) -> Any:
    """``torch.prod`` along a dimension of known size."""
    if not isinstance(dim, int):
        raise NotImplementedError
    number = _shape_of(x)[dim]
    _record(check_answer, x.size(dim), 'size', number, 'prod')
    parts = [x.select(dim, i) for i in range(number)]
    out = parts[0]
    for part in parts[1:]:
        out = out * part
    return out.unsqueeze(dim) if keepdim else out


def softmin(x: Any, dim: Any = None, *_: Any, **__: Any) -> Any:
    """``F.softmin``."""
    return torch.softmax(-x, dim)


def log_sum_exp(x: Any, dim: Any, keepdim: bool = False) -> Any:
    """``torch.logsumexp``."""
    return torch.log(torch.exp(x).sum(dim, keepdim=keepdim))


def log_softmax(x: Any, dim: Any = None, *_: Any, **__: Any) -> Any:
    """``torch.log_softmax``."""
    return x - log_sum_exp(x, dim, keepdim=True)


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
        loops = _record(set_items, loops, *chosen)
        edge_weight = torch.cat([edge_weight[others], loops])
    row, column = edge_index[0], edge_index[1]
    index = column if flow == 'source_to_target' else row
    zeros = torch.zeros((num_nodes,), dtype=edge_weight.dtype)
    degree = torch.scatter_add(zeros, 0, index, edge_weight)
    root = torch.rsqrt(degree)
    return edge_index, root[row] * edge_weight * root[column]


def _record(function: Any, *args: Any) -> Any:
    """Records a function as a whole."""
    tracer = next(a.tracer for a in args if isinstance(a, fx.Proxy))
    return tracer.create_proxy('call_function', function, args, {})


def _standardised(x: Any, dims: Any, eps: float) -> Any:
    """Without the mean, and divided by the deviation."""
    difference = x - x.mean(dims, keepdim=True)
    square = (difference * difference).mean(dims, keepdim=True)
    return difference / torch.sqrt(square + eps)


def _shape_of(x: Any) -> tuple[int, ...]:
    seen = x.node.meta.get('example')
    if seen is None or not hasattr(seen, 'shape'):
        raise NotImplementedError
    return tuple(seen.shape)


def _sizes(x: Any, shape: Sequence[int], start: int) -> tuple[Any, ...]:
    """The sizes from one dimension on."""
    return tuple(x.size(d) for d in range(start, len(shape)))


def _dtype_of(x: Any) -> Any:
    return getattr(x.node.meta.get('example'), 'dtype', torch.float32)


def _dims_of(x: Any, dim: Any) -> Any:
    if dim is None:
        return tuple(range(len(_shape_of(x))))
    return tuple(dim) if isinstance(dim, (list, tuple)) else (dim,)


def _number(x: Any, dims: Sequence[int]) -> Any:
    return math.prod(x.size(d) for d in dims)


#: By the first name of the operation.
SPELLED_OUT: dict[str, Callable[..., Any]] = {
    'var': variance,
    'std': deviation,
    'norm': norm,
    'normalize': normalize,
    'cosine_similarity': cosine_similarity,
    'pairwise_distance': pairwise_distance,
    'layer_norm': layer_norm,
    'rms_norm': rms_norm,
    'group_norm': group_norm,
    'instance_norm': instance_norm,
    'local_response_norm': local_response_norm,
    'bilinear': bilinear,
    'glu': gated,
    'scaled_dot_product_attention': attention,
    'prod': product,
    'softmin': softmin,
    'gcn_norm': normalised,
    'logsumexp': log_sum_exp,
    'log_softmax': log_softmax,
}
