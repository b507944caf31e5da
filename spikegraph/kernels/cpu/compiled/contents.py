"""What memory holds, read once, eight bytes at a time: a digest of all its bits, and
whether all of its numbers are finite.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba.core import types

from spikegraph.kernels.cpu.compiled.compilation import compiled, intrinsic, part
from spikegraph.kernels.cpu.compiled.vectors import I8, I64, access

# Odd, without a pattern: they number words, and mix them.
PLACE = np.uint64(0x9E3779B97F4A7C15)
FIRST = np.uint64(0xBF58476D1CE4E5B9)
SECOND = np.uint64(0x94D049BB133111EB)
HALF = np.uint64(32)
# The exponents of all numbers in a word, all ones in what is not finite; one more,
# which then sets the bit of the sign; and that bit.
MASKS = {
    'torch.float16': (0x7C007C007C007C00, 0x0400040004000400, 0x8000800080008000),
    'torch.bfloat16': (0x7F807F807F807F80, 0x0080008000800080, 0x8000800080008000),
    'torch.float32': (0x7F8000007F800000, 0x0080000000800000, 0x8000000080000000),
    'torch.float64': (0x7FF0000000000000, 0x0010000000000000, 0x8000000000000000),
}
MASKS = {name: tuple(map(np.uint64, masks)) for name, masks in MASKS.items()}
SINGLE, DOUBLE = MASKS['torch.float32'], MASKS['torch.float64']


@intrinsic
def _word(typing, address, index):
    """Word ``index`` of eight bytes after an address."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        words = builder.inttoptr(arguments[0], I64.as_pointer())
        return builder.load(builder.gep(words, [arguments[1]]), align=1)

    return types.uint64(types.int64, types.int64), generate


@intrinsic
def _byte(typing, address, index):
    """Byte ``index`` after an address."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        octets = builder.inttoptr(arguments[0], I8.as_pointer())
        return builder.load(builder.gep(octets, [arguments[1]]))

    return types.uint8(types.int64, types.int64), generate


@intrinsic
def _address(typing, x):
    """Where the memory of an array starts."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = access(context, builder, signature, arguments)
        return builder.ptrtoint(data(0), I64)

    return types.int64(x), generate


@compiled
def digest(address, start, stop):
    """The sum over words ``start`` to ``stop`` of what their bits and their place are
    mixed to. No word can change alone without a change of the sum; pieces may be
    added up in any order.
    """
    total = np.uint64(0)
    for i in range(start, stop):
        mixed = (_word(address, i) ^ (np.uint64(i) * PLACE)) * FIRST
        mixed = (mixed ^ (mixed >> HALF)) * SECOND
        total += mixed ^ (mixed >> HALF)
    return total


@compiled
def digest_all(addresses, sizes):
    """What :func:`digest` gives for the bytes of several tensors, one after another."""
    total = np.uint64(0)
    for k in range(len(addresses)):
        address, num = addresses[k], sizes[k] // 8
        found = digest(address, 0, num)
        for i in range(8 * num, sizes[k]):
            found = (found ^ np.uint64(_byte(address, i))) * FIRST
        total = (total ^ (found >> HALF) ^ found) * SECOND + np.uint64(k)
    return total


@compiled
def is_finite(address, exponent, one_more, sign, start, stop):
    """Whether all numbers in words ``start`` to ``stop`` are finite."""
    found = np.uint64(0)
    for i in range(start, stop):
        found |= (_word(address, i) & exponent) + one_more
    return (found & sign) == 0


@part
def are_finite(x, first, last):
    """Whether values ``first`` to ``last`` are finite, float32 or float64."""
    size, num = x.itemsize, (last - first) * x.itemsize // 8
    exponent, one_more, sign = SINGLE if size == 4 else DOUBLE
    address = _address(x) + first * size
    result = is_finite(address, exponent, one_more, sign, 0, num)
    for j in range(first + num * 8 // size, last):
        result &= abs(x[j]) < np.inf
    return result
