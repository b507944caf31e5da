"""Which rows go where: operations that move spikes and change none."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from spikegraph.coding import Spikes


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
    return x[index]


LEAF_FUNCTIONS = (trim_rows, gather_rows)
