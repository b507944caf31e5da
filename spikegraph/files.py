"""Writes files and folders aside and then renames them: none is ever half written."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
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
        self._reserved: list[str] = []

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

    def reserve(self, path: str | PathLike[str]) -> Path:
        """A new, empty file aside, which whoever likes fills until the end.

        Raises:
            OSError: If it cannot be made.
        """
        target = _target(path)
        with naming(path):
            handle, aside = _open_aside(target)
            os.close(handle)
        self._asides[target] = aside
        self._reserved.append(aside)
        return Path(aside)

    def discard(self) -> None:
        """Removes what lies aside: nothing is replaced."""
        for aside in self._asides.values():
            with contextlib.suppress(OSError):
                os.unlink(aside)
        self._asides.clear()

    def __enter__(self) -> Replacement:
        return self

    def finish(self) -> None:
        """Gives all files their names."""
        for aside in self._reserved:
            with contextlib.suppress(OSError):  # Not every system can.
                _flush(Path(aside))
        self._reserved.clear()
        if not self._asides:
            return
        with locked(next(iter(self._asides)).parent):
            while self._asides:
                target = next(iter(self._asides))
                with naming(target):
                    os.replace(self._asides[target], target)
                del self._asides[target]

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self.finish()
        finally:
            self.discard()


@contextlib.contextmanager
def reading(path: str | PathLike[str], what: str) -> Iterator[None]:
    """Meanwhile, whatever a damaged file leads to becomes an error that names it.

    Args:
        path (str or os.PathLike): The file.
        what (str): What it is expected to hold.

    Raises:
        OSError: If it cannot be read, with its name.
        ValueError: If it holds something else.
    """
    try:
        yield
    except Exception as error:  # Readers of all kinds of files raise nearly anything.
        if isinstance(error, OSError) and error.errno is not None:
            raise OSError(error.errno, os.strerror(error.errno), str(path)) from error
        if isinstance(error, ImportError) or f"'{path}'" in str(error):
            raise
        reason = ' '.join(f'{type(error).__name__}: {error}'.split())[:200]
        raise ValueError(
            f"Expected '{path}' to hold {what} (got {reason}); it may be damaged or of "
            'another kind'
        ) from error


@contextlib.contextmanager
def replaced_folder(
    path: str | PathLike[str], is_own: Callable[[Path], bool]
) -> Iterator[Path]:
    """A folder that is written as a whole or not at all: aside, in the same parent,
    which is renamed at the end. After an error, what was there before is still there.
    Whoever reads the old one meanwhile goes on to do so.

    Args:
        path (str or os.PathLike): The folder. Parents that are missing are made.
        is_own (Callable): Whether a folder that is there, and not empty, may be
            replaced.

    Raises:
        FileExistsError: If there is something else.
        OSError: If it cannot be written, with its name.
    """
    check_folder(path, is_own)
    target = Path(os.path.realpath(path))
    with naming(path):
        target.parent.mkdir(parents=True, exist_ok=True)
        aside = target.parent / f'.{secrets.token_hex(8)}.part'
        aside.mkdir()
    try:
        yield aside
        for file in aside.rglob('*'):
            with contextlib.suppress(OSError):  # Not every system can.
                _flush(file)
        with naming(path), locked(target.parent):
            check_folder(path, is_own)
            if target.exists():
                old = aside.with_suffix('.old')
                os.rename(target, old)
                try:
                    os.rename(aside, target)
                except BaseException:
                    os.rename(old, target)
                    raise
                shutil.rmtree(old, ignore_errors=True)
            else:
                os.rename(aside, target)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def check_folder(path: str | PathLike[str], is_own: Callable[[Path], bool]) -> None:
    """Finds out whether a folder could be written by :func:`replaced_folder`, and
    leaves everything as it is.

    Raises:
        FileExistsError: If there is something that is not to be replaced.
        OSError: If it could not be written, with its name.
    """
    if not str(path):
        raise ValueError("Expected the name of a folder (got '')")
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_dir():
        raise FileExistsError(f"Expected '{path}' to be a folder (got a file)")
    if target.is_dir() and any(target.iterdir()) and not is_own(target):
        first = min(entry.name for entry in target.iterdir())
        raise FileExistsError(
            f"Expected '{path}' to be a new folder, an empty one or one of this kind "
            f"(got a folder with '{first}'); name another folder"
        )
    parent = next(folder for folder in target.parents if folder.exists())
    if not os.access(parent, os.W_OK | os.X_OK):
        raise PermissionError(
            f"Expected '{path}' to be where a folder can be made (got '{parent}', "
            'which is read-only); name another place'
        )


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


def _flush(path: Path) -> None:
    """Waits until a file or a folder is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


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
