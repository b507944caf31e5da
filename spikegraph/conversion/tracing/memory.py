"""How symbolic values lie in memory, answered by their sizes."""

from __future__ import annotations

from typing import Any


def stride_of(value: Any, dim: int | None = None) -> Any:
    """The strides of a tensor: products of its sizes where it lies in one piece.

    Args:
        value (Traced): The tensor.
        dim (int, optional): The only dimension that is asked for.
            (default: :obj:`None`)
    """
    found = _strides(value)
    return found if dim is None else found[dim]


def _strides(value: Any) -> tuple[Any, ...]:
    example = value._example
    value.tracer.note(value, 'strides')
    found: list[Any] = [1] * example.dim()
    inner: Any = 1
    expected, steps = 1, example.stride()
    for dim in sorted(range(example.dim()), key=lambda d: (steps[d], -d)):
        if expected != steps[dim]:  # A part of something larger.
            _pin_sizes(value)
            return tuple(steps)
        found[dim] = inner
        inner = value.size(dim) * inner
        expected *= example.size(dim)
    return tuple(found)


def storage_offset_of(value: Any) -> int:
    """Where a tensor starts in what it is a part of."""
    part = value
    while part is not None:
        part.tracer.note(part, 'offset')
        if part._view is not None:
            _pin_sizes(part)
        part = None if part._view is None else part._view.source
    return int(value._example.storage_offset())


def _pin_sizes(value: Any) -> None:
    """Asks for all sizes, which have to be the same on every call then."""
    for dim in range(value._example.dim()):
        int(value.size(dim))
