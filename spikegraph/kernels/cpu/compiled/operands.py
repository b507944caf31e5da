"""What kernels are given, and how rows are read: as types, so that it is known when
kernels are compiled.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from spikegraph.kernels.cpu.compiled.compilation import HAS_AVX2, HAS_AVX512

LANES = 16
PERMUTED = 64  # Levels that fit into registers.
HAS_PLANES = HAS_AVX2 and not HAS_AVX512  # Levels are looked up byte by byte,
LOADED = 2 * LANES  # so many at once.


class Values(NamedTuple):
    """Real values."""


class Near(NamedTuple):
    """Real values that are in the caches already."""


class Packed(NamedTuple):
    """Two spike times of at most 16 levels a byte, looked up in one register."""


class One(NamedTuple):
    """Spike times, looked up in one register,"""


class Ended(NamedTuple):
    """of 16 levels and silence, which stands for zero,"""


class Two(NamedTuple):
    """in two,"""


class Four(NamedTuple):
    """in four,"""


class Table(NamedTuple):
    """or in memory."""


VALUES, NEAR, PACKED, TABLE = Values(), Near(), Packed(), Table()
ONE, ENDED, TWO, FOUR = One(), Ended(), Two(), Four()
NUM_TABLES: dict[type, int] = {Packed: 1, One: 1, Ended: 1, Two: 2, Four: 4}


class Sent(NamedTuple):
    """What the sources of edges send, in rows.

    Args:
        x (numpy.ndarray): Values or spike times.
        stride (int): How far a row is behind the one before.
        table (numpy.ndarray): What each byte stands for.
        way (NamedTuple): How rows are read.
        heads (int, optional): In how many blocks of columns an edge has a weight of its
            own; None where it has one.
    """

    x: Any
    stride: int
    table: Any
    way: Any
    heads: int | None = None


class Buckets(NamedTuple):
    """Thresholds that are found by the bits of values.

    Args:
        table (numpy.ndarray): See :class:`~.buckets.Places`.
        most (NamedTuple): Whether there is one in a bucket, or two.
    """

    table: Any
    most: Any


class Limits(NamedTuple):
    """When neurons fire.

    Args:
        thresholds (numpy.ndarray): The thresholds ``[C or 1, K]``, padded.
        num_steps (int): How many there are.
        signed (bool): Whether negative values fire, too.
        searched (bool, optional): Whether they are searched in registers; None where
            they are compared one by one.
        buckets (Buckets, optional): How they are found sooner; None where they are
            not. (default: None)
    """

    thresholds: Any
    num_steps: int
    signed: bool
    searched: bool | None
    buckets: Buckets | None = None


class Panels(NamedTuple):
    """Weights as they are read, in panels of columns.

    Args:
        weight (numpy.ndarray): The panels.
        bias (numpy.ndarray): The bias, padded as the columns are.
        depth (int): The number of inputs, of a convolution those that are neighbours in
            memory.
    """

    weight: Any
    bias: Any
    depth: int


class Windows(NamedTuple):
    """What the outputs of a convolution see, in pairs of height and width.

    Args:
        size (Tuple[int, int]): Of the images.
        channels (int): Of the images.
        out_size (Tuple[int, int]): Of the outputs.
        kernel (Tuple[int, int]): Of the kernels.
        stride (Tuple[int, int]): How far windows are apart.
        padding (Tuple[int, int]): Zeros on either side.
        dilation (Tuple[int, int]): How far what a window sees is apart.
        across (int): The parts of a row of a window that are not neighbours in memory.
        rows (int): Rows of outputs at a time.
    """

    size: tuple[int, int]
    channels: int
    out_size: tuple[int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    across: int
    rows: int


def num_registers(way: type) -> int:
    """How many tables float32 levels are looked up in, in registers; 0 if in memory."""
    num_tables = NUM_TABLES.get(way, 0)
    return num_tables if HAS_AVX512 or (HAS_AVX2 and num_tables <= 2) else 0


def way_of(num_levels: int, is_signed: bool) -> Any:
    """How rows of spike times with so many float32 levels are read."""
    if HAS_PLANES and num_levels == LANES + 1 and not is_signed:
        return ENDED
    ways: Any = ((ONE, LANES), (TWO, 2 * LANES), (FOUR, PERMUTED))
    for way, limit in ways:
        if num_levels <= limit and num_registers(type(way)) > 0:
            return way
    return TABLE
