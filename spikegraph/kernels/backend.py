"""Which kernels run: Numba's on the CPU where it works, else PyTorch."""

from __future__ import annotations

import functools
import importlib
import warnings
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from spikegraph.kernels import openmp
from spikegraph.kernels.memory import is_plain

FAST_TYPES = (torch.float32, torch.float64)


def info() -> dict[str, Any]:
    """How spikes are fired, sent and decoded on this CPU: ``'path'`` (``'numba'``
    or ``'torch'``), ``'reason'``, ``'num_threads'`` and, with Numba, ``'numba'``
    (its version), ``'cpu'`` (what it compiles for), ``'levels'`` (where float32
    levels are looked up: in the registers of ``'avx512'`` or ``'avx2'``, or in
    ``'memory'``) and ``'threads'`` (PyTorch's ``'openmp'``, or a ``'pool'``).

    Example:
        >>> sorted(info())
        ['cpu', 'levels', 'num_threads', 'numba', 'path', 'reason', 'threads']
    """
    found: dict[str, Any] = {'num_threads': torch.get_num_threads()}
    kernels = cpu_kernels()
    if kernels is None:
        return {'path': 'torch', 'reason': 'Numba cannot be used', **found}
    compilation = kernels.compilation
    codegen = compilation.cpu_target.target_context.codegen()
    levels = 'avx2' if compilation.HAS_AVX2 else 'memory'
    return {
        'path': 'numba',
        'reason': 'float32 and float64 on the CPU; PyTorch does the rest',
        'numba': compilation.numba.__version__,
        'cpu': codegen.magic_tuple()[1],
        'levels': 'avx512' if compilation.HAS_AVX512 else levels,
        'threads': 'openmp' if openmp.is_available() else 'pool',
        **found,
    }


@functools.cache
def cpu_kernels() -> ModuleType | None:
    """The kernels of the CPU; None, with a warning, where Numba does not work."""
    try:
        cpu = importlib.import_module('spikegraph.kernels.cpu')
        if cpu.compilation.numba.config.DISABLE_JIT:
            raise ImportError('NUMBA_DISABLE_JIT is set')
        return cpu
    except Exception as error:  # Whatever a broken installation raises.
        warnings.warn(
            f'Numba cannot be used ({error}): PyTorch does the work of the '
            "kernels, more slowly. Install it with 'pip install numba'",
            RuntimeWarning,
            stacklevel=4,
        )
        return None


def is_fast(x: Tensor, *dtypes: torch.dtype) -> bool:
    """Whether the kernels of the CPU can read a tensor."""
    return (
        is_plain(x)
        and x.dtype in dtypes
        and x.device.type == 'cpu'
        and x.numel() > 0
        and cpu_kernels() is not None
    )


def are_fast(weight: Tensor, bias: Tensor | None) -> bool:
    """Whether the kernels of the CPU can read weights and a bias for each output,
    which need no gradient.
    """
    if bias is not None:
        if bias.shape != weight.shape[:1] or bias.dtype != weight.dtype:
            return False
    fixed = not any(needs_gradient(t) for t in (weight, bias) if t is not None)
    return fixed and is_fast(weight, *FAST_TYPES)


def needs_gradient(x: Tensor) -> bool:
    """Whether PyTorch has to record what is done to a tensor."""
    return x.requires_grad and torch.is_grad_enabled()
