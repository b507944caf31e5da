"""Lists of edges in files: of NumPy, or as text."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from itertools import chain
from os import PathLike
from pathlib import Path
from typing import TextIO

import numpy as np
import torch
from torch import Tensor

from spikegraph.partitioning.arrays import map_array, tensor_of

_TEXTS = ('.csv', '.tsv', '.txt', '.edges')
_COMMENTS = ('#', '%')


def read_edges(
    path: str | PathLike[str], num_nodes: int | None = None, *, read_only: bool = False
) -> Tensor:
    r"""Reads a list of edges:

    * a ``.npy`` of shape :math:`(2, E)` or :math:`(E, 2)`, which stays in the file and
      is read where it is used; if both are 2, it is read as the former;
    * a folder with such an ``edge_index.npy``, or with ``src.npy`` and ``dst.npy`` of
      shape :math:`(E)`, as DGL's users keep them;
    * a ``.csv``, ``.tsv``, ``.txt`` or ``.edges``, or one of them with ``.gz``, with
      two columns between commas, tabs or spaces; lines that start with ``#`` or
      ``%`` and one line of names are left out.

    Args:
        path (str or os.PathLike): The file or folder.
        num_nodes (int, optional): The number of nodes, to check them.
            (default: :obj:`None`)
        read_only (bool, optional): How files are mapped, as in
            :func:`~spikegraph.partitioning.load_partition`. (default: :obj:`False`)

    Returns:
        torch.Tensor: The edge indices :math:`(2, E)`, sources first.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it holds something else than nodes.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder) / 'edges.csv'
        ...     _ = file.write_text('source,target\n0,1\n2,1\n')
        ...     read_edges(file)
        tensor([[0, 2],
                [1, 1]])
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"Expected '{path}' to hold edges (found none)")
    if path.is_dir():
        edges = _of_folder(path, read_only)
    elif path.suffix == '.npy':
        edges = _pairs(path, _array(path, read_only))
    elif path.with_suffix('' if path.suffix == '.gz' else path.suffix).suffix in _TEXTS:
        edges = _of_text(path)
    else:
        raise ValueError(
            f"Expected '{path}' to end in .npy, {', '.join(_TEXTS)} (got "
            f"'{path.suffix}'); save edges as one of them"
        )
    if edges.numel() > 0:
        low, high = int(edges.min()), int(edges.max())
        if low < 0 or (num_nodes is not None and high >= num_nodes):
            limit = '' if num_nodes is None else f' to {num_nodes - 1}'
            raise ValueError(
                f"Expected '{path}' to hold nodes from 0{limit} (got "
                f'{low if low < 0 else high})'
            )
    return edges


def has_edges(folder: Path) -> bool:
    """Whether :func:`read_edges` finds edges in a folder."""
    pair = [folder / 'src.npy', folder / 'dst.npy']
    return (folder / 'edge_index.npy').is_file() or any(p.is_file() for p in pair)


def _of_folder(folder: Path, read_only: bool) -> Tensor:
    path = folder / 'edge_index.npy'
    if path.is_file():
        return _pairs(path, _array(path, read_only))
    ends = []
    for path in (folder / 'src.npy', folder / 'dst.npy'):
        if not path.is_file():
            raise FileNotFoundError(
                f"Expected '{folder}' to have edge_index.npy, or src.npy and dst.npy "
                f'(found no {path.name})'
            )
        ends.append(_column(path, _array(path, read_only)))
    if ends[0].numel() != ends[1].numel():
        raise ValueError(
            f"Expected src.npy and dst.npy in '{folder}' to have one entry per edge "
            f'(got {ends[0].numel():,} and {ends[1].numel():,})'
        )
    return torch.stack([end.long() for end in ends])


def _array(path: Path, read_only: bool) -> np.ndarray:
    array = map_array(path, read_only=read_only)
    if array.dtype.kind not in 'iu':
        raise ValueError(
            f"Expected '{path}' to hold integers, the numbers of nodes (got "
            f"{array.dtype}); save it with '.astype(numpy.int64)'"
        )
    if array.dtype.kind == 'u' or array.dtype.itemsize < 4:
        if array.size > 0 and int(array.max()) >= 2**63:
            raise ValueError(
                f"Expected '{path}' to hold numbers of nodes (got {array.max()})"
            )
        array = array.astype(np.int64)
    return array


def _pairs(path: Path, array: np.ndarray) -> Tensor:
    if array.ndim == 2 and array.shape[0] == 2:
        return tensor_of(array, path.name)
    if array.ndim == 2 and array.shape[1] == 2:
        return tensor_of(array.T, path.name)
    raise ValueError(
        f"Expected '{path}' to have shape [2, E] or [E, 2] (got {list(array.shape)})"
    )


def _column(path: Path, array: np.ndarray) -> Tensor:
    if array.ndim == 1:
        return tensor_of(array, path.name)
    raise ValueError(f"Expected '{path}' to have shape [E] (got {list(array.shape)})")


def _of_text(path: Path) -> Tensor:
    try:
        if path.suffix == '.gz':
            with gzip.open(path, 'rt', encoding='utf-8') as file:
                return _parsed(path, file)
        with open(path, encoding='utf-8') as file:
            return _parsed(path, file)
    except (UnicodeDecodeError, EOFError, gzip.BadGzipFile) as error:
        raise ValueError(
            f"Expected '{path}' to hold text (got: {str(error)[:80]}); it may be "
            'truncated or of another kind'
        ) from error


def _parsed(path: Path, file: TextIO) -> Tensor:
    lines = _lines(file)
    first = next(lines, None)
    if first is not None and not any(character.isdigit() for character in first):
        first = next(lines, None)  # That were names.
    if first is None:
        return torch.zeros(2, 0, dtype=torch.int64)
    try:
        found = np.loadtxt(
            chain([first], lines),
            dtype=np.int64,
            delimiter=',' if ',' in first else None,
            comments=None,
            ndmin=2,
        )
    except UnicodeDecodeError:
        raise
    except ValueError as error:
        raise ValueError(
            f"Expected '{path}' to have two columns of integers, the numbers of nodes "
            f'(got: {str(error).splitlines()[0][:100]})'
        ) from error
    if found.shape[1] != 2:
        raise ValueError(
            f"Expected '{path}' to have two columns, sources and targets (got "
            f'{found.shape[1]} in the line {first.strip()[:40]!r})'
        )
    return torch.from_numpy(np.ascontiguousarray(found.T))


def _lines(file: TextIO) -> Iterator[str]:
    """The lines with something in them that is no comment."""
    for line in file:
        if line.strip() and not line.lstrip().startswith(_COMMENTS):
            yield line
