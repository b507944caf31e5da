"""The directory of stored arrays: whose it is, and what its files are called."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote, unquote

from spikegraph.files import naming, write_file
from spikegraph.running.disk.lock import DirectoryLock

_FORMAT = 'spikegraph arrays'
_VERSION = 1
_MANIFEST, _LOCK = 'spikegraph.json', 'spikegraph.lock'
_VALUES, _RECORD = '.spikegraph', '.spikegraph.json'
_ASIDE = re.compile(r'\.[0-9a-f]{16}\.part')  # Of 'write_file', when it was killed.


class Directory:
    """A directory that this process has for itself.

    Args:
        path (Path): The directory, made if there is none.
        identity (Mapping[str, str]): What its arrays depend on.
        resume (bool): Whether to keep the arrays that are there.

    Attributes:
        digest (str): A digest of the identity.

    Raises:
        ValueError: If it has the arrays of another identity, or files of others.
        OSError: If it cannot be written to, or another process uses it.
    """

    def __init__(self, path: Path, identity: Mapping[str, str], resume: bool) -> None:
        self.path, self.identity = path, dict(identity)
        texts = [text for pair in self.identity.items() for text in pair]
        if not texts or not all(isinstance(text, str) for text in texts):
            raise ValueError(
                f"Expected 'identity' to hold texts, and at least one (got "
                f'{self.identity}); turn what the arrays depend on into texts'
            )
        text = json.dumps(self.identity, sort_keys=True)
        self.digest = hashlib.sha256(text.encode()).hexdigest()
        with naming(path):
            path.mkdir(parents=True, exist_ok=True)
        self._check_ours()  # Before anything is put there.
        self._lock = DirectoryLock(path / _LOCK)
        try:
            self._begin(resume)
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Lets others use it."""
        self._lock.release()

    def check_held(self) -> None:
        """Raises an error once the directory is left to others."""
        if not self._lock.is_held:
            raise ValueError(
                f"Expected '{self.path}' to be open in this process (got a storage "
                'that was closed, or belongs to the process that this one was forked '
                'from); open it here'
            )

    def names(self) -> list[str]:
        """The names of the arrays that were finished, in the order of the alphabet."""
        found = (path.name for path in self.path.iterdir())
        ours = (name for name in found if name.endswith(_RECORD))
        return sorted(unquote(name.removesuffix(_RECORD)) for name in ours)

    def values_of(self, name: str) -> Path:
        """The file of an array's values."""
        return self._path(name, _VALUES)

    def record_of(self, name: str) -> Path:
        """The file of an array's record."""
        return self._path(name, _RECORD)

    def reserve(self, name: str, size: int) -> int:
        """Opens a file for writing, with exactly that much room."""
        path = self.values_of(name)
        with naming(path):
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
            handle = os.open(path, flags, 0o666)
        before = os.fstat(handle).st_size
        try:
            _allocate(handle, size)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(handle, before)
            os.close(handle)
            if not before:
                path.unlink()
            if error.errno not in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT):
                raise OSError(error.errno, error.strerror, str(path)) from error
            free = f'{shutil.disk_usage(self.path).free} bytes free'
            if error.errno == errno.EFBIG:
                free += ', and a limit on the size of a file'
            raise OSError(
                error.errno,
                f"Expected {size} bytes to fit into '{self.path}' for '{name}' "
                f'(got {free}); make room, or name another directory',
            ) from error
        return handle

    def sync(self) -> None:
        """Makes sure that the names of files are on the disk, where systems can."""
        with contextlib.suppress(OSError):
            handle = os.open(self.path, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)

    def _path(self, name: str, suffix: str) -> Path:
        file = quote(name, safe=' +,=@()[]') + suffix
        if not name or len(file) > 255:
            raise ValueError(
                f"Expected 'name' to be a text that is short enough for a file (got "
                f'{name!r}); name it otherwise'
            )
        return self.path / file

    def _check_ours(self) -> dict[str, str] | None:
        """What the manifest says, or nothing if the directory is new."""
        with naming(self.path):
            found = sorted(path.name for path in self.path.iterdir())
        if _MANIFEST in found:
            return self._manifest()
        foreign = [name for name in found if not _is_ours(name)]
        if foreign:
            raise ValueError(
                f"Expected '{self.path}' to be empty or a directory of stored "
                f"arrays (got one with '{foreign[0]}'); name another directory"
            )
        arrays = [name for name in found if name.endswith((_VALUES, _RECORD))]
        return {} if arrays else None

    def _manifest(self) -> dict[str, str]:
        """The identity of what is there; nothing in it if that cannot be told."""
        path = self.path / _MANIFEST
        with naming(path):
            content = path.read_bytes()
        try:
            found = json.loads(content)
            known = (found['format'], found['version']) == (_FORMAT, _VERSION)
            identity = {str(key): str(text) for key, text in found['identity'].items()}
        except (ValueError, TypeError, KeyError, AttributeError):
            return {}
        return identity if known else {}

    def _begin(self, resume: bool) -> None:
        """Compares the manifest, and deletes what no run can use."""
        found = self._check_ours()
        if resume and found is not None and found != self.identity:
            self._refuse(found)
        paths = list(self.path.iterdir())
        kept = self.names() if resume else []
        records = [path for path in paths if path.name.endswith(_RECORD)]
        for path in records:
            if unquote(path.name.removesuffix(_RECORD)) not in kept:
                path.unlink()
        self.sync()
        for path in paths:
            name = unquote(path.name.removesuffix(_VALUES))
            unused = path.name.endswith(_VALUES) and name not in kept
            if unused or _ASIDE.fullmatch(path.name):
                path.unlink()
        if found != self.identity or not (self.path / _MANIFEST).exists():
            head = {'format': _FORMAT, 'version': _VERSION}
            text = json.dumps({**head, 'identity': self.identity}, indent=2)
            write_file(self.path / _MANIFEST, f'{text}\n'.encode())
            self.sync()

    def _refuse(self, found: dict[str, str]) -> None:
        remedy = (
            "name another directory, or pass 'resume=False' ('--fresh' on the command "
            'line) to start anew'
        )
        if not found:
            raise ValueError(
                f"Expected '{self.path / _MANIFEST}' to tell what the arrays "
                'beside it depend on (got a file that is missing, damaged or of another '
                f'version); {remedy}'
            )
        keys = [*self.identity, *(key for key in found if key not in self.identity)]
        here = [key for key in keys if found.get(key) != self.identity.get(key)]
        differing = ', '.join(
            f"'{key}' {self.identity.get(key)!r} (got {found.get(key)!r})"
            for key in here
        )
        raise ValueError(
            f"Expected '{self.path}' to hold arrays of {differing}; {remedy}"
        )


def _allocate(handle: int, size: int) -> None:
    os.ftruncate(handle, size)
    used = os.fstat(handle).st_blocks * 512
    space = os.fstatvfs(handle)
    if size - used > space.f_bavail * space.f_frsize:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if size and hasattr(os, 'posix_fallocate'):
        try:
            os.posix_fallocate(handle, 0, size)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
                raise  # Else the file system cannot, and a write may find it full.


def _is_ours(name: str) -> bool:
    ends = name.endswith((_VALUES, _RECORD))
    return ends or name in (_MANIFEST, _LOCK) or bool(_ASIDE.fullmatch(name))
