"""A directory of arrays that layers of a network leave behind."""

from __future__ import annotations

import contextlib
import os
import weakref
from collections.abc import Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Any

import torch

from spikegraph.files import naming, write_file
from spikegraph.running.disk.array import StoredArray
from spikegraph.running.disk.directory import Directory
from spikegraph.running.disk.records import DTYPES, Layout, Record, damaged_chunks


class Storage:
    """Keeps arrays in a directory, so that a run that ended early can go on from those
    it had finished. One process uses a directory at a time.

    Each array is a file of its values, and one of its shape, a CRC-32 of each 4 MiB of
    rows, and what came with it, which appears when the array is finished. Nothing
    counts before that, and nothing that was changed since.

    Args:
        directory (str or os.PathLike): The directory, made if there is none.
        identity (Mapping[str, str]): What the arrays depend on, such as digests of the
            network, the graph and the features.
        resume (bool, optional): Whether to keep the arrays that are there. If not,
            they are deleted; other files never are. (default: :obj:`True`)

    Attributes:
        problems (Dict[str, str]): Why :meth:`open` did not find an array, by its name.
        bytes_written (int): How many bytes of rows were written.
        bytes_read (int): How many bytes of rows were read.
        bytes_checked (int): How many bytes of rows were compared to checksums.

    Raises:
        ValueError: If the directory holds the arrays of another identity, or files of
            others.
        OSError: If the directory cannot be written to, or another process uses it.

    Example:
        >>> import tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> with Storage(folder.name, {'network': 'a1'}) as storage:
        ...     array = storage.create('layer1', (4, 2), torch.uint8)
        ...     array.write(0, torch.tensor([[0, 1], [2, 3]], dtype=torch.uint8))
        ...     array.write(2, torch.tensor([[4, 5], [6, 7]], dtype=torch.uint8))
        ...     array.finish({'scale': 0.5})
        >>> with Storage(folder.name, {'network': 'a1'}) as storage:
        ...     array = storage.open('layer1')
        ...     array.read(torch.tensor([3, 0])), array.extra
        (tensor([[6, 7],
                [0, 1]], dtype=torch.uint8), {'scale': 0.5})
        >>> folder.cleanup()
    """

    def __init__(
        self,
        directory: str | PathLike[str],
        identity: Mapping[str, str],
        *,
        resume: bool = True,
    ) -> None:
        self.directory = Path(directory)
        self.problems: dict[str, str] = {}
        self.bytes_written = self.bytes_read = self.bytes_checked = 0
        self._written: weakref.WeakValueDictionary[str, StoredArray]
        self._written = weakref.WeakValueDictionary()
        self._directory = Directory(self.directory, identity, resume)

    def create(
        self, name: str, shape: Sequence[int], dtype: torch.dtype
    ) -> StoredArray:
        """Makes an array whose rows are to be written, with all the room it needs.
        One of the same name is discarded.

        Args:
            name (str): Its name.
            shape (Sequence[int]): Its shape.
            dtype (torch.dtype): What it holds.

        Returns:
            StoredArray: The array, unfinished.

        Raises:
            ValueError: If it cannot have that name, shape or type.
            OSError: If the disk is full; the message says how much is needed.
        """
        self.check_held()
        shape = tuple(int(size) for size in shape)
        if any(size < 0 for size in shape):
            raise ValueError(f"Expected 'shape' to hold no negative size (got {shape})")
        if dtype not in DTYPES.values():
            raise ValueError(
                f"Expected 'dtype' to be one of {', '.join(DTYPES)} (got {dtype}); "
                'turn the values into one of them'
            )
        self.discard(name)
        layout = Layout(shape, dtype)
        pending = [(0, layout.num_rows)] if layout.num_rows else []
        handle = self._directory.reserve(name, layout.num_bytes)
        checksums = [0] * layout.num_chunks
        return self._add(StoredArray(self, name, layout, checksums, pending, handle))

    def open(self, name: str, *, verify: bool = True) -> StoredArray | None:
        """Finds a finished array.

        Args:
            name (str): Its name.
            verify (bool, optional): Whether to compare all its checksums, for which
                the whole file is read once. (default: :obj:`True`)

        Returns:
            StoredArray, optional: The array; nothing if it was not finished, or is
                damaged, of which :attr:`problems` tells.
        """
        self.check_held()
        self.problems.pop(name, None)
        self.path_of(name)  # A name that no array can have is no problem of one.
        try:
            record = self._record(name)
            handle = self._open_values(name, record.layout)
        except ValueError as error:
            self.problems[name] = str(error)
            return None
        array = StoredArray(self, name, record.layout, [], [], handle)
        ranges = self._damaged(handle, record) if verify else []
        if ranges:
            rows = ', '.join(f'{start}..{stop}' for start, stop in ranges[:8])
            more = ', ...' if len(ranges) > 8 else ''
            self.problems[name] = f'its values were changed in rows {rows}{more}'
            array.close()
            return None
        array.show(record)
        return array

    def discard(self, name: str) -> None:
        """Deletes an array, finished or not, if there is one."""
        self.check_held()
        values, record = self.path_of(name), self._directory.record_of(name)
        with contextlib.suppress(KeyError):
            self._written.pop(name).close()
        for path in (record, values):  # A record never stays without its values.
            with naming(path), contextlib.suppress(FileNotFoundError):
                path.unlink()
                self._directory.sync()

    def damaged(self, name: str) -> list[tuple[int, int]]:
        """Finds the rows of a finished array that were changed or lost.

        Args:
            name (str): Its name.

        Returns:
            List[Tuple[int, int]]: Ranges of rows, each with the first and the one
                behind the last. They are whole chunks, of about 4 MiB.

        Raises:
            ValueError: If it was never finished, or its record is damaged, too.
        """
        self.check_held()
        record = self._repairable(name)
        try:
            with naming(self.path_of(name)):
                handle = os.open(self.path_of(name), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return [(0, record.layout.num_rows)] if record.layout.num_bytes else []
        try:
            return self._damaged(handle, record)
        finally:
            os.close(handle)

    @contextlib.contextmanager
    def repair(self, name: str) -> Iterator[StoredArray]:
        """Lets the rows of a finished array that were damaged be written again. Used
        in a :obj:`with` statement, at whose end the array is finished again. After an
        error or a crash, it is as damaged as before.

        Args:
            name (str): Its name.

        Returns:
            StoredArray: The array. Its :attr:`~StoredArray.pending` are the rows to
                be written.

        Raises:
            ValueError: If it was never finished, its record is damaged, too, or rows
                are missing at the end.
            OSError: If the disk is full.
        """
        record = self._repairable(name)
        pending = self.damaged(name)
        handle = self._directory.reserve(name, record.layout.num_bytes)
        checksums = list(record.checksums)
        array = StoredArray(self, name, record.layout, checksums, pending, handle)
        array.extra = record.extra
        self._add(array)
        try:
            yield array
            if not array.is_finished:
                array.finish()
        finally:
            array.close()

    def names(self) -> list[str]:
        """The names of the arrays that were finished, in the order of the alphabet."""
        return self._directory.names()

    def close(self) -> None:
        """Lets others use the directory. What is unfinished is lost; what is finished
        can still be read. A second time does nothing."""
        for array in list(self._written.values()):
            array.close()
        self._directory.release()

    def __enter__(self) -> Storage:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def check_held(self) -> None:
        """Raises an error once the directory is left to others."""
        self._directory.check_held()

    def path_of(self, name: str) -> Path:
        """The file of an array's values."""
        return self._directory.values_of(name)

    def pack(self, name: str, record: Record) -> bytes:
        """A record, as it is kept in this directory."""
        return record.to_bytes(name, self._directory.digest)

    def unpack(self, name: str, content: bytes) -> Record:
        """What :meth:`pack` packed."""
        return Record.from_bytes(content, name, self._directory.digest)

    def put(self, name: str, content: bytes) -> None:
        """Writes a record, whereby its array is finished."""
        write_file(self._directory.record_of(name), content)
        self._directory.sync()
        self._written.pop(name, None)
        self.problems.pop(name, None)

    def _add(self, array: StoredArray) -> StoredArray:
        self._written[array.name] = array
        return array

    def _record(self, name: str) -> Record:
        path = self._directory.record_of(name)
        try:
            with naming(path):
                content = path.read_bytes()
        except FileNotFoundError:
            writing = name in self._written
            raise ValueError(
                'it was not finished' if writing else 'it is missing'
            ) from None
        return self.unpack(name, content)

    def _repairable(self, name: str) -> Record:
        try:
            return self._record(name)
        except ValueError as error:
            raise ValueError(
                f"Expected '{name}' to be an array that was finished (got a problem: "
                f"{error}); make it anew with 'create'"
            ) from None

    def _open_values(self, name: str, layout: Layout) -> int:
        path = self.path_of(name)
        try:
            with naming(path):
                handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise ValueError('its values are missing') from None
        size = os.fstat(handle).st_size
        if size != layout.num_bytes:
            os.close(handle)
            raise ValueError(
                f'its values have {size} bytes instead of {layout.num_bytes}'
            )
        return handle

    def _damaged(self, handle: int, record: Record) -> list[tuple[int, int]]:
        ranges: list[tuple[int, int]] = []
        self.bytes_checked += record.layout.num_bytes
        for chunk in damaged_chunks(handle, record):
            start, stop = record.layout.rows_of(chunk)
            if ranges and ranges[-1][1] == start:
                start = ranges.pop()[0]
            ranges.append((start, stop))
        return ranges


def check_resume(resume: bool, storage: Any) -> None:
    """Raises ``ValueError`` if there is nothing to be emptied."""
    if storage is None and not resume:
        raise ValueError(
            "Expected 'storage' beside 'resume=False' (got none); name the directory "
            "that is to be emptied, or leave 'resume' out"
        )
