"""Inference layer by layer, in blocks of nodes."""

from __future__ import annotations

from typing import Any, TypeGuard

import torch
from tqdm import tqdm

from spikegraph.coding.phase_code import check_bools
from spikegraph.running.model import SpikingModel, check_spiking
from spikegraph.running.parts.kept import Kept
from spikegraph.running.parts.rows import Frame
from spikegraph.running.parts.staged import Staged


@torch.no_grad()
def layerwise(
    snn: SpikingModel,
    *args: Any,
    block_size: int = 4096,
    progress: bool = False,
    **kwargs: Any,
) -> Any:
    r"""Runs a converted node-level network population by population, in blocks
    of nodes: exact, also where degrees matter, and with one byte per neuron
    between populations. At any time, real values exist for one block and its
    in-neighbours only.

    Args:
        snn (SpikingModel): The converted network.
        *args (Any): The arguments of its :meth:`forward`, or PyG data.
        block_size (int, optional): Nodes per block. (default: :obj:`4096`)
        progress (bool, optional): Whether a bar is shown.
            (default: :obj:`False`)
        **kwargs (Any): Keyword arguments of its :meth:`forward`.

    Returns:
        torch.Tensor: The outputs of every node, as :meth:`forward` returns them.

    Raises:
        NotImplementedError: If an operation mixes nodes otherwise than by
            neighbourhoods, such as pooling.
        ValueError: If the inputs do not fit, or :obj:`block_size` is not
            positive.

    Example:
        >>> import torch
        >>> from torch_geometric.nn.models import GCN
        >>> import spikegraph
        >>> _ = torch.manual_seed(0)
        >>> edge_index = torch.tensor([[0, 1, 2, 3, 4], [1, 2, 3, 4, 0]])
        >>> model, x = GCN(4, 8, 2, 3), torch.rand(5, 4)
        >>> snn = spikegraph.convert(model, (x, edge_index))
        >>> out = layerwise(snn, x, edge_index, progress=False)
        >>> torch.allclose(out, snn(x, edge_index))
        True
    """
    check_spiking(snn)
    check_bools(progress=progress)
    if not isinstance(block_size, int):
        raise ValueError(f"Expected 'block_size' to be an integer (got {block_size!r})")
    if block_size < 1:
        raise ValueError(f"Expected 'block_size' to be at least 1 (got {block_size})")
    staged = Staged(snn, snn.bind(*args, **kwargs), by_rows=False)
    kept = run_in_blocks(staged, block_size, progress)
    return snn.returned(staged.returned(kept.whole), args, kwargs)


def run_in_blocks(staged: Staged, block_size: int, progress: bool = False) -> Kept:
    """Runs all stages of a network, each in blocks of rows."""
    features = staged.features.values()
    kept = Kept({step: staged.layout.fixed_input(step) for step in features})
    blocks = [stage.blocks(block_size) for stage in staged.stages]
    total, gone = sum(map(len, blocks)), staged.last_reads()
    with tqdm(
        total=total, desc='Layer-wise', leave=False, disable=not progress
    ) as bar:
        for stage, parts, last in zip(staged.stages, blocks, gone, strict=True):
            for rows in parts:
                made = stage.run(Frame(rows), kept.read)
                for goal, value in zip(stage.goals, made, strict=True):
                    kept.write(goal, rows, value)
                bar.update()
            for step in last:
                kept.forget(step)
    return kept
