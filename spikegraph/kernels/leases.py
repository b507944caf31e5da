"""Memory that is used again when the last tensor in it is gone."""

from __future__ import annotations

import numpy as np

LINE = 64  # Bytes of a line of the cache, where tensors begin.


class Lease:
    """A piece of memory, new or of those that are kept, to which it returns.

    A block belongs to whoever takes it out of the dictionary, in one step, so that
    threads, finalizers and forked processes need no lock.

    Args:
        size (int): Bytes.
        kept (Dict[int, numpy.ndarray]): Memory that waits, by identity, the longest
            kept first.
        most (int, optional): So many bytes wait, at most. (default: :obj:`None`)

    Attributes:
        memory (numpy.ndarray): The memory; it may be larger.
    """

    def __init__(
        self, size: int, kept: dict[int, np.ndarray], most: int | None = None
    ) -> None:
        waiting = kept.copy().values()
        fitting = [m for m in waiting if size <= m.size <= 2 * size]
        taken = (kept.pop(id(m), None) for m in sorted(fitting, key=len))
        found = next((m for m in taken if m is not None), None)
        if found is None:
            found = np.empty(size + LINE, np.uint8)
            found = found[-found.ctypes.data % LINE :][:size]
        self.memory, self._kept, self._most = found, kept, most
        self.__array_interface__ = found.__array_interface__

    def __del__(self) -> None:
        kept, most = self._kept, self._most
        if most is None:
            kept[id(self.memory)] = self.memory
            return
        if self.memory.size > most:
            return
        kept[id(self.memory)] = self.memory
        waiting = kept.copy()
        excess = sum(m.size for m in waiting.values()) - most
        for key, memory in waiting.items():
            if excess <= 0:
                break
            kept.pop(key, None)
            excess -= memory.size
