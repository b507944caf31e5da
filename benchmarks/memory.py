"""How much memory something takes at its peak, on Linux.

The kernel keeps the largest resident set of a process (VmHWM) and sets it back when
asked to (/proc/self/clear_refs), so that nothing an operation takes in between is
missed, as sampling would. Unlike ru_maxrss it starts anew in a child. What was
freed but kept is returned to the system first, or else it would hide as much.
"""

import ctypes
import gc
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

_highest = 0  # Of this process, before VmHWM was last set back.


def peak_memory(operation):
    """The bytes by which memory grows while an operation runs and its result is
    held, at their peak; and the result."""
    global _highest
    gc.collect()
    libc = ctypes.CDLL(None)
    if hasattr(libc, 'malloc_trim'):  # Of glibc.
        libc.malloc_trim(0)
    _highest = process_peak()
    Path('/proc/self/clear_refs').write_text('5')
    before = resident_memory()
    result = operation()
    return _bytes('/proc/self/status', 'VmHWM') - before, result


def resident_memory():
    """The bytes this process holds."""
    return _bytes('/proc/self/status', 'VmRSS')


def process_peak():
    """The bytes this process has held at most so far, all it has loaded included."""
    return max(_highest, _bytes('/proc/self/status', 'VmHWM'))


def available_memory():
    """The bytes that can be taken before the machine swaps."""
    return _bytes('/proc/meminfo', 'MemAvailable')


def _bytes(path, field):
    for line in Path(path).read_text().splitlines():
        name, _, value = line.partition(':')
        if name == field:
            return 1024 * int(value.split()[0])
    raise RuntimeError(f"Expected '{path}' to hold '{field}', as on Linux")


def in_fresh_process(function, *arguments):
    """Calls a function of a module in a process that has only just started; one that
    runs out of memory raises BrokenProcessPool."""
    context = multiprocessing.get_context('spawn')
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(function, *arguments).result()
