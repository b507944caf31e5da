"""Where the files of a dataset are, and what is wrong with them."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spikegraph.files import locked
from spikegraph.zoo.datasets.pickles import check_pickles
from spikegraph.zoo.datasets.reading import (
    BadFile,
    broken,
    check_counts,
    last_of,
    watching,
    with_remedy,
)

if TYPE_CHECKING:
    from spikegraph.zoo.datasets.entries import DatasetInfo

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
    """Loads a dataset from its files, and downloads them if they are not there.

    Raises:
        ValueError: If a file is not whole or not what it has to be. The message
            names it and says what to do.
        OSError: If a file cannot be read, downloaded or written.
    """
    paths = info.files(root)
    processed = root / info.processed_file
    writes = [path for path in [*paths, processed] if not os.path.exists(path)]
    _check_root(root, to_write=writes)
    _check_release(info, root)
    folders = [processed.parent, paths[0].parent, *paths[0].absolute().parent.parents]
    new_folders = [folder for folder in folders if not folder.exists()]
    if not writes:
        return _load(info, root, [], new_folders)
    root.mkdir(parents=True, exist_ok=True)
    with locked(root):  # Two that start at once do not write the same file.
        missing = [path for path in paths if not os.path.exists(path)]
        return _load(info, root, missing, new_folders)


def _load(
    info: DatasetInfo, root: Path, missing: list[Path], new_folders: list[Path]
) -> Any:
    processed = root / info.processed_file
    is_raw_read = not processed.is_file()
    before = _files_in(processed.parent) if info.processed_file else set()
    raw = {path.parent for path in info.files(root)}
    with watching() as opened:
        try:
            if is_raw_read and not missing:  # A reader does not know what is wrong.
                _check_raw(info, root)
            check_pickles(info, root, is_raw_read)
            with quiet():
                data = info.loader(root)
            if missing:
                _check_raw(info, root)
            if info.num_features > 0:
                path = last_of(opened, raw) if is_raw_read else processed
                check_counts(info, path or processed, data)
            return data
        except BaseException as error:
            new = _files_in(processed.parent) - before if info.processed_file else ()
            for path in [*missing, *new]:  # Half a file would be taken for the whole.
                path.unlink(missing_ok=True)
            _remove(new_folders)
            if isinstance(error, Exception):
                path = last_of(opened, {*raw, processed.parent})
                _explain(info, root, error, missing, path)
            raise


def _check_raw(info: DatasetInfo, root: Path) -> None:
    if info.check_raw is not None:
        info.check_raw(info, root)


def _explain(
    info: DatasetInfo,
    root: Path,
    error: Exception,
    missing: list[Path],
    path: Path | None,
) -> None:
    """Raises what helps more than the error; returns where nothing does."""
    if isinstance(error, BadFile):
        raise with_remedy(info, root, error) from error
    # All that a download raises is an OSError, from aiohttp and urllib too.
    is_disk = getattr(error, 'errno', None) in (errno.ENOSPC, errno.EDQUOT)
    if missing and isinstance(error, OSError) and not is_disk:
        files = '\n'.join(f'  {path}' for path in missing)
        raise FileNotFoundError(
            f"Expected 'root' to hold the files of '{info.name}' (got '{root}'), and "
            f'their download failed: {error}. Missing:\n{files}\nRun this once with a '
            f'network, or copy the files there from another machine, or set '
            f"SPIKEGRAPH_ROOT to a folder that has them. The dataset 'digits' needs "
            f'no files'
        ) from error
    if path is None:
        return
    # Readers of half a file seek to places before its start: an invalid argument.
    if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
        if error.filename is None:
            reason = os.strerror(error.errno)
            raise OSError(error.errno, reason, str(path)) from error
        return
    raise with_remedy(info, root, broken(info, path, error)) from error


def _files_in(folder: Path) -> set[Path]:
    return set(folder.iterdir()) if folder.is_dir() else set()


def _remove(folders: list[Path]) -> None:
    for folder in folders:
        with contextlib.suppress(OSError):  # Some are not empty.
            folder.rmdir()


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
