"""What several processes have computed, output by output and stage by stage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from spikegraph.nn.layer import values_of
from spikegraph.running.distributed.reports import PartResult, StageReport
from spikegraph.running.parts.step import Fixed, Step

if TYPE_CHECKING:
    from spikegraph.running.distributed.infer import DistributedModel


@dataclass(frozen=True)
class OutputRows:
    """Some rows of an output.

    Args:
        name (str): Where it lies in what the network returns, such as ``paper``; empty
            if that is all.
        size (int): How many rows there are, those of other processes among them.
        rows (torch.Tensor): Which rows these are.
        values (torch.Tensor): The rows.
    """

    name: str
    size: int
    rows: Tensor
    values: Tensor


def rows_of(values: Any) -> list[OutputRows]:
    """All rows of the outputs of a network that ran in one process.

    Args:
        values (Any): What it returned, in plain dictionaries, lists and tuples.

    Raises:
        ValueError: If it returns what has no rows, or nothing.
    """
    found = [
        _output(name, leaf, None) for name, leaf in _named(values) if _is_tensor(leaf)
    ]
    return _checked(found)


def rows_of_part(model: DistributedModel, result: PartResult) -> list[OutputRows]:
    """The rows of this process of the outputs of a network.

    Args:
        model (DistributedModel): What ran.
        result (PartResult): What it has computed.

    Raises:
        ValueError: If it returns what has no rows, or nothing.
    """
    found = []
    for name, leaf in _named(model.staged.layout.result):
        if isinstance(leaf, Step):
            axis = leaf.axis.find()
            rows = model.part.owners.rows(axis)
            values = values_of(result.found[leaf])
            found.append(OutputRows(name, axis.size, rows, values))
        elif isinstance(leaf, Fixed) and _is_tensor(leaf.value):
            # All processes have it: the first one gives it.
            mine = None if model.peers.rank == 0 else slice(0, 0)
            found.append(_output(name, leaf.value, mine))
    return _checked(found)


def summed(parts: Sequence[Sequence[StageReport]]) -> list[StageReport]:
    """The stages of all processes together: rows and bytes of all of them, and the
    seconds of the slowest.

    Args:
        parts (List[List[StageReport]]): The stages of each process.
    """
    return [
        StageReport(
            stage=stages[0].stage,
            local_s=max(stage.local_s for stage in stages),
            fire_s=max(stage.fire_s for stage in stages),
            exchange_s=max(stage.exchange_s for stage in stages),
            rows_sent=sum(stage.rows_sent for stage in stages),
            bytes_sent=sum(stage.bytes_sent for stage in stages),
            float_bytes=sum(stage.float_bytes for stage in stages),
            is_kept=all(stage.is_kept for stage in stages),
        )
        for stages in zip(*parts, strict=True)
    ]


def _named(values: Any) -> list[tuple[str, Any]]:
    """The leaves of a structure, and where they lie."""
    leaves, _ = pytree.tree_flatten_with_path(values)
    return [('_'.join(map(_word, path)), leaf) for path, leaf in leaves]


def _word(key: Any) -> str:
    found = next(
        getattr(key, name) for name in ('key', 'idx', 'name') if hasattr(key, name)
    )
    parts = found if isinstance(found, tuple) else (found,)
    return '_'.join(str(part) for part in parts if part is not None)


def _is_tensor(value: Any) -> bool:
    return isinstance(value, Tensor)


def _output(name: str, value: Tensor, mine: slice | None) -> OutputRows:
    if value.dim() == 0:
        raise ValueError(
            f"Expected the network to return rows (got a single number, '{name}'); call "
            'it in Python instead'
        )
    rows, part = torch.arange(len(value)), mine or slice(None)
    return OutputRows(name, len(value), rows[part], value[part])


def _checked(found: list[OutputRows]) -> list[OutputRows]:
    if not found:
        raise ValueError('Expected the network to return a tensor (got none)')
    return found
