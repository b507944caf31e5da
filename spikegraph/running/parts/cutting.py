"""What is kept between stages: as few bytes as can be, where it is not sooner made."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

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
    steps: list[Step],
    is_free: Callable[[Step], bool],
    cost: Callable[[Step], int],
    effort: Callable[[Step], int],
) -> list[Step]:
    """The steps whose rows are kept, so that all that is read at a greater depth is kept,
    or made of these row by row, at the least cost: a minimum cut.

    Args:
        steps (List[Step]): All steps, with their depths.
        is_free (Callable): Whether a step may be made anew where its rows are fetched from
            elsewhere, each by many. Where each is read once, any may.
        cost (Callable): What it costs to keep a step.
        effort (Callable): What it costs to make a step anew.
    """
    place = {step: number for number, step in enumerate(steps)}
    source, sink = 2 * len(steps), 2 * len(steps) + 1
    edges: dict[tuple[int, int], int] = {}
    queue: list[tuple[Step, bool]] = []
    for step, user in _reads(steps):
        edges[2 * place[step] + 1, sink] = _MOST
        queue.append((step, is_fetch(user)))
    seen: set[tuple[Step, bool]] = set()
    while queue:
        step, is_fetched = queue.pop()
        if (step, is_fetched) in seen:
            continue
        seen.add((step, is_fetched))
        number = place[step]
        can_keep = isinstance(step.probe, (Tensor, Spikes)) and step.dim == 0
        edges[2 * number, 2 * number + 1] = (
            min(cost(step), _MOST) if can_keep else _MOST
        )
        way = source, 2 * number
        if step.kind is Kind.ROWS and (not is_fetched or is_free(step)):
            edges[way] = max(min(effort(step), _MOST), edges.get(way, 0))
            for before in step.inputs:
                if before.kind is not Kind.SIZE:
                    edges[2 * place[before] + 1, 2 * number] = _MOST
                    queue.append((before, is_fetched))
        else:
            edges[way] = _MOST
    if not edges:
        return []
    reached = _reached(edges, sink + 1, source, sink)
    behind = {step for step, _ in seen}
    return [
        step
        for step in steps
        if step in behind
        and 2 * place[step] in reached
        and 2 * place[step] + 1 not in reached
    ]


def _reads(steps: list[Step]) -> Iterator[tuple[Step, Step]]:
    """What is read at a greater depth than it is made, and by whom."""
    for user in steps:
        for step in user.inputs:
            if step.depth < user.depth and Kind.SIZE not in (step.kind, user.kind):
                yield step, user


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


def is_view(step: Step) -> bool:
    """Whether a step only moves values inside of rows."""
    if step.record.role is Role.MOVE:
        return True
    return called(step.record) in ('view', 'reshape', 'unsqueeze', 'squeeze', 'flatten')
