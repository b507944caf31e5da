"""Which rows go where: operations that move spikes and change none."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch_geometric.nn.conv.ppf_conv import point_pair_features
from torch_geometric.utils import add_self_loops, degree, remove_self_loops

from spikegraph.coding import Spikes
from spikegraph.kernels.forms import is_sparse
from spikegraph.kernels.graph import ends_of, reversed_of, weights_of


def trim_rows(x: Any, layer: int, num_sampled_per_hop: Any, dim: int = 0) -> Any:
    """Drops what only deeper layers of a sampled neighbourhood needed, as
    PyG's :func:`~torch_geometric.utils.trim_to_layer`.
    """
    if x is None or layer <= 0:
        return x
    length = x.size(dim) - num_sampled_per_hop[-layer]
    return x[:length] if dim == 0 else x.narrow(dim, 0, length)


def gather_rows(x: Spikes | Tensor, index: Tensor) -> Spikes | Tensor:
    """The rows of ``x`` at ``index``, such as the sources of edges."""
    if type(x) is Tensor and type(index) is Tensor and index.dim() == 1:
        if index.dtype in (torch.int32, torch.int64):
            return x.index_select(0, index)  # Sooner than an index.
    return x[index]


#: Methods of tensors that take a value apart.
PARTS = ('chunk', 'split', 'unbind', 'tensor_split')
#: Those that only move values, repeat them or leave some out.
MOVING = (
    *('view', 'reshape', 'flatten', 'unflatten', 'squeeze', 'unsqueeze', 'transpose'),
    *('permute', 't', 'movedim', 'swapaxes', 'expand', 'expand_as', 'view_as', 'clone'),
    *('select', 'index_select', 'contiguous', 'detach', 'narrow', 'repeat', 'flip'),
    *('repeat_interleave', 'roll', 'reshape_as', '__getitem__'),
    *PARTS,
)
# Those of them that may put values in another order inside of a row.
_PERMUTING = ('transpose', 'permute', 't', 'movedim', 'swapaxes', 'flip', 'roll')


def check_moving(name: Any) -> None:
    """Raises ``ValueError`` if something is no name of a method that moves values."""
    if not isinstance(name, str) or name not in MOVING:
        raise ValueError(
            "Expected the name of a method that only moves values, such as 'view' (got "
            f'{name!r:.60})'
        )


def move_spikes(x: Any, name: str, *args: Any, **kwargs: Any) -> Any:
    """What a method of tensors that only moves values makes of spikes.

    Args:
        x (Spikes or torch.Tensor): The spikes :math:`(*)`.
        name (str): The method, such as ``'view'``, one of :obj:`MOVING`.
        *args: Its arguments.
        **kwargs: Its keyword arguments.

    Raises:
        ValueError: If the method may do more.
    """
    return moved(x, name, args, kwargs, operator.eq)


def moved(
    x: Any,
    name: str,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    same: Callable[[Any, Any], bool],
) -> Any:
    """The same, given what tells whether two shapes are the same."""
    check_moving(name)
    if not isinstance(x, Spikes):
        return getattr(x, name)(*args, **kwargs)

    def method(value: Tensor) -> Any:
        return getattr(value, name)(*args, **kwargs)

    times = method(x.spike_time)
    if isinstance(times, Tensor):
        is_plain = _takes_rows(name, args, kwargs)
        scale = _moved_scale(x, times, method, is_plain, same)
        return replace(x, spike_time=times, scale=scale)
    scales = [x.scale] * len(times)
    if not _has_one_scale(x):
        scales = method(x.scale.expand(x.shape))
    parts = zip(times, scales, strict=True)
    return tuple(replace(x, spike_time=t, scale=s) for t, s in parts)


def _takes_rows(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether a method that keeps the shape of rows moves nothing inside of them."""
    if name == '__getitem__':
        index = args[0] if isinstance(args[0], tuple) else args[:1]
        return all(isinstance(i, slice) and i == slice(None) for i in index[1:])
    if name in ('index_select', 'repeat_interleave'):
        place = 0 if name == 'index_select' else 1
        return bool(kwargs.get('dim', (*args, None, None)[place]) == 0)
    return name not in _PERMUTING


def _has_one_scale(x: Spikes) -> bool:
    """Whether all rows have one scale, which is not that of the only row."""
    return x.scale.numel() == 1 and x.scale.dim() < len(x.shape)


def _moved_scale(
    x: Spikes,
    times: Tensor,
    method: Callable[[Tensor], Tensor],
    takes_rows: bool,
    same: Callable[[Any, Any], bool],
) -> Tensor:
    """The scales of spikes that were moved; those of channels stay those of channels."""
    scale = x.scale
    if _has_one_scale(x):
        return scale
    if scale.dim() < len(x.shape):
        if takes_rows and same(times.shape[1:], x.shape[1:]):
            return scale
        try:
            row = method(scale.expand(1, *x.shape[1:]))
        except (RuntimeError, IndexError):
            row = scale
        is_row = same(row.shape, (1, *times.shape[1:]))
        if is_row and same(times.shape[:1], x.shape[:1]):
            return row[0]
    return method(scale.expand(x.shape))


def silence(x: Any, hidden: Tensor, alike: Tensor | None = None) -> Any:
    """Spikes, but none where a mask hides them, and the first ones where all are to be
    alike; scores are as low as can be where they are hidden.
    """
    if not isinstance(x, Spikes):
        x = x if alike is None else x.masked_fill(alike, 0.0)
        return x.masked_fill(hidden, -math.inf)
    times = x.spike_time if alike is None else x.spike_time.masked_fill(alike, 0)
    return replace(x, spike_time=times.masked_fill(hidden, x.code.num_steps))


def hides_all(mask: Tensor, dim: int) -> Tensor:
    """Where a mask hides all scores along a dimension: they are alike."""
    return mask if mask.dim() < -dim else mask.all(dim, keepdim=True)


def hidden_part(mask: Tensor, dim: int) -> Tensor:
    """Where a mask hides some scores along a dimension, and not all."""
    return mask & ~hides_all(mask, dim)


def _peak(mask: Tensor, dim: int) -> Tensor:
    if mask.dim() < -dim or mask.numel() == 0:
        return mask
    return mask.amax(dim, keepdim=True)


def relative_mask(mask: Tensor, dim: int) -> Tensor:
    """A mask that is added to scores, less its largest value along a dimension, by
    which a softmax does not change.
    """
    peak = _peak(mask, dim)
    return mask - peak.masked_fill(peak.isinf(), 0.0)


def swallows_scores(mask: Tensor, dim: int) -> Tensor:
    """Where all that is added to scores along a dimension is so large that rounding
    takes the scores off.
    """
    mask = mask if mask.is_floating_point() else mask.double()
    size = _peak(mask, dim).abs() * torch.finfo(mask.dtype).eps
    return (size > 1) & size.isfinite()


def never_silent(x: Any) -> Any:
    """Spikes, at the last step at the latest, of what others are divided by."""
    if not isinstance(x, Spikes):
        return x
    return replace(x, spike_time=x.spike_time.clamp(max=x.code.num_steps - 1))


def groups_between(ptr: Tensor) -> Tensor:
    """The group of each row, of groups that follow each other, by where they start."""
    number = torch.arange(ptr.numel() - 1, device=ptr.device)
    return number.repeat_interleave(ptr.diff())


def shaped_like(x: Any, like: Spikes | Tensor) -> Any:
    """Values, or spikes, repeated to the shape of others."""
    if not isinstance(x, Spikes):
        return x.expand(like.shape)
    return replace(x, spike_time=x.spike_time.expand(like.shape))


def edge_ends(edge_index: Any, flow: str) -> tuple[Tensor, Tensor]:
    """The source and the destination of each edge, given as indices or as a sparse
    adjacency.
    """
    return ends_of(edge_index, flow)


def edge_weights(edge_index: Any, edge_weight: Tensor | None) -> Tensor:
    """The weight of each edge: given, the values of a sparse adjacency, or ones."""
    return weights_of(edge_index, edge_weight)


def reversed_edges(edge_index: Any) -> Tensor:
    """The same edges the other way round."""
    return reversed_of(edge_index)


def edge_columns(edge_attr: Tensor) -> Tensor:
    """Edge features as a matrix: one value per edge is one column."""
    return edge_attr.view(-1, 1) if edge_attr.dim() == 1 else edge_attr


def with_self_loops(
    edge_index: Any,
    edge_attr: Tensor | None,
    num_sources: int,
    num_targets: int,
    fill_value: Any,
) -> tuple[Tensor, Tensor | None]:
    """Replaces self-loops, as PyG's attention layers do."""
    if is_sparse(edge_index):
        edge_index = torch.stack(ends_of(edge_index))
    edge_index, edge_attr = remove_self_loops(edge_index, edge_attr)
    return add_self_loops(
        edge_index,
        edge_attr,
        fill_value=fill_value,
        num_nodes=min(num_sources, num_targets),
    )


def degree_factor(
    like: Tensor, index: Tensor, scaler: str, avg_deg_lin: Tensor, avg_deg_log: Tensor
) -> Tensor:
    """What PyG's degree scalers multiply each row of ``like`` by."""
    num_rows = like.size(0)
    deg = degree(index, num_rows, like.dtype).view(-1, *[1] * (like.dim() - 1))
    if scaler == 'amplification':
        return torch.log(deg + 1) / avg_deg_log
    if scaler == 'attenuation':
        return avg_deg_log / torch.log(deg.clamp(min=1) + 1)
    if scaler == 'linear':
        return deg / avg_deg_lin
    if scaler == 'inverse_linear':
        return avg_deg_lin / deg.clamp(min=1)
    return torch.ones_like(deg)


def quantile_share(like: Tensor, index: Tensor, q: float) -> Tensor:
    """How far behind a member of each group its quantile lies, of the way to the next;
    groups are the rows of ``like``.
    """
    count = torch.bincount(index, minlength=like.size(0))
    point = torch.tensor(q, dtype=like.dtype, device=index.device) * (count - 1)
    point = point + (count.cumsum(0) - count)
    return point.frac().view(-1, *[1] * (like.dim() - 1))


def pair_features(
    pos_i: Tensor, pos_j: Tensor, normal_i: Tensor, normal_j: Tensor
) -> Tensor:
    """Distance and angles of two points, known before any spike."""
    return point_pair_features(pos_i, pos_j, normal_i, normal_j)


LEAF_FUNCTIONS = (
    trim_rows,
    gather_rows,
    move_spikes,
    shaped_like,
    silence,
    hides_all,
    hidden_part,
    relative_mask,
    swallows_scores,
    never_silent,
    groups_between,
    edge_ends,
    edge_weights,
    reversed_edges,
    edge_columns,
    with_self_loops,
    pair_features,
)
# These take spikes as they are.
SPIKE_MOVES = (move_spikes, shaped_like, silence, never_silent)
# These read shapes, not values.
SHAPE_FUNCTIONS = (degree_factor, quantile_share)
