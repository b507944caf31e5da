"""Outputs in files, written row by row."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable
from os import PathLike
from pathlib import Path

from torch import Tensor

from spikegraph.files import naming
from spikegraph.partitioning.arrays import map_tensor, write_header


def write_rows(
    path: str | PathLike[str], size: int, like: Tensor, blocks: Iterable[Tensor]
) -> Tensor:
    """Writes rows to an ``.npy`` file, aside, which is then renamed.

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
    target = Path(os.path.realpath(path))
    aside = target.with_name(f'.{secrets.token_hex(8)}.part')
    with naming(path):
        try:
            with open(aside, 'wb') as file:
                write_header(file, like, size)
                for block in blocks:
                    file.write(block.contiguous().numpy().tobytes())
                file.flush()
                os.fsync(file.fileno())
            os.replace(aside, target)
        finally:
            aside.unlink(missing_ok=True)
    dtype = str(like.dtype).removeprefix('torch.')
    return map_tensor(target, (size, *like.shape[1:]), dtype, read_only=True)


def check_output(path: str | PathLike[str]) -> None:
    """Raises ``ValueError`` if a file is not called ``.npy``."""
    if Path(path).suffix != '.npy':
        raise ValueError(f"Expected 'output' to be an .npy file (got '{path}')")
