"""A numerical check for layers that no rule knows."""

from __future__ import annotations

import copy
import inspect
from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.nn.conv import MessagePassing

from spikegraph.conversion.rules import rule_for
from spikegraph.nn import ACTIVATIONS

_NUM_PROBES = 3
_TOLERANCE = 1e-9  # Relative, in float64: rounding stays below, curvature above.


@torch.no_grad()
def find_affine(model: nn.Module, call: dict[str, Any]) -> list[str]:
    r"""Finds the message passing layers without a rule that are affine in
    their features on the graph of one call:

    .. math::
        f(\lambda x + (1 - \lambda) y) = \lambda f(x) + (1 - \lambda) f(y)

    for random :math:`x`, :math:`y` and :math:`\lambda`, to rounding in float64.

    Args:
        model (torch.nn.Module): The model; it is not changed.
        call (Dict[str, Any]): The arguments of one forward call.

    Returns:
        List[str]: The paths of these layers.
    """
    model = copy.deepcopy(model).eval()
    candidates = {
        path: module
        for path, module in model.named_modules()
        if isinstance(module, MessagePassing)
        and rule_for(module) is None
        and not any(type(part) in ACTIVATIONS for part in module.modules())
    }
    if not candidates:
        return []
    seen: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {}
    handles = []
    for path, module in candidates.items():

        def record(
            _: nn.Module, args: Any, kwargs: dict[str, Any], path: str = path
        ) -> None:
            seen.setdefault(path, (args, kwargs))

        handles.append(module.register_forward_pre_hook(record, with_kwargs=True))
    try:
        model(**call)
    finally:
        for handle in handles:
            handle.remove()
    return [
        path or 'layer'
        for path, (args, kwargs) in seen.items()
        if is_affine(candidates[path], args, kwargs)
    ]


@torch.no_grad()
def is_affine(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> bool:
    """Whether a layer is affine in its first argument, as it was called."""
    module = copy.deepcopy(module).double()
    bound = inspect.signature(module.forward).bind(*args, **kwargs)
    bound.apply_defaults()
    x, *rest = _double(bound.args)
    parts = x if isinstance(x, tuple) else (x,)
    if not all(isinstance(v, Tensor) and v.is_floating_point() for v in parts):
        return False
    generator = torch.Generator().manual_seed(0)
    for _ in range(_NUM_PROBES):
        a, b = (tuple(_like(v, generator) for v in parts) for _ in range(2))
        weight = 3 * float(torch.rand((), generator=generator)) - 1
        mixed = tuple(weight * u + (1 - weight) * v for u, v in zip(a, b, strict=True))
        outs = []
        for probe in (a, b, mixed):
            first = probe if isinstance(x, tuple) else probe[0]
            outs.append(module(first, *rest))
        if not all(isinstance(out, Tensor) for out in outs):
            return False
        expected = weight * outs[0] + (1 - weight) * outs[1]
        size = max(float(out.abs().max()) for out in outs) if outs[0].numel() else 0.0
        if not bool(((outs[2] - expected).abs() <= _TOLERANCE * (size + 1e-9)).all()):
            return False
    return True


def _like(value: Tensor, generator: torch.Generator) -> Tensor:
    noise = torch.randn(value.shape, generator=generator, dtype=torch.float64)
    spread = value.abs().mean().clamp(min=1e-3)
    return noise.to(value.device) * spread * 4


def _double(value: Any) -> Any:
    if isinstance(value, (tuple, list)):
        return type(value)(_double(v) for v in value)
    if isinstance(value, dict):
        return {k: _double(v) for k, v in value.items()}
    if isinstance(value, Tensor) and value.is_floating_point():
        return value.double()
    return value
