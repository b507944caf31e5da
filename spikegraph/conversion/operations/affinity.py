"""A numerical check for layers, and functions, that no rule knows."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch_geometric.nn.conv import MessagePassing

from spikegraph.calls.call import run_copy
from spikegraph.calls.wrappers import plain_copy
from spikegraph.conversion.operations.rules import rule_for
from spikegraph.conversion.ranks import Ranks
from spikegraph.kernels.copying import deepcopy
from spikegraph.nn import ACTIVATIONS
from spikegraph.nn.analog import is_edge_index

_SPREADS = (4.0, 4e4, 4.0)  # Of probes: wide ones reach far bounds.
_MAX_CALLS = 16  # Calls that are looked at.
_TOLERANCE = 1e-9  # Relative, in float64: rounding stays below, curvature above.
_Seen = tuple[tuple[Any, ...], dict[str, Any]]  # Arguments of a layer.


@torch.no_grad()
def check_claim(name: str, module: nn.Module, args: tuple[Any, ...], out: Any) -> None:
    r"""Checks what a rule of a user claims, that a module is affine in its first
    argument: :math:`f(x) + f(0) = 2 f(x / 2)`.

    Raises:
        ValueError: If it is not.
    """
    x = args[0] if args else None
    if not isinstance(x, Tensor) or not isinstance(out, Tensor):
        return
    total = out + module(torch.zeros_like(x), *args[1:])
    twice = 2 * module(x / 2, *args[1:])
    if not torch.allclose(total, twice, rtol=1e-3, atol=1e-3 * float(out.abs().max())):
        raise ValueError(
            f"Expected the rule for '{name}' to return an affine module (got "
            f'{type(module).__name__}, which is not); for an activation, use '
            '\'kind="activation"\''
        )


@torch.no_grad()
def find_affine(
    model: nn.Module, calls: list[dict[str, Any]], ranks: Ranks
) -> list[str]:
    r"""Finds the message passing layers without a rule that are affine in
    their features on the graph of every call, and on one with the same number
    of edges, many of which share their ends:

    .. math::
        f(\lambda x + (1 - \lambda) y) = \lambda f(x) + (1 - \lambda) f(y)

    for random :math:`x`, :math:`y` and :math:`\lambda`, to rounding in float64.
    Where no call has edges, messages are not known, and no layer is found.

    Args:
        model (torch.nn.Module): The model; it is not changed.
        calls (List[Dict[str, Any]]): The arguments of forward calls of this process;
            they are not changed.
        ranks (Ranks): The processes.

    Returns:
        List[str]: The paths of these layers.
    """
    model = plain_copy(model)
    candidates = {
        path: module
        for path, module in model.named_modules()
        if isinstance(module, MessagePassing)
        and rule_for(module) is None
        and not any(type(part) in ACTIVATIONS for part in module.modules())
    }
    if not candidates:
        return []
    seen: dict[str, list[_Seen]] = {}

    def look() -> dict[str, bool]:
        some = calls[: max(0, _MAX_CALLS - ranks.before)]
        seen.update(_arguments(model, candidates, some))
        return {path: any(map(_has_edges, found)) for path, found in seen.items()}

    known = ranks.merge('looking for edges', look, lambda found: _joined(found, any))
    paths = [path for path, has_edges in known.items() if has_edges]

    def judge() -> dict[str, bool]:
        return {
            path: all(is_affine(candidates[path], *each) for each in seen.get(path, ()))
            for path in paths
        }

    found = ranks.merge(
        'looking for affine layers', judge, lambda found: _joined(found, all)
    )
    return [path or 'layer' for path in paths if found[path]]


def _joined(
    parts: Iterable[dict[str, bool]], how: Callable[[Iterable[bool]], bool]
) -> dict[str, bool]:
    found: dict[str, list[bool]] = {}
    for part in parts:
        for path, value in part.items():
            found.setdefault(path, []).append(value)
    return {path: how(values) for path, values in found.items()}


def _arguments(
    model: nn.Module, layers: dict[str, MessagePassing], calls: list[dict[str, Any]]
) -> dict[str, list[_Seen]]:
    """What layers are called with."""
    seen: dict[str, list[_Seen]] = {}
    handles = []
    for path, module in layers.items():

        def record(
            _: nn.Module, args: Any, kwargs: dict[str, Any], path: str = path
        ) -> None:
            seen.setdefault(path, []).append((args, kwargs))

        handles.append(module.register_forward_pre_hook(record, with_kwargs=True))
    try:
        for call in calls:
            run_copy(model, call)
    finally:
        for handle in handles:
            handle.remove()
    return seen


@torch.no_grad()
def is_affine(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> bool:
    """Whether a layer is affine in its first argument, as it was called and,
    if it takes them, with other edges.
    """
    module = deepcopy(module).double()
    bound = inspect.signature(module.forward).bind(*args, **kwargs)
    bound.apply_defaults()
    x, *rest = pytree.tree_map(as_double, bound.args)
    if not _is_affine_at(module, x, rest):
        return False
    rewired = [_rewired(value) if is_edge_index(value) else value for value in rest]
    try:
        return _is_affine_at(module, x, rewired)
    except (ValueError, RuntimeError, IndexError, AssertionError):
        return True  # It takes no such graph.


def _is_affine_at(module: nn.Module, x: Any, rest: list[Any]) -> bool:
    parts = x if isinstance(x, tuple) else (x,)
    if not all(isinstance(v, Tensor) and v.is_floating_point() for v in parts):
        return False

    def run(values: list[Tensor]) -> list[Any]:
        out = module(tuple(values) if isinstance(x, tuple) else values[0], *rest)
        return [out] if isinstance(out, Tensor) else []

    sizes = [v.abs().mean().clamp(min=1e-3) if v.numel() else 1.0 for v in parts]
    return mixes(run, parts, sizes, _SPREADS)


def _has_edges(call: tuple[tuple[Any, ...], dict[str, Any]]) -> bool:
    """Whether there is an edge, or no edge index to tell."""
    values = [*call[0], *call[1].values()]
    edges = [value for value in values if is_edge_index(value)]
    return not edges or any(value.numel() > 0 for value in edges)


def _rewired(edge_index: Tensor) -> Tensor:
    """As many edges, at random among the first quarter of the nodes."""
    generator = torch.Generator().manual_seed(0)
    out = torch.empty_like(edge_index)
    for row, ends in zip(out, edge_index, strict=True):
        high = int(ends.max()) // 4 + 1 if ends.numel() > 0 else 1
        row.copy_(torch.randint(high, row.shape, generator=generator))
    return out


def mixes(
    run: Callable[[list[Tensor]], list[Any]],
    like: Sequence[Tensor],
    sizes: Sequence[Any],
    spreads: Sequence[float],
) -> bool:
    """Whether a function mixes as what it is given does, see :func:`find_affine`; what
    it returns beside numbers must not change.

    Args:
        run (Callable): The function, of several tensors in float64.
        like (Sequence[torch.Tensor]): Tensors of their shapes.
        sizes (Sequence[float]): How large numbers in each are.
        spreads (Sequence[float]): How much larger those that are tried.
    """
    generator = torch.Generator().manual_seed(0)
    for spread in spreads:
        drawn: list[list[Tensor]] = [[], []]
        weight = 3 * float(torch.rand((), generator=generator)) - 1
        for values in drawn:
            for value, size in zip(like, sizes, strict=True):
                noise = torch.randn(
                    value.shape, generator=generator, dtype=torch.float64
                )
                values.append(noise.to(value.device) * size * spread)
        mixed = [weight * a + (1 - weight) * b for a, b in zip(*drawn, strict=True)]
        if not _is_mix([run(values) for values in (*drawn, mixed)], weight):
            return False
    return True


def _is_mix(outs: list[list[Any]], weight: float) -> bool:
    found = False
    for a, b, mixed in zip(*outs, strict=True):
        if not isinstance(a, Tensor):
            if a != b:
                return False
            continue
        a, b, mixed = (
            v if v.layout == torch.strided else v.to_dense() for v in (a, b, mixed)
        )
        if a.shape != b.shape or a.shape != mixed.shape:
            return False
        if not a.is_floating_point():
            if not (torch.equal(a, b) and torch.equal(a, mixed)):
                return False
            continue
        found = True
        expected = weight * a + (1 - weight) * b
        size = max([float(v.abs().max()) for v in (a, b, mixed)]) if a.numel() else 0.0
        if not bool(((mixed - expected).abs() <= _TOLERANCE * (size + 1e-9)).all()):
            return False
    return found


def as_double(value: Any) -> Any:
    """Numbers in float64, anything else as it is."""
    is_real = isinstance(value, Tensor) and value.is_floating_point()
    return value.double() if is_real else value
