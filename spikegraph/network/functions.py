"""What graphs call beside PyTorch and PyG."""

from __future__ import annotations

from typing import Any

from torch import Tensor, fx


def set_items(base: Tensor, index: Any, value: Any) -> Tensor:
    """A tensor with some items replaced: :obj:`base[index] = value`."""
    out = base.clone()
    out[index] = value
    return out


def write_through(
    base: Tensor, value: Any, name: str, args: Any, kwargs: Any
) -> Tensor:
    """A tensor of which the part that a method shows holds another value."""
    out = base.clone()
    part = getattr(out, name)(*args, **kwargs)
    parts, values = (
        (part, value) if isinstance(part, (tuple, list)) else ([part], [value])
    )
    for each, new in zip(parts, values, strict=True):
        each.copy_(new)
    return out


def replace_part(parts: Any, index: int, value: Any) -> tuple[Any, ...]:
    """Parts of a tensor, one of them another one."""
    out = list(parts)
    out[index] = value
    return tuple(out)


def write_copy(base: Tensor, name: str, *args: Any, **kwargs: Any) -> Tensor:
    """What a method that writes in place leaves in a copy."""
    out = base.clone()
    getattr(out, name)(*args, **kwargs)
    return out


def check_answer(value: Any, what: str, answer: Any, where: str) -> None:
    """Raises ``ValueError`` if a question has another answer than it had on the
    calibration data.
    """
    found = value
    if what == 'length':
        found = value.shape[0] if hasattr(value, 'shape') else len(value)
    elif isinstance(value, Tensor):
        found = value.item()
    elif not isinstance(value, (bool, int, float)):
        found = bool(value)
    if found != answer:
        raise ValueError(
            f'Expected {"a length" if what == "length" else "the answer"} of {answer}, '
            f'as with the calibration data (got {found}), where the model asks for it '
            f'({where}). It was converted for that answer: convert again with '
            'calibration data like this'
        )


fx.node.has_side_effect(check_answer)


def asks_length(node: fx.Node) -> bool:
    """Whether a node asks how many values there are again."""
    return node.target is check_answer and node.args[1] == 'length'
