"""Decoding a range of a dense block of memory, as neurons have fired it or as they
would.
"""

import numpy as np

from spikegraph.kernels.cpu.compiled.bisection import search_levels
from spikegraph.kernels.cpu.compiled.compilation import compiled
from spikegraph.kernels.cpu.compiled.neurons import BLOCK
from spikegraph.kernels.cpu.compiled.registers import look_up


@compiled
def decode_runs(
    spike_time, value, table, num_levels, scales, num_channels, length, start, stop
):
    """Decodes values ``start`` to ``stop``, of which ``length`` neighbours share a
    channel, by a table of 256 entries, and returns the largest spike time.
    """
    largest = np.uint8(0)
    run = start // length
    while start < stop:
        scale = scales[run % num_channels if scales.shape[0] > 1 else 0]
        run += 1
        end = min(run * length, stop)
        for low in range(start, end, BLOCK):
            high = min(low + BLOCK, end)
            time, out = spike_time[low:high], value[low:high]
            largest = max(largest, look_up(time, out, table, num_levels))
            if scale != 1:
                for j in range(out.size):
                    out[j] *= scale
        start = end
    return largest


@compiled
def decode_columns(spike_time, value, table, num_levels, scales, start, stop):
    """Decodes rows ``start`` to ``stop`` of as many values as there are scales,
    and returns the largest spike time.
    """
    largest = np.uint8(0)
    for row in range(start, stop):
        end = min((row + 1) * scales.size, spike_time.size)
        for low in range(row * scales.size, end, BLOCK):
            high, column = min(low + BLOCK, end), low - row * scales.size
            time, out = spike_time[low:high], value[low:high]
            scale = scales[column : column + out.size]
            largest = max(largest, look_up(time, out, table, num_levels))
            for j in range(out.size):
                out[j] *= scale[j]
    return largest


@compiled
def encode_decode_runs(
    potential, other, value, limits, table, scales, num_channels, length, start, stop
):
    """Writes what the spikes of values ``start`` to ``stop`` stand for, which are added
    to others if there are any, and of which ``length`` neighbours share a channel.
    """
    given = limits.num_steps, limits.signed, limits.buckets
    run = start // length
    while start < stop:
        channel, end = run % num_channels, min((run + 1) * length, stop)
        thresholds = limits.thresholds[channel if len(limits.thresholds) > 1 else 0]
        scale = scales[channel if scales.size > 1 else 0]
        how = (value[start:end], thresholds, table, scale, *given)
        if other is None:
            search_levels(potential[start:end], None, *how)
        else:
            search_levels(potential[start:end], other[start:end], *how)
        start, run = end, run + 1


@compiled
def encode_decode_columns(potential, other, value, limits, table, scales, start, stop):
    """:func:`encode_decode_runs` for rows ``start`` to ``stop`` of as many values as
    there are scales. The last row may be shorter.
    """
    given = limits.num_steps, limits.signed, limits.buckets
    for row in range(start, stop):
        low, high = row * scales.size, min((row + 1) * scales.size, potential.size)
        scale, out = scales[: high - low], value[low:high]
        how = (out, limits.thresholds[0], table, scale, *given)
        if other is None:
            search_levels(potential[low:high], None, *how)
        else:
            search_levels(potential[low:high], other[low:high], *how)
