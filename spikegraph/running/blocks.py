"""Inference layer by layer, in blocks of nodes."""

from __future__ import annotations

import contextlib
from numbers import Integral
from os import PathLike
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from spikegraph.coding.phase_code import check_bools
from spikegraph.nn.layer import values_of
from spikegraph.running.disk import Storage, check_resume
from spikegraph.running.model import SpikingModel, check_spiking
from spikegraph.running.parts.identity import (
    features_digest,
    inputs_digest,
    network_digest,
    version,
)
from spikegraph.running.parts.kept import Kept
from spikegraph.running.parts.results import check_output, write_rows
from spikegraph.running.parts.rows import Frame
from spikegraph.running.parts.staged import Staged
from spikegraph.running.parts.step import Step
from spikegraph.running.parts.stored import KeptOnDisk
from spikegraph.running.parts.stores import Stores, are_stores


@torch.no_grad()
def layerwise(
    snn: SpikingModel,
    *args: Any,
    block_size: int = 4096,
    progress: bool = False,
    storage: str | PathLike[str] | None = None,
    resume: bool = True,
    output: str | PathLike[str] | None = None,
    **kwargs: Any,
) -> Any:
    r"""Runs a converted node-level network population by population, in blocks
    of nodes: exact, also where degrees matter, and with one byte per neuron
    between populations. At any time, real values exist for one block and its
    in-neighbours only.

    Args:
        snn (SpikingModel): The converted network.
        *args (Any): The arguments of its :meth:`forward`, or PyG data, or a pair of a
            :class:`~torch_geometric.data.FeatureStore` and a
            :class:`~torch_geometric.data.GraphStore`, of which rows are read block by
            block.
        block_size (int, optional): Nodes per block. (default: :obj:`4096`)
        progress (bool, optional): Whether a bar is shown.
            (default: :obj:`False`)
        storage (str or os.PathLike, optional): A directory where what is left behind by
            each layer is kept, with checksums: real memory then holds one block and its
            in-neighbours only, and a run that was stopped goes on from its last finished
            layer. (default: :obj:`None`, in memory)
        resume (bool, optional): Whether to go on from what is in the storage; else it
            is emptied first. (default: :obj:`True`)
        output (str or os.PathLike, optional): An ``.npy`` file that the outputs are
            written to; what is returned is then read from there, and not to be written
            to. (default: :obj:`None`, in memory)
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
    check_bools(progress=progress, resume=resume)
    check_resume(resume, storage)
    if not isinstance(block_size, Integral) or isinstance(block_size, bool):
        raise ValueError(f"Expected 'block_size' to be an integer (got {block_size!r})")
    block_size = int(block_size)
    if block_size < 1:
        raise ValueError(f"Expected 'block_size' to be at least 1 (got {block_size})")
    if output is not None:
        check_output(output)
    stores = Stores(*args[0]) if are_stores(args) else None
    if stores is None:
        inputs = snn.bind(*args, **kwargs)
    else:
        args = (stores.data,)
        inputs = snn.bound(*args, **kwargs)
    staged = Staged(snn, inputs, by_rows=False)
    result = None if output is None else _result_of(staged)
    features = {s: _rows(staged, s, stores) for s in staged.features.values()}
    with contextlib.ExitStack() as files:
        kept = Kept(features)
        if storage is not None:
            identity = {
                'network': network_digest(snn),
                'graph': inputs_digest(inputs, staged.features),
                'features': features_digest(features),
                'version': version(),
            }
            opened = files.enter_context(Storage(storage, identity, resume=resume))
            kept = KeptOnDisk(features, opened)
        run_in_blocks(staged, kept, block_size, progress)
        if result is not None:
            assert output is not None
            return _written(result, kept, output, block_size)
        return snn.returned(staged.returned(kept.whole), args, kwargs)


def _rows(staged: Staged, step: Step, stores: Stores | None) -> Any:
    """All rows of an input, or what reads them."""
    leaf = staged.leaves.get(step.record.target)
    found = None if stores is None or leaf is None else stores.of(leaf)
    return staged.layout.fixed_input(step) if found is None else found


def _result_of(staged: Staged) -> Step:
    """What is written to a file."""
    step = staged.layout.result
    if isinstance(step, Step) and step.dim == 0:
        return step
    raise ValueError(
        'Expected a network that returns one tensor, of a row for each node, for '
        "'output' (got one that returns something else); leave it out, and save what is "
        'returned'
    )


def _written(
    step: Step, kept: Kept, output: str | PathLike[str], block_size: int
) -> Tensor:
    """The outputs, as they lie in a file."""
    size = step.axis.find().size
    blocks = torch.arange(size).split(block_size)
    rows = (values_of(kept.read(step, block)) for block in blocks)
    return write_rows(output, size, values_of(step.probe), rows)


def run_in_blocks(
    staged: Staged, kept: Kept, block_size: int, progress: bool = False
) -> None:
    """Runs all stages of a network, each in blocks of rows, from the last one on whose
    rows are there.

    Args:
        staged (Staged): The network.
        kept (Kept): Where rows are kept.
        block_size (int): How many rows are made at once.
        progress (bool, optional): Whether a bar is shown. (default: :obj:`False`)
    """
    blocks = [stage.blocks(block_size) for stage in staged.stages]
    total, gone = sum(map(len, blocks)), staged.last_reads()
    with tqdm(total=total, desc='Layer-wise', leave=False, disable=not progress) as bar:
        is_there = True
        for stage, parts, last in zip(staged.stages, blocks, gone, strict=True):
            is_there = is_there and kept.has(stage.goals)
            for rows in parts:
                if not is_there:
                    made = stage.run(Frame(rows), kept.read)
                    for goal, value in zip(stage.goals, made, strict=True):
                        kept.write(goal, rows, value)
                bar.update()
            if not is_there:
                kept.finish(stage.goals)
            for step in last:
                kept.forget(step)
