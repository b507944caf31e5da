"""Arrays in files: written block by block, read as tensors that lie in the file."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from numpy.lib import format as npy
from torch import Tensor

BLOCK_BYTES = 1 << 24  # What is in memory of an array that is written.
# What NumPy does not know, and as what it is kept.
_KEPT_AS = {
    torch.bfloat16: torch.int16,
    torch.float8_e4m3fn: torch.uint8,
    torch.float8_e5m2: torch.uint8,
}


def tensor_of(value: Any, name: str) -> Tensor:
    """An array as a tensor that shares its memory; it may be read-only, and then is
    not to be written to.

    Raises:
        ValueError: If it is none, or of a type that tensors do not have.
    """
    if isinstance(value, Tensor):
        return value
    if not isinstance(value, np.ndarray):
        raise ValueError(
            f"Expected '{name}' to be a tensor or an array (got {type(value).__name__})"
        )
    if not value.dtype.isnative:
        value = value.astype(value.dtype.newbyteorder('='))
    if any(stride < 0 for stride in value.strides):
        value = value.copy()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings('ignore', 'The given NumPy array is not writable')
            return torch.from_numpy(value)
    except TypeError:
        raise ValueError(
            f"Expected '{name}' to hold numbers (got {value.dtype})"
        ) from None


def array_of(value: Tensor) -> np.ndarray:
    """A tensor as an array of the type in which it is kept in a file."""
    value = value.detach().cpu().resolve_conj().resolve_neg()
    return value.view(_KEPT_AS.get(value.dtype, value.dtype)).numpy()


def name_of(dtype: torch.dtype) -> str:
    """The name of a type of numbers, such as ``float32``."""
    return str(dtype).removeprefix('torch.')


def blocks_of(value: Tensor) -> Iterator[tuple[slice, np.ndarray]]:
    """The rows of a tensor, so many at once that they fit into a block."""
    row_bytes = max(1, value[:1].numel() * value.element_size())
    size = max(1, BLOCK_BYTES // row_bytes)
    for start in range(0, value.size(0), size):
        rows = slice(start, min(start + size, value.size(0)))
        yield rows, array_of(value[rows])


def write_header(file: BinaryIO, value: Tensor, num_rows: int | None = None) -> None:
    """Writes what comes before the numbers of an array that is like a tensor, with
    another number of rows if one is given.
    """
    shape = tuple(value.shape)
    if num_rows is not None:
        shape = (num_rows, *shape[1:])
    kept = torch.empty(0, dtype=_KEPT_AS.get(value.dtype, value.dtype)).numpy()
    header = {
        'descr': npy.dtype_to_descr(kept.dtype),
        'fortran_order': False,
        'shape': shape,
    }
    npy.write_array_header_1_0(file, header)


def write_array(path: Path, value: Tensor) -> None:
    """Writes a tensor, block by block."""
    with open(path, 'wb') as file:
        write_header(file, value)
        if value.dim() == 0:
            file.write(array_of(value).tobytes())
            return
        for _, block in blocks_of(value):
            file.write(block.tobytes())


def map_array(path: str | PathLike[str], *, read_only: bool = False) -> np.ndarray:
    """An array that lies in a file.

    Args:
        path (str or os.PathLike): The file.
        read_only (bool, optional): Whether writing to it ends the process; else what
            is written stays in memory. Systems count only the latter kind among what
            a process may allocate. (default: :obj:`False`)

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it holds something else.
    """
    if type(read_only) is not bool:
        raise ValueError(f"Expected 'read_only' to be a bool (got {read_only!r})")
    try:
        found = np.load(path, mmap_mode='r' if read_only else 'c', allow_pickle=False)
    except Exception as error:  # Headers are code to NumPy, which fails in many ways.
        if isinstance(error, OSError) and error.errno is not None:  # Of the system.
            raise
        raise ValueError(
            f"Expected '{path}' to hold an array as 'numpy.save' writes it (got: "
            f'{_short(error)}); it may be truncated, of Python objects or of another '
            'kind'
        ) from error
    if not isinstance(found, np.ndarray):
        raise ValueError(
            f"Expected '{path}' to hold one array as 'numpy.save' writes it (got "
            f'{type(found).__name__}); save it again as .npy'
        )
    return found


def map_tensor(
    path: Path, shape: tuple[int, ...], dtype: str, *, read_only: bool = False
) -> Tensor:
    """A tensor that lies in a file.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it is of another shape or type.
    """
    array = map_array(path, read_only=read_only)
    wanted = getattr(torch, dtype, None)
    if not isinstance(wanted, torch.dtype):
        raise ValueError(f"Expected a type of numbers of torch (got '{dtype}')")
    kept = torch.empty(0, dtype=_KEPT_AS.get(wanted, wanted)).numpy().dtype
    if array.shape != tuple(shape) or array.dtype != kept:
        raise ValueError(
            f"Expected '{path}' to have shape {list(shape)} and hold {kept} (got "
            f'{list(array.shape)} and {array.dtype}); it is of another graph or was '
            'edited: copy the folder again, or write it again'
        )
    return tensor_of(array, path.name).view(wanted)


def _short(error: BaseException) -> str:
    text = ' '.join(str(error).split()) or type(error).__name__
    return text if len(text) <= 120 else f'{text[:120]} ...'
