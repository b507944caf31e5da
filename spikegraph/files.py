"""Writes files aside and then renames them, so that none is ever half written."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from types import TracebackType


def write_file(path: str | PathLike[str], content: bytes) -> None:
    """Writes a file as a whole or not at all: aside, in the same folder, which is
    then renamed. Links are followed, an existing file keeps its mode, and a new one
    gets the usual mode.

    Args:
        path (str or os.PathLike): The file.
        content (bytes): What it is to hold.

    Raises:
        OSError: If the file cannot be written, with its name. What was there
            before is still there.
    """
    with Replacement() as replacement:
        replacement.add(path, content)


def check_target(path: str | PathLike[str], *, streams: bool = False) -> None:
    """Finds out whether a file could be written, and leaves everything as it is.

    Args:
        path (str or os.PathLike): The file.
        streams (bool, optional): Whether it may be a device or a pipe as well.
            (default: :obj:`False`)

    Raises:
        OSError: If it could not be written, with its name.
    """
    if streams and is_stream(path):
        return
    target = _target(path)
    with naming(path):
        handle, aside = _open_aside(target)
        os.close(handle)
        os.unlink(aside)


def is_stream(path: str | PathLike[str]) -> bool:
    """Whether a path is that of a character device, a pipe or a socket, which is
    written to and never replaced."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    return stat.S_ISCHR(mode) or stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


class Replacement:
    """Several files that are replaced at once, by one process at a time. Used in a
    :obj:`with` statement, at the end of which they appear; after an error, none does.
    """

    def __init__(self) -> None:
        self._asides: dict[Path, str] = {}

    def add(self, path: str | PathLike[str], content: bytes) -> None:
        """Writes a file aside.

        Raises:
            OSError: If that fails; the others are replaced nevertheless.
        """
        target = _target(path)
        with naming(path):
            handle, aside = _open_aside(target)
            try:
                with open(handle, 'wb') as file:
                    file.write(content)
                    file.flush()
                    with contextlib.suppress(OSError):  # Not every system can.
                        os.fsync(file.fileno())
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(aside)
                raise
        self._asides[target] = aside

    def __enter__(self) -> Replacement:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if kind is None and self._asides:
                with locked(next(iter(self._asides)).parent):
                    while self._asides:
                        target = next(iter(self._asides))
                        with naming(target):
                            os.replace(self._asides[target], target)
                        del self._asides[target]
        finally:
            for aside in self._asides.values():
                with contextlib.suppress(OSError):
                    os.unlink(aside)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Waits until no other process is in this statement with the same folder, where
    the system has such locks."""
    try:
        import fcntl

        handle = os.open(folder, os.O_RDONLY)
    except (ImportError, OSError):
        yield
        return
    try:
        with contextlib.suppress(OSError):  # Some network drives have no locks.
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)  # Unlocks it, too.


@contextlib.contextmanager
def naming(path: str | PathLike[str]) -> Iterator[None]:
    """Errors of the system name this file, not one that the user never heard of."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, os.strerror(error.errno), str(path)) from error


def _target(path: str | PathLike[str]) -> Path:
    """What a path leads to, if that is a regular file or nothing yet."""
    if not str(path):
        raise ValueError("Expected a file name (got '')")
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return Path(os.path.realpath(path))
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(
            f"Expected '{path}' to be a file (got a folder); name a file in it"
        )
    if not stat.S_ISREG(mode):
        raise OSError(
            f"Expected '{path}' to be a file (got a device, pipe or socket, which "
            'stays as it is); name another file'
        )
    if not os.access(path, os.W_OK):
        raise PermissionError(
            f"Expected '{path}' to be writable (got a file that is read-only); change "
            'its permissions or name another file'
        )
    return Path(os.path.realpath(path))


def _open_aside(target: Path) -> tuple[int, str]:
    """A new file beside the target, with the mode and the owner it is to have."""
    aside = str(target.parent / f'.{secrets.token_hex(8)}.part')
    handle = os.open(aside, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    with contextlib.suppress(OSError):
        found = os.stat(target)
        with contextlib.suppress(OSError):  # That only a superuser may do.
            os.chown(aside, found.st_uid, found.st_gid)
        os.chmod(aside, stat.S_IMODE(found.st_mode))
    return handle, aside
