"""How kernels are compiled, and for what."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
from numba import extending
from numba.core.registry import cpu_target

FEATURES = cpu_target.target_context.codegen().magic_tuple()[2].split(',')
HAS_AVX512 = '+avx512f' in FEATURES and '+avx512bw' in FEATURES
HAS_AVX2 = '+avx2' in FEATURES
_FOLDER = Path(__file__).parent
_SOURCES = hashlib.sha256(
    b''.join(
        file.read_bytes()
        for file in [*sorted(_FOLDER.glob('*.py')), _FOLDER.parents[1] / 'csr.py']
    )
).hexdigest()


def compiled(function: Callable[..., Any]) -> Any:
    """Compiles on first use, kept on disk where a folder can be written, for as long
    as no file of this folder changes; the interpreter lock is released, so that
    threads share the work.
    """
    try:
        kernel = numba.njit(cache=True, nogil=True)(function)
    except RuntimeError:  # No folder for the cache.
        return numba.njit(nogil=True)(function)
    file = getattr(getattr(kernel, '_cache', None), '_cache_file', None)
    if file is not None:  # Numba looks at the file of the function only, and that
        file._version += _SOURCES  # after it has read the types of arguments.
    return kernel


# Generates LLVM's language where kernels call it.
intrinsic: Any = extending.intrinsic
# Compiles as a part of the kernels that call it, which is sooner done.
part: Any = extending.register_jitable


def chosen_by_type(choose: Callable[..., Any]) -> Any:
    """Compiles another function instead, which ``choose`` returns for the types of
    the arguments.
    """

    def register(function: Callable[..., Any]) -> Any:
        extending.overload(function, strict=False)(choose)
        return function

    return register
