"""Where results go: standard output and files."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from spikegraph.cli.program import closed, discard, named, text_of
from spikegraph.files import Replacement, check_target, is_stream, write_file

_RESULT = 'result.json'


class Outputs:
    """The files of ``--json`` and ``--output``, and where the report goes. What one
    of them does not take is still given to the others.

    Args:
        target (str, optional): The file of the JSON, or :obj:`"-"`.
        folder (pathlib.Path, optional): The folder for all else.

    Raises:
        OSError: If one of them cannot be written, before the work and not after it.
        ImportError: If pictures cannot be drawn.
    """

    def __init__(self, target: str | None, folder: Path | None) -> None:
        self.target = target
        self.folder = folder
        self.failures: list[OSError] = []
        if target == '-' and 'stdout' in closed:
            raise ValueError(
                "Expected standard output to be open with '--json -' (got a closed one); "
                'name a file instead'
            )
        if target not in (None, '-'):
            _check_json(str(target))
        if folder is not None:
            from spikegraph.plotting import check_matplotlib

            check_matplotlib()
            _check_folder(folder)

    def write(self, report: str, values: dict[str, Any]) -> None:
        """Prints the report and writes the JSON."""
        text = json.dumps(values, indent=2, allow_nan=False)
        content = f'{text}\n'.encode()
        if self.folder is not None:
            path = self.folder / _RESULT
            self._try(lambda: write_file(path, content))
        if self.target not in (None, '-'):
            self._try(lambda: _write(str(self.target), content))
        lost = len(self.failures) > 0
        self.print(report)
        if self.target == '-':
            self._print(text, to_json=True)
        elif lost:
            self.print(f'\n{text}')

    def write_files(self, contents: Mapping[str, Callable[[], bytes]]) -> None:
        """Writes more files to the folder, and says so."""
        assert self.folder is not None
        written = []
        with Replacement() as replacement:
            for name, make in contents.items():
                content, path = make(), self.folder / name
                if self._try(lambda: replacement.add(path, content)):  # noqa: B023
                    written.append(name)
        if (self.folder / _RESULT).exists():
            written.insert(0, _RESULT)
        *names, last = written or ['nothing']
        names = [', '.join(names)] if names else []
        self.print(f'\nwrote {" and ".join([*names, last])} to {self.folder}')

    def print(self, text: str) -> None:
        """Prints what people read."""
        self._print(text, to_json=False)

    def finish(self) -> None:
        """Fails if something could not be written.

        Raises:
            OSError: With what it was.
        """
        if self.failures:
            raise OSError(text_of(*self.failures))

    def _print(self, text: str, *, to_json: bool) -> None:
        stream = sys.stdout if to_json or self.target != '-' else sys.stderr
        try:
            print(text, file=stream, flush=True)
        except BrokenPipeError:  # The reader has seen enough: `spikegraph run | head`.
            discard(stream)
        except OSError as error:
            discard(stream)
            self.failures.append(named(error))

    def _try(self, write: Callable[[], None]) -> bool:
        try:
            write()
        except OSError as error:
            self.failures.append(error)
            return False
        return True


def _check_json(target: str) -> None:
    folder = Path(target).absolute().parent
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(
            f"Expected '--json' to be in a folder (got '{target}'; '{folder}' is a "
            'file); name another place'
        )
    if not folder.is_dir():
        raise FileNotFoundError(
            f"Expected the folder of '--json' to exist (got '{target}'); create "
            f"'{folder}'"
        )
    if os.path.isdir(target):
        raise IsADirectoryError(
            f"Expected '--json' to be a file (got the folder '{target}'); name a file "
            f"in it, such as '{Path(target) / _RESULT}'"
        )
    _check('--json', target, streams=True)


def _check_folder(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(
            f"Expected '--output' to be a folder (got the file '{folder}')"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(
            f"Expected '--output' to be a folder that can be made (got '{folder}': "
            f'{error.strerror}); name another folder'
        ) from error
    _check('--output', folder / _RESULT)


def _check(option: str, path: str | Path, *, streams: bool = False) -> None:
    try:
        check_target(path, streams=streams)
    except OSError as error:
        reason = error.strerror or str(error)
        raise OSError(
            f"Expected '{option}' to be where files can be written (got '{path}': "
            f'{reason}); name another place'
        ) from error


def _write(target: str, content: bytes) -> None:
    if not is_stream(target):
        write_file(target, content)
        return
    try:
        with open(target, 'wb') as file:
            file.write(content)
    except OSError as error:
        raise OSError(error.errno, os.strerror(error.errno or 0), target) from error
