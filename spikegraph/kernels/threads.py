"""A range of work shared among threads, for kernels that release the
interpreter lock.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
from bisect import bisect_left
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor

from spikegraph.kernels import openmp
from spikegraph.kernels.tape import current_tape

MIN_SIZE = 1 << 18  # Fewer values are not worth a piece of their own.
ADDED, MULTIPLIED = 8, 16  # So many values are looked up and added up, or weights
# multiplied, in the time that one value is fired.
_NATIVE = 8  # So many times smaller pieces are, where they are called as native code.
_PIECES_PER_THREAD = 4  # Evens out threads that do not get a core at once.
_pools: dict[int, ThreadPoolExecutor] = {}


def share(work: Callable[[int, int], Any], num: int, size: int, unit: int) -> list[Any]:
    """Calls ``work(start, stop)`` on pieces of ``range(num)``, in as many threads
    as PyTorch uses, and returns what the pieces return.

    Args:
        work (Callable): Works on items ``start`` to ``stop``.
        num (int): The number of items.
        size (int): The number of values that are fired in all items together, or of
            what takes as long.
        unit (int): Pieces start at multiples of this number of items.
    """
    num_units = -(-num // unit)
    step = unit * max(1, -(-num_units // _num_pieces(size)))
    return share_pieces(work, [*range(0, num, step), num] if num > 0 else [0, 0])


def _num_pieces(size: int) -> int:
    if torch.get_num_threads() == 1:
        return 1
    if current_tape() is not None and openmp.is_available():
        size *= _NATIVE
    return max(1, min(_PIECES_PER_THREAD * torch.get_num_threads(), size // MIN_SIZE))


def share_rows(
    work: Callable[[int, int], Any],
    rowptr: Tensor,
    rows: tuple[int, int],
    width: int,
    num_weights: int = 0,
) -> list[Any]:
    """:func:`share` for rows of a graph: pieces have equal numbers of edges.

    Args:
        work (Callable): Works on rows ``start`` to ``stop``.
        rowptr (torch.Tensor): Where the edges of each row start.
        rows (Tuple[int, int]): The first row, and the one after the last.
        width (int): The values of a row that are added up.
        num_weights (int, optional): The weights that a row of sums is multiplied by.
            (default: :obj:`0`)
    """
    start, stop = rows
    first, last = int(rowptr[start]), int(rowptr[stop])
    added, multiplied = (last - first) * width, (stop - start) * num_weights
    size = added // ADDED + multiplied // MULTIPLIED + (stop - start) * width
    num_pieces = _num_pieces(size)
    starts, edges = rowptr.numpy(), last - first
    cuts = {
        bisect_left(starts, first + edges * k // num_pieces, start, stop)
        for k in range(1, num_pieces)
    }
    return share_pieces(work, sorted({start, *cuts, stop}))


def share_pieces(work: Callable[[int, int], Any], bounds: list[int]) -> list[Any]:
    """Calls ``work`` on the range between each two bounds, in as many threads as
    PyTorch uses, and returns what the calls return.
    """
    tape = current_tape()
    if tape is not None:
        return tape.launch(work, bounds, _run, _bind)
    return _run(work, bounds)


def _bind(work: Any, bounds: list[int]) -> Callable[[], list[Any]] | None:
    """The pieces of a kernel of Numba, to be called again and again; None where there is
    none, or no OpenMP to share them.
    """
    kernel = getattr(work, 'func', None)
    if not hasattr(kernel, 'overloads') or work.keywords:
        return None
    if len(bounds) > 2 and not openmp.is_available():
        return None
    from spikegraph.kernels.cpu import native  # Numba is there.

    return native.bind(kernel, work.args, bounds)


def _run(work: Callable[[int, int], Any], bounds: list[int]) -> list[Any]:
    num_threads = min(torch.get_num_threads(), len(bounds) - 1)
    if num_threads <= 1:
        return [work(*piece) for piece in itertools.pairwise(bounds)]
    bound = _bind(work, bounds)
    if bound is not None:
        with contextlib.suppress(RuntimeError):  # What raises says why below.
            return bound()
    pieces = itertools.pairwise(bounds)
    results: list[Any] = []
    errors: list[BaseException] = []
    done: set[int] = set()
    lock = threading.Lock()

    def take() -> None:
        try:
            while not errors:
                with lock:  # Each piece goes to one thread only.
                    piece = next(pieces, None)
                if piece is None:
                    return
                results.append(work(*piece))
        except BaseException as error:  # To be raised where all of it was asked for.
            errors.append(error)
        finally:
            done.add(threading.get_ident())

    if openmp.is_available():
        openmp.run(take)
        if threading.get_ident() not in done:  # It was interrupted before it began.
            raise KeyboardInterrupt
    else:
        futures = _submit(take, num_threads - 1)
        take()
        for future in futures:  # What has not started has nothing left to do.
            if not future.cancel():
                future.result()
    if errors:
        raise errors[0]
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
