"""What the machine has left, and processes of their own, so that one figure does not
bear on the next; with what the library says of memory, all that scripts need."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from spikegraph.measurement.memory import peak_memory, process_peak, resident_memory

__all__ = [
    'available_memory',
    'in_fresh_process',
    'peak_memory',
    'process_peak',
    'resident_memory',
]


def available_memory():
    """The bytes that can be taken before the machine swaps, on Linux."""
    for line in Path('/proc/meminfo').read_text().splitlines():
        name, _, value = line.partition(':')
        if name == 'MemAvailable':
            return 1024 * int(value.split()[0])
    raise RuntimeError("Expected '/proc/meminfo' to hold 'MemAvailable', as on Linux")


def in_fresh_process(function, *arguments):
    """Calls a function of a module in a process that has only just started; one that
    runs out of memory raises BrokenProcessPool."""
    context = multiprocessing.get_context('spawn')
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(function, *arguments).result()
