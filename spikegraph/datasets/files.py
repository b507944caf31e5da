"""Where the files of a dataset are, and what is wrong with them."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spikegraph.datasets.entries import DatasetInfo

_NOISE = ('Processing...\n', 'Done!\n')


def default_root() -> Path:
    r"""Returns the folder that holds the datasets.

    Returns:
        pathlib.Path: The environment variable :obj:`SPIKEGRAPH_ROOT`, or else
        :obj:`spikegraph` in the user's cache folder.
    """
    root = os.environ.get('SPIKEGRAPH_ROOT')
    if root:
        return Path(root).expanduser()
    cache = os.environ.get('XDG_CACHE_HOME')
    return (Path(cache) if cache else Path.home() / '.cache') / 'spikegraph'


def load_files(info: DatasetInfo, root: Path) -> Any:
    """Loads a dataset from its files, and downloads them if they are not there."""
    paths = info.files(root)
    missing = [path for path in paths if not os.path.exists(path)]
    processed = root / info.processed_file
    _check_root(root, to_write=[p for p in [*missing, processed] if not p.exists()])
    folders = [paths[0].parent, *paths[0].absolute().parent.parents]
    new_folders = [folder for folder in folders if not folder.exists()]
    _check_release(info, root)
    try:
        with quiet():
            return info.loader(root)
    except BaseException as error:
        for path in missing:  # Half a file would be taken for the whole next time.
            path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # Where one is not empty, stop.
            for folder in new_folders:
                folder.rmdir()
        # All that a download raises is an OSError, from aiohttp and urllib too.
        if not missing or not isinstance(error, OSError):
            raise
        files = '\n'.join(f'  {path}' for path in missing)
        raise FileNotFoundError(
            f"Expected 'root' to hold the files of '{info.name}' (got '{root}'), and "
            f'their download failed: {error}. Missing:\n{files}\nRun this once with a '
            f'network, or copy the files there from another machine, or set '
            f"SPIKEGRAPH_ROOT to a folder that has them. The dataset 'digits' needs "
            f'no files'
        ) from error


def _check_root(root: Path, *, to_write: list[Path]) -> None:
    existing = _existing(root)
    if not os.path.isdir(existing):
        raise NotADirectoryError(
            f"Expected 'root' to be a folder (got '{root}'; '{existing}' is a file)"
        )
    if not os.access(existing, os.R_OK | os.X_OK):
        raise PermissionError(
            f"Expected 'root' to be readable (got '{root}'). Change the permissions "
            f"of '{existing}' or pass another 'root'"
        )
    for path in to_write:
        existing = _existing(path.parent)
        if not os.access(existing, os.W_OK | os.X_OK):
            raise PermissionError(
                f"Expected 'root' to be writable (got '{root}'), because '{path}' has "
                f"to be written. Change the permissions of '{existing}' or copy the "
                f"files to another 'root'"
            )


def _check_release(info: DatasetInfo, root: Path) -> None:
    """ogb would ask on standard input whether to delete the folder."""
    file = root / info.release_file
    if info.release_file and file.parent.exists() and not file.exists():
        raise FileNotFoundError(
            f"Expected '{file.parent}' to hold the version of its files, "
            f"'{file.name}' (got no such file). If they are of that version, create an "
            f'empty one; else delete the folder, and run this once with a network'
        )


def _existing(path: Path) -> Path:
    return next(p for p in [path, *path.absolute().parents] if os.path.exists(p))


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps PyG's 'Processing...' and 'Done!' from stderr, and nothing else."""
    stderr = io.StringIO()
    try:
        with contextlib.redirect_stderr(stderr):
            yield
    finally:
        lines = stderr.getvalue().splitlines(keepends=True)
        sys.stderr.writelines(x for x in lines if x not in _NOISE)
