"""Sorting edges by target: into buckets of some rows each, and within these. Edges
that start where they end are left out if every node is to have one, its last.
"""

import numpy as np

from spikegraph.kernels.cpu.compiled.compilation import compiled


@compiled
def count(source, target, loops, shift, counts, step, start, stop):
    """Counts the edges of each bucket of ``2 ** shift`` rows, for each piece of
    ``step`` edges.
    """
    for low in range(start, stop, step):
        found = counts[low // step]
        for e in range(low, min(low + step, stop)):
            if not (loops and source[e] == target[e]):
                found[target[e] >> shift] += 1


@compiled
def distribute(
    source, target, loops, shift, places, step, sources, rows, order, start, stop
):
    """Writes the sources, rows in the bucket and numbers of edges into buckets; those
    of a piece go to its ``places``, which move on. No ``order``, no numbers.
    """
    in_bucket = (1 << shift) - 1
    for low in range(start, stop, step):
        place = places[low // step]
        for e in range(low, min(low + step, stop)):
            if loops and source[e] == target[e]:
                continue
            bucket = target[e] >> shift
            at = place[bucket]
            place[bucket] = at + 1
            sources[at], rows[at] = source[e], target[e] & in_bucket
            if order.size > 0:
                order[at] = e


@compiled
def sort_buckets(
    sources, rows, numbers, bounds, loops, shift, rowptr, col, order, start, stop
):
    """Sorts the edges of buckets ``start`` to ``stop`` by row, those of a row as
    given; ``rowptr`` gets the end of each row.
    """
    num_rows = rowptr.size - 1
    place = np.empty(1 << shift, np.int64)
    for bucket in range(start, stop):
        first, last = bounds[bucket], bounds[bucket + 1]
        base = bucket << shift
        size = min(1 << shift, num_rows - base)
        place[:size] = 1 if loops else 0
        for e in range(first, last):
            place[rows[e]] += 1
        at = first + base if loops else first
        for i in range(size):
            at += place[i]
            rowptr[base + i + 1] = at
            place[i] = at - place[i]
        for e in range(first, last):
            at = place[rows[e]]
            place[rows[e]] = at + 1
            col[at] = sources[e]
            if order.size > 0:
                order[at] = numbers[e]
        if loops:
            for i in range(size):
                col[place[i]] = base + i
