"""Arguments as the Triton kernels read them: checked, without gaps, of one data
type and on one device.
"""

from __future__ import annotations

import torch
from torch import Tensor

from spikegraph.coding.encoding import check_thresholds
from spikegraph.kernels.memory import runs_of

VALUES = (torch.float32, torch.float64)
INDICES = (torch.int32, torch.int64)


def check_dtype(name: str, value: Tensor, *dtypes: torch.dtype) -> None:
    """Raises a ValueError if a tensor is of no such data type."""
    if value.dtype not in dtypes:
        expected = ' or '.join(str(dtype).removeprefix('torch.') for dtype in dtypes)
        raise ValueError(f"Expected '{name}' to be {expected} (got {value.dtype})")


def edges(rowptr: Tensor, col: Tensor) -> tuple[Tensor, Tensor]:
    """A graph whose edges are sorted by destination."""
    for name, index in (('rowptr', rowptr), ('col', col)):
        check_dtype(name, index, *INDICES)
        if index.dim() != 1:
            raise ValueError(
                f"Expected '{name}' to have one dimension "
                f'(got shape {list(index.shape)})'
            )
    if rowptr.numel() == 0:
        raise ValueError("Expected 'rowptr' to have N + 1 entries (got 0)")
    return rowptr.contiguous(), col.contiguous()


def matrix(name: str, x: Tensor, *dtypes: torch.dtype) -> Tensor:
    """A matrix whose rows have no gaps, but may have gaps between them."""
    check_dtype(name, x, *dtypes)
    if x.dim() != 2:
        raise ValueError(
            f"Expected '{name}' to have two dimensions (got shape {list(x.shape)})"
        )
    return x.detach() if x.stride(1) == 1 or x.size(1) < 2 else x.detach().contiguous()


def vector(name: str, value: Tensor | None, size: int, like: Tensor) -> Tensor | None:
    """So many values in a row."""
    if value is None:
        return None
    if value.numel() != size:
        raise ValueError(
            f"Expected '{name}' to hold {size} values (got shape {list(value.shape)})"
        )
    return value.detach().to(like).reshape(-1).contiguous()


def levels(table: Tensor, spike_time: Tensor) -> Tensor:
    """What the bytes of spikes stand for."""
    check_dtype('table', table, *VALUES)
    if table.dim() != 1 or not 1 <= len(table) <= 256:
        raise ValueError(
            f"Expected 'table' to hold 1 to 256 levels (got shape {list(table.shape)})"
        )
    return table.detach().to(spike_time.device).contiguous()


def channels(x: Tensor, **params: float | Tensor | None) -> tuple[int, int]:
    """How many channels the parameters of ``x`` have, and how many neighbours in
    memory share one.
    """
    shapes = {
        name: param.shape
        for name, param in params.items()
        if isinstance(param, Tensor) and param.numel() != 1
    }
    runs = {runs_of(shape, x) for shape in shapes.values()} or {(1, x.numel())}
    found = runs.pop()
    if runs or found is None:
        given = ', '.join(f'{name} {list(shape)}' for name, shape in shapes.items())
        raise ValueError(
            f'Expected parameters to broadcast to {list(x.shape)} along one and the '
            f'same dimension (got {given})'
        )
    return found


def check_columns(out: Tensor, **params: float | Tensor | None) -> None:
    """Raises a ValueError if the parameters of a matrix differ along rows."""
    num_channels, length = channels(out, **params)
    if num_channels > 1 and (num_channels, length) != (out.size(1), 1):
        raise ValueError(
            f'Expected {", ".join(params)} to be one number or one for each of '
            f'{out.size(1)} channels (got {num_channels} rows)'
        )


def scaled(
    values: Tensor, scale: float | Tensor, num_channels: int
) -> tuple[Tensor, Tensor | None]:
    """Values times a scale that is one number, and a scale per channel if it is
    none, still to be multiplied by.
    """
    if not isinstance(scale, Tensor):
        return (values if scale == 1 else scale * values), None
    if scale.numel() == 1:
        return scale.detach().to(values).view(-1) * values, None
    return values, vector('scale', scale, num_channels, values)


def neuron(
    bias: Tensor | None,
    thresholds: Tensor,
    scale: float | Tensor,
    num_channels: int,
    like: Tensor,
) -> tuple[Tensor | None, Tensor, Tensor | None]:
    """The bias :math:`(C)`, thresholds :math:`(T)` or :math:`(T, C)`, and a scale
    :math:`(C)` if that is not one number.
    """
    num_steps = check_thresholds(thresholds)
    if bias is not None and bias.numel() == 1:
        bias = bias.reshape(-1).expand(num_channels)
    limits = thresholds.detach().to(like).reshape(num_steps, thresholds[0].numel())
    limits = limits.squeeze(1).contiguous()
    return (
        vector('bias', bias, num_channels, like),
        *scaled(limits, scale, num_channels),
    )
