"""What a process is given: whole inputs, or a part of a divided graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from spikegraph.calls.checks import check_finite
from spikegraph.partitioning import Partition, PartitionedData
from spikegraph.running.model import SpikingModel
from spikegraph.running.parts.identity import digest_of, inputs_digest
from spikegraph.running.parts.rows import locate
from spikegraph.running.parts.staged import Staged
from spikegraph.running.parts.step import Step, take

_COMPARED = 4096  # Rows of features that all processes have.


class Whole:
    """Inputs of which every process has all rows, and uses its own.

    Args:
        snn (SpikingModel): The network.
        args (Tuple[Any, ...]): Arguments of its :meth:`forward`.
        kwargs (Dict[str, Any]): Keyword arguments.
        partition (Partition): Who owns which node.
    """

    def __init__(
        self, snn: SpikingModel, args: Any, kwargs: Any, partition: Partition
    ) -> None:
        self.partition = partition
        self.inputs = snn.bind(*args, **kwargs)

    def rows(self, staged: Staged, step: Step, rows: Tensor) -> Any:
        """Some rows of an input."""
        return take(staged.layout.fixed_input(step), rows)

    def graph(self, staged: Staged) -> str:
        """A text that changes with the graph."""
        return inputs_digest(self.inputs, staged.features)

    def features(self, staged: Staged) -> str:
        """A text that changes with features, of which a few rows are read."""
        found = {}
        for step in staged.features.values():
            value = staged.layout.fixed_input(step)
            rows = torch.linspace(0, len(value) - 1, min(len(value), _COMPARED)).long()
            found[step.name] = take(value, rows)
        return digest_of(found)


class Divided:
    """A part of a divided graph: its own rows of features, and the shape of the others.

    Args:
        snn (SpikingModel): The network.
        data (PartitionedData): The divided graph.
        rank (int): The part.
    """

    def __init__(self, snn: SpikingModel, data: PartitionedData, rank: int) -> None:
        self.data, self.partition, self.rank = data, data.partition, rank
        self.inputs = snn.bound(data.outline())
        self._own = _leaves(snn, data.part(rank))
        for name, value in snn.spec.spelled_features(self._own).items():
            check_finite(name, value)

    def rows(self, staged: Staged, step: Step, rows: Tensor) -> Any:
        """Some rows of this part."""
        value = self._own[step.record.target]
        owners = owners_of(staged, self.partition).get(step.axis.find().name)
        if owners is None:
            return take(value, rows)
        return take(value, locate(rows, (owners == self.rank).nonzero().view(-1)))

    def graph(self, staged: Staged) -> str:
        """A text that changes with the graph, or with values of its edges."""
        return f'{self.data.digest} {inputs_digest(self.inputs, staged.features)}'

    def features(self, staged: Staged) -> str:
        """A text that changes with features that every process has all rows of."""
        owners = owners_of(staged, self.partition)
        return digest_of(
            {
                step.name: self._own[step.record.target]
                for step in staged.features.values()
                if step.axis.find().name not in owners
            }
        )


def _leaves(snn: SpikingModel, data: Any) -> dict[str, Any]:
    """What the network reads of data, unchecked, as there are fewer rows."""
    args, kwargs = snn.taken((data,), {})
    given = snn.spec.given(*args, **kwargs)
    return {leaf.name: leaf.value_in(given) for leaf in snn.spec.read_leaves}


def owners_of(staged: Staged, partition: Partition) -> Mapping[str, Tensor]:
    """The process of each row of the inputs that are divided, by their names.

    Raises:
        ValueError: If features have another number of rows than nodes.
    """
    found: dict[str, Tensor] = {}
    for step in staged.features.values():
        axis = step.axis.find()
        node_type = _node_type(staged, step, partition)
        if node_type is not None and axis.name not in found:
            found[axis.name] = partition.owners[node_type]
    if not found:
        sizes = [s.axis.find().size for s in staged.features.values()]
        raise ValueError(
            "Expected 'partition' to divide the rows of an input (got nodes "
            f'{partition.num_nodes}, and inputs of {sizes} rows); divide this graph with '
            "'spikegraph.partition_graph'"
        )
    return found


def _node_type(staged: Staged, step: Step, partition: Partition) -> str | None:
    """The type of nodes that an input belongs to, by its name, or by their number."""
    size, counts = step.axis.find().size, partition.num_nodes
    leaf = staged.leaves.get(step.record.target)
    path = () if leaf is None else leaf.path
    named = [str(key) for _, key in path if str(key) in counts]
    for node_type in (*named, *counts):
        if counts[node_type] == size:
            return node_type
    return None


def partition_digest(partition: Partition) -> str:
    """A text that changes with the part of any node."""
    return digest_of(dict(partition.owners))
