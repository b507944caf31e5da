"""Corrections of weights, in one process."""

from spikegraph.conversion.fitting.ridge import Rows, find_change
from spikegraph.conversion.ranks import Ranks


def change_of(features, residual, goal, num_batches=1, **options):
    """The correction for rows that come in a number of batches."""
    ranks = Ranks()
    ranks.total = num_batches
    parts = [
        (None,) * num_batches if v is None else v.tensor_split(num_batches)
        for v in (features, residual, goal)
    ]
    rows = [Rows(*each) for each in zip(*parts, strict=True)]
    return find_change('correcting', lambda: rows, ranks, **options)
