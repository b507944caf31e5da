"""Sparse tensors as the dense tensors that they are made of, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

_PARTS = {
    torch.sparse_coo: ('indices', 'values'),
    torch.sparse_csr: ('crow_indices', 'col_indices', 'values'),
    torch.sparse_csc: ('ccol_indices', 'row_indices', 'values'),
    torch.sparse_bsr: ('crow_indices', 'col_indices', 'values'),
    torch.sparse_bsc: ('ccol_indices', 'row_indices', 'values'),
}
_NAMES = {'size', *(name for names in _PARTS.values() for name in names)}
_LAYOUTS = {str(layout).removeprefix('torch.'): layout for layout in _PARTS}


def split_sparse(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors by name, sparse ones as their parts, whose names end in
    ``:layout:part``.
    """
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if tensor.layout == torch.strided:
            found[name] = tensor
            continue
        tensor = tensor.coalesce() if tensor.layout == torch.sparse_coo else tensor
        start = f'{name}:{str(tensor.layout).removeprefix("torch.")}'
        found[f'{start}:size'] = torch.tensor(tensor.shape)
        for part in _PARTS[tensor.layout]:
            found[f'{start}:{part}'] = getattr(tensor, part)()
    return found


def join_sparse(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of :func:`split_sparse`, but that all entries are coalesced.

    Raises:
        ValueError: If parts are missing, or do not fit.
    """
    found: dict[str, Tensor] = {}
    parts: dict[tuple[str, str], dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        own, layout, part = ('::' + name).rsplit(':', 2)
        if layout not in _LAYOUTS or part not in _NAMES:
            found[name] = tensor
            continue
        own = own.removeprefix('::')
        parts.setdefault((own, layout), {})[part] = tensor
    for (own, layout), given in parts.items():
        names = _PARTS[_LAYOUTS[layout]]
        if set(given) != {'size', *names}:
            raise ValueError(
                f"Expected '{own}' to hold {', '.join(names)} and size, as {layout} does "
                f'(got {", ".join(sorted(given))})'
            )
        size = [int(number) for number in given['size']]
        try:
            found[own] = _made(_LAYOUTS[layout], [given[n] for n in names], size)
        except RuntimeError as error:
            raise ValueError(
                f"Expected the parts of '{own}' to fit (got: {error})"
            ) from error
    return found


def _made(layout: torch.layout, parts: list[Tensor], size: list[int]) -> Tensor:
    options: Any = dict(check_invariants=True)
    if layout == torch.sparse_coo:
        index, values = parts
        return torch.sparse_coo_tensor(index, values, size, **options).coalesce()
    ends, index, values = parts
    options['layout'] = layout
    return torch.sparse_compressed_tensor(ends, index, values, size, **options)
