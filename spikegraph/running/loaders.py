"""Inference over loaders."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch_geometric.data import HeteroData
from torch_geometric.data.data import BaseData
from tqdm import tqdm

from spikegraph.calls.call import run_copy
from spikegraph.calls.outputs import join, take_apart
from spikegraph.calls.samples import as_call
from spikegraph.calls.wrappers import full_precision, plain_copy, unwrap
from spikegraph.coding.phase_code import check_bools
from spikegraph.running.model import SpikingModel
from spikegraph.running.noisy import NoisyModel

_CONVERTED = (SpikingModel, NoisyModel)


@torch.no_grad()
def predict(model: nn.Module, loader: Iterable[Any], progress: bool = False) -> Any:
    r"""Runs a network over a loader and collects the outputs.

    Args:
        model (torch.nn.Module): A converted network, also one that noise
            disturbs, or the ANN, of which a copy in
            evaluation mode is run.
        loader (Iterable): PyG batches, or tuples of forward arguments, of which
            labels at the end are dropped; a tensor or PyG data is one batch.
            Of the mini-batches of a
            :class:`~torch_geometric.loader.NeighborLoader`, the outputs of the
            seed nodes are kept.
        progress (bool, optional): Whether a bar is shown.
            (default: :obj:`False`)

    Returns:
        torch.Tensor: The outputs, in the order of the loader, in the structure that
        the model returns: of each tensor all rows; of one number for each batch, a
        vector; PyG data joined as loaders join it; of anything else, that of the
        first batch.

    Raises:
        ValueError: If the loader is empty, or a batch does not fit.

    Example:
        >>> from spikegraph import convert
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
        >>> x = torch.rand(5, 4)
        >>> snn = convert(model, x)
        >>> loader = torch.utils.data.DataLoader(x, batch_size=2)
        >>> torch.allclose(predict(snn, loader, progress=False), snn(x), atol=1e-5)
        True
    """
    check_bools(progress=progress)
    loader = [loader] if isinstance(loader, (BaseData, Tensor)) else loader
    model, outputs = unwrap(model), []
    if not isinstance(model, nn.Module):
        raise ValueError(
            "Expected 'model' to be a SpikingModel or the ANN (got "
            f"{type(model).__name__}); call 'predict(model, loader)'"
        )
    if not isinstance(model, _CONVERTED):
        model = plain_copy(model)
    for batch in tqdm(loader, 'Inference', leave=False, disable=not progress):
        if isinstance(model, _CONVERTED):
            is_data = isinstance(batch, (BaseData, Tensor))
            out = model(batch) if is_data else model(*model.spec.arguments(batch))
        else:
            with full_precision():
                out = run_copy(model, as_call(model, batch))
        outputs.append(_of_seeds(out, batch))
    if not outputs:
        raise ValueError("Expected 'loader' to hold at least one batch (got none)")
    return join(outputs) if len(outputs) > 1 else outputs[0]


def _of_seeds(out: Any, batch: Any) -> Any:
    """The outputs that a sampled batch was made for."""
    if not isinstance(batch, BaseData) or 'n_id' not in batch:
        return out
    values, form = take_apart(out)
    size = None
    if not isinstance(batch, HeteroData):
        size = batch.batch_size if 'batch_size' in batch else None
    else:
        sizes = batch.collect('batch_size', allow_empty=True)
        if isinstance(out, dict) and sizes:
            return {k: out[k][:size] for k, size in sizes.items() if k in out}
        size = next(iter(sizes.values()), None)
    if size is None or form.kind == 'data':  # Which is whole only with all nodes.
        return out

    def first(value: Any) -> Any:
        has_rows = isinstance(value, Tensor) and value.dim() > 0
        return value[:size] if has_rows else value

    return form.build(pytree.tree_map(first, values))
