"""What a part of the rows has in common with all of them."""

import torch

from spikegraph.kernels import Adjacency

SIZES = 1, 2, 3, 5, 16, 17, 100


def parts_of(num_rows):
    """Some rows each, next to each other and anywhere."""
    for size in SIZES:
        yield torch.randperm(num_rows)[:size]
        start = int(torch.randint(num_rows - size + 1, ()))
        yield torch.arange(start, start + size)
    yield torch.randperm(num_rows)


def sub_adjacency(adjacency, rows, first=False):
    """The in-edges of some destinations, in their order, and the sources of these; or
    the destinations themselves before all others.
    """
    bounds = adjacency.rowptr.tolist()
    edges = torch.tensor(
        [e for row in rows.tolist() for e in range(bounds[row], bounds[row + 1])],
        dtype=torch.long,
    )
    sources, col = adjacency.col[edges].long().unique(return_inverse=True)
    if first:
        others = sources[~torch.isin(sources, rows)]
        sources, known = torch.cat([rows, others]), adjacency.num_sources
        place = torch.zeros(known, dtype=torch.long)
        place[sources] = torch.arange(len(sources))
        col = place[adjacency.col[edges].long()]
    counts = adjacency.rowptr.diff()[rows]

    def at(value, index):
        return None if value is None else value[index]

    part = Adjacency(
        rowptr=torch.cat([counts.new_zeros(1), counts.cumsum(0)]),
        col=col.int(),
        weight=at(adjacency.weight, edges),
        source_factor=at(adjacency.source_factor, sources),
        target_factor=at(adjacency.target_factor, rows),
        num_sources=len(sources),
    )
    return part, sources
