"""The functions of this backend."""

from typing import Any

import numba

from spikegraph.kernels import openmp
from spikegraph.kernels.cpu.compiled.compilation import HAS_AVX2, HAS_AVX512, cpu_target
from spikegraph.kernels.cpu.compiled.contents import digest_all
from spikegraph.kernels.cpu.contents import digest, is_finite
from spikegraph.kernels.cpu.events import encode_transform, row_peaks, transform
from spikegraph.kernels.cpu.images import convolve, convolve_decode
from spikegraph.kernels.cpu.neurons import (
    decode,
    encode,
    encode_decode,
    encode_rows,
    first_spike,
    look_up,
)
from spikegraph.kernels.cpu.rows import multiply_rows
from spikegraph.kernels.cpu.sorting import sort_edges
from spikegraph.kernels.cpu.sums import (
    earliest,
    late,
    send,
    send_delayed,
    send_spikes,
    sent_size,
)

__all__ = [
    'convolve',
    'convolve_decode',
    'decode',
    'digest',
    'digest_all',
    'earliest',
    'encode',
    'encode_decode',
    'encode_rows',
    'encode_transform',
    'first_spike',
    'info',
    'is_finite',
    'late',
    'look_up',
    'multiply_rows',
    'row_peaks',
    'send',
    'send_delayed',
    'send_spikes',
    'sent_size',
    'sort_edges',
    'transform',
]

if getattr(numba.config, 'DISABLE_JIT', False):
    raise ImportError('NUMBA_DISABLE_JIT is set')


def info(x: Any) -> dict[str, Any]:
    """What :func:`spikegraph.kernels.info` tells."""
    levels = 'avx2' if HAS_AVX2 else 'memory'
    return {
        'path': 'numba',
        'reason': 'float32 and float64 on the CPU; PyTorch does the rest',
        'numba': numba.__version__,
        'cpu': cpu_target.target_context.codegen().magic_tuple()[1],
        'levels': 'avx512' if HAS_AVX512 else levels,
        'threads': 'openmp' if openmp.is_available() else 'pool',
    }
