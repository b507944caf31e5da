"""A lock on a directory, which ends with the process that holds it."""

from __future__ import annotations

import contextlib
import os
import weakref
from pathlib import Path

from spikegraph.files import naming


class DirectoryLock:
    """Keeps other processes out of a directory until it is released or its process
    ends, however that happens. A forked process does not inherit it.

    Args:
        path (Path): A file in the directory, made if there is none. It holds the
            number of the process that has the lock.

    Raises:
        BlockingIOError: If another process, or this one, has the lock already.
        OSError: If the file cannot be made, or the file system has no locks.
    """

    def __init__(self, path: Path) -> None:
        self._handle: int | None = None
        try:
            import fcntl
        except ImportError as error:
            raise OSError(
                f"Expected a system with 'flock' for '{path.parent}' (got '{os.name}'); "
                'run without a directory of stored arrays'
            ) from error
        with naming(path):
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise BlockingIOError(
                    f"Expected '{path.parent}' to be used once at a time (got "
                    f'{_holder(handle)}, which has it open); close it there, wait for '
                    'its end, or name another directory'
                ) from error
            except OSError as error:
                raise OSError(
                    error.errno,
                    f"Expected the file system of '{path.parent}' to have locks (got "
                    f"'{error.strerror}'); name a directory on a local disk",
                ) from error
            with naming(path):
                os.ftruncate(handle, 0)
                os.pwrite(handle, str(os.getpid()).encode(), 0)
        except BaseException:
            os.close(handle)
            raise
        self._handle = handle
        _LOCKS.add(self)

    @property
    def is_held(self) -> bool:
        """Whether this process has the lock."""
        return self._handle is not None

    def release(self) -> None:
        """Lets others in. A second time does nothing."""
        if self._handle is not None:
            import fcntl

            with contextlib.suppress(OSError):  # Whatever forks have open, too.
                fcntl.flock(self._handle, fcntl.LOCK_UN)
            self.forget()

    def forget(self) -> None:
        """Closes its file, and leaves the lock to others that have it open."""
        if self._handle is not None:
            handle, self._handle = self._handle, None
            os.close(handle)

    def __del__(self) -> None:
        self.forget()


def _holder(handle: int) -> str:
    text = os.pread(handle, 32, 0).decode('ascii', 'replace')
    if not text.isdecimal():
        return 'a process that just started'
    return f'process {text}{", this one" if int(text) == os.getpid() else ""}'


def _forget_all() -> None:
    # Workers that are forked would hold the lock for as long as they live.
    for lock in list(_LOCKS):
        with contextlib.suppress(OSError):
            lock.forget()


_LOCKS: weakref.WeakSet[DirectoryLock] = weakref.WeakSet()
if hasattr(os, 'register_at_fork'):
    os.register_at_fork(after_in_child=_forget_all)
