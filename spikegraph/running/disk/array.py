"""An array on disk, written row by row once and then read by index."""

from __future__ import annotations

import mmap
import os
import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from spikegraph.files import naming
from spikegraph.running.disk.records import Layout, Record, bytes_of

if TYPE_CHECKING:
    from spikegraph.running.disk.storage import Storage


class StoredArray:
    """An array in a file. :class:`Storage` makes and finds them.

    It is written through the file, and read through a shared mapping of it: what is
    in memory of it are pages that the system takes back when it needs them, and the
    rows that :meth:`read` returned.

    Attributes:
        name (str): Its name.
        pending (List[Tuple[int, int]]): The rows that are still to be written, as
            ranges in order.
        extra (Dict[str, Any]): What was stored with it.
    """

    def __init__(
        self,
        storage: Storage,
        name: str,
        layout: Layout,
        checksums: list[int],
        pending: list[tuple[int, int]],
        handle: int,
    ) -> None:
        self.name = name
        self.pending = pending
        self.extra: dict[str, Any] = {}
        self._storage = storage
        self._layout = layout
        self._checksums = checksums
        self._handle: int | None = handle
        self._map: mmap.mmap | None = None
        self._is_finished = False

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""
        return self._layout.shape

    @property
    def dtype(self) -> torch.dtype:
        """What it holds."""
        return self._layout.dtype

    @property
    def is_finished(self) -> bool:
        """Whether it can be read."""
        return self._is_finished

    def write(self, start: int, values: Tensor) -> None:
        """Writes rows, in order: each block begins where the one before ended.

        Args:
            start (int): The first row.
            values (torch.Tensor): The rows, on any device.

        Raises:
            ValueError: If the rows do not come next, or are of another shape or type.
            OSError: If they cannot be written; the same rows can be tried again.

        Shapes:
            - **values:** rows :math:`(R, *)` of an array of shape :math:`(N, *)`, or
              :math:`()` if that is its shape
        """
        handle, layout = self._check_writing(), self._layout
        self._check_values(values)
        count = values.size(0) if layout.shape else 1
        if count == 0:
            return
        first, last = self.pending[0] if self.pending else (layout.num_rows,) * 2
        stop = start + count
        if start != first or stop > last:
            expected = f'rows from {first} to {last}' if self.pending else 'no rows'
            raise ValueError(
                f"Expected {expected} of '{self.name}' to come next (got {start} to "
                f'{stop}); write blocks in order, each row once'
            )
        found: dict[int, int] = {}
        if layout.row_bytes:
            content = bytes_of(values)
            with naming(self._storage.path_of(self.name)):
                self._write(handle, start, stop, content, found)
            self._storage.bytes_written += len(content)
        for chunk, checksum in found.items():
            self._checksums[chunk] = checksum
        self.pending[:1] = [(stop, last)] if stop < last else []

    def finish(self, extra: Mapping[str, Any] | None = None) -> None:
        """Makes sure that all rows are on the disk, and then that they count as such:
        from now on, the array can be read, and is found after a crash.

        Args:
            extra (Mapping[str, Any], optional): Numbers, texts and small tensors to
                store with it, or lists, tuples and dictionaries of them. After a
                repair, :obj:`None` keeps what there was. (default: :obj:`None`)

        Raises:
            ValueError: If rows were not written, or :obj:`extra` cannot be stored.
            OSError: If the disk fails. The array counts as unfinished.
        """
        handle = self._check_writing()
        if self.pending:
            first, last = self.pending[0]
            raise ValueError(
                f"Expected all rows of '{self.name}' to be written before it is "
                f'finished (got none from {first} to {last}); write these, too'
            )
        extra = dict(self.extra if extra is None else extra)
        record = Record(self._layout, tuple(self._checksums), extra)
        content = self._storage.pack(self.name, record)
        try:
            with naming(self._storage.path_of(self.name)):
                os.fsync(handle)
        except OSError:
            self.close()  # What was lost, a second call would not tell.
            raise
        self._storage.put(self.name, content)
        self.show(self._storage.unpack(self.name, content))

    def read(self, rows: Tensor | slice) -> Tensor:
        """Copies rows into memory.

        Args:
            rows (torch.Tensor or slice): Their numbers, each at least 0, or a slice.

        Returns:
            torch.Tensor: The rows, on the CPU.

        Raises:
            ValueError: If the array is not finished, or :obj:`rows` are not rows of it.
            OSError: If its file became shorter since it was opened.

        Shapes:
            - **rows:** :math:`(R)`
            - **output:** rows :math:`(R, *)` of an array of shape :math:`(N, *)`, or
              :math:`()` if that is its shape
        """
        if not self._is_finished:
            raise ValueError(
                f"Expected '{self.name}' to be finished before it is read (got an array "
                f'that is {"written" if self._handle is not None else "closed"}); call '
                "'finish' first"
            )
        where = self._check_rows(rows)
        shape = (self._count(where), *self.shape[1:]) if self.shape else ()
        if self._map is None or 0 in shape:
            return torch.zeros(shape, dtype=self.dtype)  # There is nothing to read.
        layout = self._layout
        if self._map.size() < layout.num_bytes:  # The system would end the process.
            raise OSError(
                f"Expected '{self._storage.path_of(self.name)}' to have "
                f'{layout.num_bytes} bytes (got {self._map.size()}: it was shortened '
                'while in use); open the array again, which tells what is left'
            )
        table = np.frombuffer(self._map, np.uint8, layout.num_bytes)
        table = table.reshape(layout.num_rows, layout.row_bytes)
        if isinstance(where, slice):
            found = table[where].copy()
        else:
            found = table.take(where, axis=0)
        self._storage.bytes_read += found.nbytes
        return torch.from_numpy(found).view(self.dtype).reshape(shape)

    def show(self, record: Record) -> None:
        """Makes a finished array readable. Its file has the right size."""
        assert self._handle is not None
        if self._layout.num_bytes:
            size = self._layout.num_bytes
            self._map = mmap.mmap(self._handle, size, access=mmap.ACCESS_READ)
        self.close()
        self.extra, self._is_finished = record.extra, True

    def close(self) -> None:
        """Ends writing. An array that was not finished is lost."""
        if self._handle is not None:
            handle, self._handle = self._handle, None
            os.close(handle)

    def __del__(self) -> None:
        self.close()

    def __repr__(self) -> str:
        state = 'finished' if self._is_finished else 'unfinished'
        return (
            f'{type(self).__name__}({self.name}, {self.shape}, {self.dtype}, {state})'
        )

    def _write(
        self, handle: int, start: int, stop: int, content: memoryview, found: dict
    ) -> None:
        """Writes rows chunk by chunk, and finds the checksums of these."""
        layout, done = self._layout, 0
        while start < stop:
            chunk = start // layout.chunk_rows
            first, last = layout.rows_of(chunk)
            end = min(stop, last)
            piece = content[done : done + (end - start) * layout.row_bytes]
            before = self._checksums[chunk] if start > first else 0
            found[chunk] = zlib.crc32(piece, before)
            written = 0
            while written < len(piece):
                place = start * layout.row_bytes + written
                written += os.pwrite(handle, piece[written:], place)
            done, start = done + len(piece), end

    def _check_writing(self) -> int:
        self._storage.check_held()
        if self._handle is None:
            state = 'finished' if self._is_finished else 'discarded, or failed'
            raise ValueError(
                f"Expected '{self.name}' to be an array that is being written (got one "
                f"that is {state}); make it anew with 'create'"
            )
        return self._handle

    def _check_values(self, values: Tensor) -> None:
        inner = self.shape[1:]
        fits = values.shape == () if not self.shape else values.dim() == 1 + len(inner)
        if not fits or tuple(values.shape[1:]) != inner or values.dtype != self.dtype:
            shape = f'({", ".join(["R", *map(str, inner)])})' if self.shape else '()'
            raise ValueError(
                f"Expected 'values' of '{self.name}' to be of shape {shape} and "
                f'{self.dtype} (got {tuple(values.shape)} and {values.dtype})'
            )

    def _check_rows(self, rows: Tensor | slice) -> slice | np.ndarray:
        num_rows = self._layout.num_rows
        if isinstance(rows, slice):
            if rows.step is not None and rows.step < 1:
                raise ValueError(
                    f"Expected the step of 'rows' to be at least 1 (got {rows.step}); "
                    'flip what is read'
                )
            if not self.shape and rows != slice(None):
                raise ValueError(
                    f"Expected 'rows' of '{self.name}', which has no dimensions, to be "
                    f"'slice(None)' (got {rows})"
                )
            return slice(*rows.indices(num_rows))
        whole = rows.dtype in (torch.int32, torch.int64)
        if rows.dim() != 1 or not whole or not self.shape:
            raise ValueError(
                "Expected 'rows' to be a slice, or numbers of rows of type torch.int64 "
                f'and shape (R) for an array with dimensions (got {rows.dtype}, '
                f'{tuple(rows.shape)} for shape {self.shape}); masks have '
                "'.nonzero().view(-1)'"
            )
        where = rows.detach().cpu().numpy()
        if where.size and not 0 <= where.min() <= where.max() < num_rows:
            wrong = where.min() if where.min() < 0 else where.max()
            raise ValueError(
                f"Expected 'rows' of '{self.name}' to be from 0 to {num_rows - 1} (got "
                f'{wrong})'
            )
        return where

    def _count(self, where: slice | np.ndarray) -> int:
        if isinstance(where, slice):
            return len(range(where.start, where.stop, where.step))
        return len(where)
