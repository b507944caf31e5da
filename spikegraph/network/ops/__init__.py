"""What every operation of PyTorch and PyG is, however it is spelled."""

import spikegraph.network.ops.table  # noqa: F401
from spikegraph.network.ops.counting import MOVES, TAPS, Count
from spikegraph.network.ops.op import (
    ARRANGED,
    BILINEAR,
    Meaning,
    Op,
    add_ops,
    all_ops,
    count_of,
    factors_of_product,
    is_call,
    means,
    op_for,
    op_named,
    op_of,
    remove_op,
)

__all__ = [
    'ARRANGED',
    'BILINEAR',
    'MOVES',
    'TAPS',
    'Count',
    'Meaning',
    'Op',
    'add_ops',
    'all_ops',
    'count_of',
    'factors_of_product',
    'is_call',
    'means',
    'op_for',
    'op_named',
    'op_of',
    'remove_op',
]
