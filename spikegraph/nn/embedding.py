"""Sums over the columns of categories, each looked up in a table of its own."""

from __future__ import annotations

from itertools import accumulate
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spikegraph.kernels.memory import needs_gradient

_ENCODERS = {
    ('ogb.graphproppred.mol_encoder', 'AtomEncoder'): 'atom_embedding_list',
    ('ogb.graphproppred.mol_encoder', 'BondEncoder'): 'bond_embedding_list',
}


def embed_sum(module: Any, args: Any, kwargs: Any) -> Tensor | None:
    """What an encoder of OGB returns for categories :math:`(N, K)`, bit by bit, without
    the rows of each table on their own; None where that is not known.

    Args:
        module (torch.nn.Module): Any module.
        args (Tuple[Any, ...]): Its arguments.
        kwargs (Dict[str, Any]): Its keyword arguments.
    """
    name = _ENCODERS.get((type(module).__module__, type(module).__name__))
    if name is None or kwargs or len(args) != 1 or not isinstance(args[0], Tensor):
        return None
    index: Tensor = args[0]
    if index.dim() != 2 or index.dtype != torch.int64 or index.numel() == 0:
        return None
    tables = [*getattr(module, name)][: index.size(1)]
    weights = [t.weight for t in tables if type(t) is nn.Embedding and not _acts(t)]
    if len(weights) != index.size(1) or needs_gradient(*weights):
        return None
    if weights[0].dtype != torch.float32 or weights[0].device.type != 'cpu':
        return None
    sizes = [len(weight) for weight in weights]
    sizes_of, starts = torch.tensor(sizes), torch.tensor([0, *accumulate(sizes[:-1])])
    if not bool(((index >= 0) & (index < sizes_of)).all()):
        return None  # The encoder says what is wrong.
    return F.embedding_bag(index + starts, torch.cat(weights), mode='sum')


def _acts(table: nn.Embedding) -> bool:
    """Whether a look-up does more than that."""
    hooks = table._forward_hooks or table._forward_pre_hooks or 'forward' in vars(table)
    return bool(hooks) or table.max_norm is not None
