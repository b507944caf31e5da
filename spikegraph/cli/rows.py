"""Outputs of all nodes in files that several processes fill."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spikegraph.cli.processes import Together
from spikegraph.files import Replacement, check_target
from spikegraph.running.distributed import OutputRows

_BLOCK = 1 << 16  # Rows of a table that are written at once.


class RowFiles:
    """A file for each output, with a row for each node: ``.npy``, or ``.parquet`` with
    the number of the node in its first column. Of several outputs, each has its name in
    that of its file. Files appear when all rows of all outputs are there.

    Args:
        path (pathlib.Path): The file.
        is_classes (bool): Whether the number of the largest value of each row is
            written instead of the row.

    Raises:
        ValueError: If it is of another kind.
        OSError: If it cannot be written.
        ImportError: If a table cannot be.
    """

    def __init__(self, path: Path, is_classes: bool) -> None:
        self.path, self.is_classes = path, is_classes
        if path.suffix not in ('.npy', '.parquet'):
            raise ValueError(
                f"Expected '--output' to end in .npy or .parquet (got '{path}'); name "
                'a file of one of these kinds'
            )
        if path.suffix == '.parquet':
            check_pyarrow()
        check_target(path)

    def write(self, outputs: list[OutputRows], together: Together) -> list[Path]:
        """Writes the rows of this process, while the others write theirs.

        Returns:
            List[pathlib.Path]: The files.
        """
        if self.is_classes:
            outputs = [_classes(output) for output in outputs]
        paths = [self._path(output.name, len(outputs)) for output in outputs]
        with Replacement() as replacement, together.tidying(replacement.discard):
            asides = together.first(
                lambda: [
                    _reserve(replacement.reserve(path), output)
                    for path, output in zip(paths, outputs, strict=True)
                ],
                'making the files of results',
            )
            together.all(lambda: _fill(asides, outputs), 'writing results')
            if self.path.suffix == '.parquet':
                together.first(
                    lambda: self._tabulate(asides, outputs), 'writing tables'
                )
            together.first(replacement.finish, 'finishing the files of results')
        return paths

    def _tabulate(self, asides: list[Path], outputs: list[OutputRows]) -> None:
        for aside, output in zip(asides, outputs, strict=True):
            _to_table(aside, output.name, self.is_classes)

    def _path(self, name: str, num: int) -> Path:
        if num == 1:
            return self.path
        word = ''.join(c if c.isalnum() or c in '-_' else '-' for c in name)
        return self.path.with_suffix(f'.{word}{self.path.suffix}')


def check_pyarrow() -> None:
    """Raises ``ImportError``, with the remedy, if pyarrow is missing."""
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "Expected 'pyarrow' to be installed, for Parquet (got none); install it with "
            "pip install 'spikegraph[parquet]', or write a file that ends in .npy"
        ) from error


def _classes(output: OutputRows) -> OutputRows:
    values = output.values
    if values.dim() != 2 or not values.is_floating_point():
        raise ValueError(
            "Expected outputs to have a score for each class, for '--classes' (got "
            f'{values.dtype} of shape {[output.size, *values.shape[1:]]}); leave it out'
        )
    found = values.argmax(dim=1) if values.size(1) > 0 else values.new_zeros(0)
    return OutputRows(output.name, output.size, output.rows, found)


def _reserve(aside: Path, output: OutputRows) -> Path:
    """Gives a file aside room for all rows of an output."""
    values = _array(output.values)
    shape = (output.size, *values.shape[1:])
    np.lib.format.open_memmap(aside, 'w+', values.dtype, shape).flush()
    if hasattr(os, 'posix_fallocate'):
        # A full disk is found here, and not by a signal when rows are written.
        with open(aside, 'r+b') as file:
            os.posix_fallocate(file.fileno(), 0, aside.stat().st_size)
    return aside


def _fill(asides: list[Path], outputs: list[OutputRows]) -> None:
    """Writes rows to their places."""
    for aside, output in zip(asides, outputs, strict=True):
        try:
            array = np.load(aside, mmap_mode='r+', allow_pickle=False)
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f"Expected the folder of '--output' to be that of all processes (found no "
                f"'{aside}' here); name a folder that all machines share"
            ) from error
        if len(output.rows) > 0:
            array[output.rows.numpy()] = _array(output.values)
        with open(aside, 'r+b') as file:
            os.fsync(file.fileno())  # 'array.flush' would stop all other threads.


def _to_table(aside: Path, name: str, is_classes: bool) -> None:
    """Makes a table of an array, block by block, in its place."""
    import pyarrow as pa
    from pyarrow import parquet

    array = np.load(aside, mmap_mode='r', allow_pickle=False)
    rows = array.reshape(len(array), math.prod(array.shape[1:]))
    if is_classes:
        names = [f'{name}_class' if name else 'class']
    else:
        names = [f'{name or "output"}_{i}' for i in range(rows.shape[1])]
    kind = pa.from_numpy_dtype(rows.dtype)
    schema = pa.schema([('node', pa.int64()), *((column, kind) for column in names)])
    scratch = aside.with_name(f'{aside.name}.table')
    try:
        with parquet.ParquetWriter(scratch, schema) as writer:
            for start in range(0, len(rows), _BLOCK):
                block = np.asarray(rows[start : start + _BLOCK])
                nodes = np.arange(start, start + len(block))
                columns = [nodes, *np.ascontiguousarray(block.T)]
                writer.write_table(pa.table(columns, schema=schema))
        os.replace(scratch, aside)
    finally:
        scratch.unlink(missing_ok=True)


def _array(values: Tensor) -> Any:
    values = values.detach().cpu()
    return (values.float() if values.dtype is torch.bfloat16 else values).numpy()
