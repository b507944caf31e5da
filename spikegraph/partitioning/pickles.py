"""Loads what ``torch.save`` wrote, and runs none of the code in it."""

from __future__ import annotations

import contextlib
import re
from collections import defaultdict
from collections.abc import Iterator
from os import PathLike
from typing import Any

import torch
from torch import serialization
from torch_geometric.data import data as pyg
from torch_geometric.data import storage

# What PyG's data consist of; the library itself names only some of it as safe.
_PARTS_OF_DATA = [
    pyg.DataEdgeAttr,
    pyg.DataTensorAttr,
    storage.AttrType,
    storage.BaseStorage,
    storage.EdgeStorage,
    storage.GlobalStorage,
    storage.NodeStorage,
    set,
]


def load_pickle(path: str | PathLike[str], *, mmap: bool = False) -> Any:
    """What a file of ``torch.save`` holds: tensors, plain values and PyG's data.

    Args:
        path (str or os.PathLike): The file.
        mmap (bool, optional): Whether tensors stay in the file until they are read.
            (default: :obj:`False`)

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it holds something else; why, and nothing more.
    """
    try:
        with _knowing_data():
            return torch.load(path, map_location='cpu', weights_only=True, mmap=mmap)
    except FileNotFoundError:
        raise
    except Exception as error:  # Whatever a damaged file leads to.
        text = ' '.join(str(error).split())
        unknown = re.search(r'GLOBAL (\S+) (?:was not|whose module)', text)
        if unknown is not None:
            text = f'{unknown[1]}, which would run code'
        elif 'WeightsUnpickler error:' in text:
            text = text.split('WeightsUnpickler error:')[1].strip()
        raise ValueError(f'{type(error).__name__}: {text[:120]}') from error


@contextlib.contextmanager
def _knowing_data() -> Iterator[None]:
    """Meanwhile, data of PyG can be loaded; and dictionaries with defaults, which
    PyTorch refuses to fill, are plain ones."""
    before = serialization.get_safe_globals()
    serialization.clear_safe_globals()
    try:
        known = [found for found in before if found is not defaultdict]
        stand_in = (_empty, 'collections.defaultdict')
        serialization.add_safe_globals([*known, *_PARTS_OF_DATA, stand_in])
        yield
    finally:
        serialization.clear_safe_globals()
        serialization.add_safe_globals(before)


def _empty(*args: Any) -> dict[Any, Any]:
    return {}
