"""Outputs in files, written row by row."""

from __future__ import annotations

from collections.abc import Iterable
from os import PathLike
from pathlib import Path

from torch import Tensor

from spikegraph.files import Replacement, check_target, naming
from spikegraph.partitioning.arrays import array_of, map_tensor, name_of, write_header


def write_rows(
    path: str | PathLike[str], size: int, like: Tensor, blocks: Iterable[Tensor]
) -> Tensor:
    """Writes rows to an ``.npy`` file, which is there when it is complete.

    Args:
        path (str or os.PathLike): The file.
        size (int): How many rows there are.
        like (torch.Tensor): A tensor of their width and type.
        blocks (Iterable[torch.Tensor]): The rows, in order.

    Returns:
        torch.Tensor: The rows, which are read from the file where they are used.

    Raises:
        OSError: If it cannot be written, with its name.
    """
    with Replacement() as replacement:
        aside = replacement.reserve(path)
        with naming(path), open(aside, 'wb') as file:
            write_header(file, like, size)
            for block in blocks:
                file.write(array_of(block).tobytes())
    shape = size, *like.shape[1:]
    return map_tensor(Path(path), shape, name_of(like.dtype), read_only=True)


def check_output(path: str | PathLike[str]) -> None:
    """Finds out whether outputs can be written to a file.

    Raises:
        ValueError: If it is not called ``.npy``.
        OSError: If it could not be written, with its name.
    """
    if Path(path).suffix != '.npy':
        raise ValueError(f"Expected 'output' to be an .npy file (got '{path}')")
    check_target(path)
