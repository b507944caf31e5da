"""A range of work shared among threads, for kernels that release the
interpreter lock.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch

MIN_SIZE = 1 << 16  # Fewer values are not worth waking a thread.
_PIECES_PER_THREAD = 4  # Evens out threads that do not get a core at once.
_pools: dict[int, ThreadPoolExecutor] = {}


def share(work: Callable[[int, int], Any], num: int, size: int, unit: int) -> list[Any]:
    """Calls ``work(start, stop)`` on pieces of ``range(num)``, in as many threads
    as PyTorch uses, and returns what the pieces return.

    Args:
        work (Callable): Works on items ``start`` to ``stop``.
        num (int): The number of items.
        size (int): The number of values in all items together.
        unit (int): Pieces start at multiples of this number of items.
    """
    num_threads = torch.get_num_threads()
    if num_threads == 1 or size < MIN_SIZE:
        return [work(0, num)]
    num_pieces = min(_PIECES_PER_THREAD * num_threads, 2 * size // MIN_SIZE)
    num_units = -(-num // unit)
    step = unit * max(1, -(-num_units // num_pieces))
    pieces = iter(range(0, num, step))
    results: list[Any] = []

    def take() -> None:
        for start in pieces:  # Each piece goes to one thread only.
            results.append(work(start, min(start + step, num)))

    futures = _submit(take, min(num_threads, -(-num // step)) - 1)
    try:
        take()
    finally:
        for future in futures:  # What has not started has nothing left to do.
            if not future.cancel():
                future.result()
    return results


def _submit(take: Callable[[], None], num: int) -> list[Future[None]]:
    pool = _pools.get(num)
    if pool is None and num > 0:
        pool = _pools.setdefault(num, ThreadPoolExecutor(num, 'spikegraph'))
    try:
        return [pool.submit(take) for _ in range(num)] if pool is not None else []
    except RuntimeError:  # The interpreter is shutting down.
        return []


if hasattr(os, 'register_at_fork'):  # A child has none of the threads.
    os.register_at_fork(after_in_child=_pools.clear)
