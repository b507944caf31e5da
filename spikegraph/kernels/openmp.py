"""The threads of PyTorch's OpenMP. They stay awake for a while after an operation, and
would take turns on the same cores with threads of our own.
"""

from __future__ import annotations

import ctypes
import functools
import os
from collections.abc import Callable
from typing import Any

import torch

_PROCESS = os.getpid()
_TASK = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


def is_available() -> bool:
    """Whether PyTorch uses an OpenMP that can be called: GNU's, or one that is
    compatible. Not in a child process, which has none of the threads.
    """
    return os.getpid() == _PROCESS and _entry_point() is not None


def run(task: Callable[[], Any]) -> None:
    """Calls a task, which must not raise, in all of the threads at once: with some of
    them only, the others would end, to be started anew. An interrupt that comes just
    before the task is printed and lost.
    """
    call = _entry_point()
    assert call is not None
    call(_TASK(lambda _: task()), None, torch.get_num_threads(), 0)


def run_native(task: Any, argument: int) -> None:
    """:func:`run` for native code, which is given the argument."""
    call = _entry_point()
    assert call is not None
    call(task, argument, torch.get_num_threads(), 0)


@functools.cache
def _entry_point() -> Callable[..., Any] | None:
    if not torch.backends.openmp.is_available():
        return None
    try:
        found = ctypes.CDLL(None).GOMP_parallel
    except (AttributeError, OSError, TypeError):  # Not there; or on Windows.
        return None
    found.argtypes = (_TASK, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint)
    found.restype = None
    return found
