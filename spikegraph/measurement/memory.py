"""How much memory something takes at its peak.

Linux keeps the largest resident set of a process (VmHWM) and sets it back when
asked to (/proc/self/clear_refs), so that nothing an operation takes in between is
missed, as sampling would. Unlike ru_maxrss it starts anew in a child. What was
freed but kept is returned to the system first, or else it would hide as much.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch

from spikegraph.kernels import empty_cache

_T = TypeVar('_T')
_STATUS, _CLEAR = Path('/proc/self/status'), Path('/proc/self/clear_refs')
_RESET_PEAK = '5'

_highest = 0  # Of this process, before VmHWM was last set back.


def peak_memory(
    operation: Callable[[], _T], device: torch.device | str = 'cpu'
) -> tuple[int, _T]:
    """Calls an operation and tells by how much memory grows at its peak.

    What is held before does not count; what the operation returns does. On the CPU it
    is the resident memory of the whole process, in pages: other threads are seen, too,
    and less than a megabyte says little. So are kernels that are compiled and caches
    that are filled: call the operation before if these should not count.

    Args:
        operation (Callable): What to call, without arguments.
        device (torch.device or str, optional): Whose memory: :obj:`"cpu"`, or a CUDA
            device, of which PyTorch's own allocations are counted.
            (default: :obj:`"cpu"`)

    Returns:
        Tuple[int, Any]: The bytes at the peak, on top of what was held before, and
        what the operation returned.

    Raises:
        NotImplementedError: If the system does not tell, as macOS and Windows, or the
            device is of another type. The operation is not called.
    """
    device = torch.device(device)
    if device.type == 'cuda':
        return _peak_on_gpu(operation, device)
    if device.type != 'cpu':
        raise NotImplementedError(
            f"Expected 'device' to be a CPU or CUDA device (got '{device}'); move the "
            'model and its inputs to one'
        )
    global _highest
    gc.collect()
    _return_freed_memory()
    highest = process_peak()
    try:
        _CLEAR.write_text(_RESET_PEAK)
    except OSError as error:
        raise _unavailable(f"'{_CLEAR}' cannot be written") from error
    _highest = highest
    before = resident_memory()
    result = operation()
    return max(0, _status('VmHWM') - before), result


def _peak_on_gpu(operation: Callable[[], _T], device: torch.device) -> tuple[int, _T]:
    gc.collect()
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    result = operation()
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device) - before, result


def resident_memory() -> int:
    """The bytes this process holds.

    Raises:
        NotImplementedError: As :func:`peak_memory`.
    """
    return _status('VmRSS')


def process_peak() -> int:
    """The bytes this process has held at most so far, all it has loaded included.

    Raises:
        NotImplementedError: As :func:`peak_memory`.
    """
    return max(_highest, _status('VmHWM'))


def _return_freed_memory() -> None:
    empty_cache()
    with contextlib.suppress(AttributeError, OSError, TypeError):  # No glibc.
        ctypes.CDLL(None).malloc_trim(0)


def _status(field: str) -> int:
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError as error:
        raise _unavailable(f"'{_STATUS}' cannot be read") from error
    for line in lines:
        name, _, value = line.partition(':')
        if name == field:
            return 1024 * int(value.split()[0])
    raise _unavailable(f"'{_STATUS}' has no '{field}'")


def _unavailable(reason: str) -> NotImplementedError:
    return NotImplementedError(
        f'Cannot measure the memory of this process ({reason}). Run on Linux, outside '
        'a sandbox that hides /proc, or pass a CUDA device'
    )
