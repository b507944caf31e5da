"""Which file of a dataset is being read, and what is wrong with it."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Collection, Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch_geometric.data import Data

    from spikegraph.zoo.datasets.entries import DatasetInfo

_LONGEST_REASON = 100
_opened: ContextVar[list[str] | None] = ContextVar('opened', default=None)
_is_watching = False


class BadFile(ValueError):
    """A file of a dataset is not what it has to be.

    Args:
        path (pathlib.Path): The file.
        reason (str): *Expected ... (got ...)*, without the remedy.
    """

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(reason)
        self.path = path


@contextlib.contextmanager
def watching() -> Iterator[list[str]]:
    """Lists all files that are opened meanwhile, by whatever reader, the last one
    at the end. It asks the interpreter, so that no reader has to cooperate."""
    global _is_watching
    if not _is_watching:
        sys.addaudithook(_note)  # It stays; there is no way to remove it.
        _is_watching = True
    opened: list[str] = []
    token = _opened.set(opened)
    try:
        yield opened
    finally:
        _opened.reset(token)


def _note(event: str, args: tuple[Any, ...]) -> None:
    if event == 'open':
        opened = _opened.get()
        if opened is not None and isinstance(args[0], (str, bytes, os.PathLike)):
            opened.append(os.fsdecode(args[0]))


def last_of(opened: list[str], folders: Collection[Path]) -> Path | None:
    """The last opened file that lies in one of these folders."""
    inside = {os.path.abspath(folder) for folder in folders}
    for name in reversed(opened):
        path = os.path.abspath(name)
        if os.path.dirname(path) in inside and not os.path.isdir(path):
            return Path(name)
    return None


def broken(info: DatasetInfo, path: Path, error: Exception) -> BadFile:
    """What is said about a file at which a reader has stopped."""
    size = path.stat().st_size if path.exists() else 0
    return BadFile(
        path,
        f"Expected '{path}' to be a whole file of '{info.name}' (got {size:,} bytes and "
        f'{_reason(error)})',
    )


def _reason(error: Exception) -> str:
    """The kind of error, and its text if it is short: long ones are advice for
    programmers, such as to load files that may run code."""
    kind, text = type(error).__name__, str(error).strip()
    is_short = 0 < len(text) <= _LONGEST_REASON and '\n' not in text
    return f'{kind}: {text}' if is_short and 'allow' not in text else kind


def with_remedy(info: DatasetInfo, root: Path, error: BadFile) -> ValueError:
    """Adds what to do about it."""
    path = error.path
    if info.processed_file and path.parent == (root / info.processed_file).parent:
        remedy = f"Delete '{path}'; it is then made again from the raw files"
    else:
        unit = path if not info.release_file else (root / info.release_file).parent
        remedy = (
            f"Copy the file again from where it came; or delete '{unit}' and run this "
            'with a network, which downloads it'
        )
    return ValueError(f'{error}. {remedy}')


def check_counts(info: DatasetInfo, path: Path, data: Data) -> None:
    """Compares a graph with what is published of it.

    Raises:
        BadFile: If a count differs.
    """
    num_nodes = data.x.size(0)
    if data.y.size(0) != num_nodes:
        raise BadFile(
            path,
            f"Expected '{path}' to hold a class for each of {num_nodes:,} nodes (got "
            f'{data.y.size(0):,})',
        )
    found: dict[str, Any] = {
        'nodes': num_nodes,
        'edges': data.edge_index.size(1),
        'features': data.x.size(1),
        'classes': int(data.y.max()) + 1 if num_nodes > 0 else 0,
    }
    expected: dict[str, Any] = {
        'nodes': info.num_nodes,
        'edges': info.num_edges,
        'features': info.num_features,
        'classes': info.num_classes,
    }
    if info.split_sizes:
        masks = (data.train_mask, data.val_mask, data.test_mask)
        names = ('training nodes', 'validation nodes', 'test nodes')
        found |= {n: int(mask.sum()) for n, mask in zip(names, masks, strict=True)}
        expected |= dict(zip(names, info.split_sizes, strict=True))
    for name, number in expected.items():
        if found[name] != number:
            raise BadFile(
                path,
                f"Expected '{path}' to hold the {number:,} {name} of '{info.name}' (got "
                f'{found[name]:,})',
            )
