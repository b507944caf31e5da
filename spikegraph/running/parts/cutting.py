"""What is kept between stages: of each row as few bytes as can be."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import breadth_first_order, maximum_flow
from torch import Tensor

from spikegraph.coding import Spikes
from spikegraph.network.graph import called
from spikegraph.network.roles import Role
from spikegraph.running.parts.step import Kind, Step

_MOST = 1 << 28


def find_depths(steps: Iterable[Step]) -> None:
    """Counts the times that rows are fetched from elsewhere before each step."""
    for step in steps:
        before = max((source.depth for source in step.inputs), default=0)
        step.depth = before + is_fetch(step)


def is_fetch(step: Step) -> bool:
    """Whether a step reads rows that others may have."""
    if step.kind in (Kind.LINKS, Kind.GATHER):
        return True
    (source, *_) = step.inputs or [step]
    # Members of a group are the edges of a node, unless nodes have parts of their own.
    return step.kind in (Kind.MEMBERS, Kind.GROUPS) and bool(source.axis.find().name)


def find_stored(
    steps: list[Step], is_free: Callable[[Step], bool], cost: Callable[[Step], int]
) -> list[Step]:
    """The steps whose rows are kept, so that all that is read at a greater depth is kept,
    or made of these row by row: a minimum cut.

    Args:
        steps (List[Step]): All steps, with their depths.
        is_free (Callable): Whether a step may be made anew where it is read.
        cost (Callable): What it costs to keep a step.
    """
    read = [s for s in steps if any(u.depth > s.depth for u in _users(steps)[s])]
    place = {step: number for number, step in enumerate(steps)}
    source, sink = 2 * len(steps), 2 * len(steps) + 1
    edges: dict[tuple[int, int], int] = {}
    behind: set[Step] = set()
    queue = list(read)
    while queue:
        step = queue.pop()
        if step in behind or step.kind is Kind.SIZE:
            continue
        behind.add(step)
        number = place[step]
        can_keep = isinstance(step.probe, (Tensor, Spikes)) and step.dim == 0
        edges[2 * number, 2 * number + 1] = (
            min(cost(step), _MOST) if can_keep else _MOST
        )
        if step.kind is Kind.ROWS and is_free(step):
            for before in step.inputs:
                if before.kind is not Kind.SIZE:
                    edges[2 * place[before] + 1, 2 * number] = _MOST
                    queue.append(before)
        else:
            edges[source, 2 * number] = _MOST
    for step in read:
        edges[2 * place[step] + 1, sink] = _MOST
    if not edges:
        return []
    reached = _reached(edges, sink + 1, source, sink)
    return [
        step
        for step in steps
        if step in behind
        and 2 * place[step] in reached
        and 2 * place[step] + 1 not in reached
    ]


def _reached(
    edges: dict[tuple[int, int], int], size: int, source: int, sink: int
) -> set[int]:
    """What a maximum flow leaves within reach of the source."""
    row, col = np.array(list(edges), dtype=np.int32).T
    capacity = np.array(list(edges.values()), dtype=np.int32)
    graph = csr_array((capacity, (row, col)), shape=(size, size))
    flow = maximum_flow(graph, source, sink).flow
    left = (graph - flow).tocsr()
    left.data[left.data < 0] = 0
    left.eliminate_zeros()
    return set(breadth_first_order(left, source)[0].tolist())


def _users(steps: list[Step]) -> dict[Step, list[Step]]:
    users: dict[Step, list[Step]] = {step: [] for step in steps}
    for step in steps:
        for source in step.inputs:
            users.setdefault(source, []).append(step)
    return users


def is_view(step: Step) -> bool:
    """Whether a step only moves values inside of rows."""
    if step.record.role is Role.MOVE:
        return True
    return called(step.record) in ('view', 'reshape', 'unsqueeze', 'squeeze', 'flatten')
