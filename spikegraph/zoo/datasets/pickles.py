"""Pickles in the folders of data sets: some readers would run what they hold."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spikegraph.zoo.datasets.reading import broken

if TYPE_CHECKING:
    from spikegraph.zoo.datasets.entries import DatasetInfo

# All that arrays, sparse matrices and lists by key are made of, under the names that
# these had when the files were written, and have now.
_PARTS = {
    *(('__builtin__', 'list'), ('builtins', 'list'), ('collections', 'defaultdict')),
    *(('numpy', 'dtype'), ('numpy', 'ndarray')),
    *(('numpy.core.multiarray', '_reconstruct'),),
    *(('numpy._core.multiarray', '_reconstruct'),),
    *(('scipy.sparse.csr', 'csr_matrix'), ('scipy.sparse._csr', 'csr_matrix')),
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ('_codecs', 'encode'):  # Bytes, before protocol 3.
            return lambda text, encoding: text.encode('latin1')
        if (module, name) not in _PARTS:
            raise pickle.UnpicklingError(f'{module}.{name}, which would run code')
        return super().find_class(module, name)


def read_pickle(path: Path) -> Any:
    """What a raw file of Cora, CiteSeer or PubMed holds.

    Raises:
        Exception: Nearly anything, if it is damaged.
        pickle.UnpicklingError: If it holds something else than arrays, sparse matrices
            and plain values, of which nothing is called.
    """
    with path.open('rb') as file, warnings.catch_warnings():
        warnings.simplefilter('ignore', DeprecationWarning)  # Of old names in scipy.
        return _Unpickler(file, encoding='latin1').load()


def check_pickles(info: DatasetInfo, root: Path, is_raw_read: bool) -> None:
    """Refuses files that PyG, or ogb, would trust: PyG reads raw pickles (where nothing
    is processed yet) and its own notes as they are, and what PyTorch refuses a second
    time, without care.

    Raises:
        BadFile: With the file that holds more than tensors and plain values.
    """
    from spikegraph.partitioning.pickles import load_pickle

    raw = info.files(root) if is_raw_read else []
    for path in (path for path in raw if path.name.startswith('ind.')):
        if path.exists() and not path.name.endswith('.index'):
            _check(info, path, read_pickle)
    if info.processed_file:
        for path in sorted((root / info.processed_file).parent.glob('*.pt')):
            _check(info, path, lambda path: load_pickle(path, mmap=True))


def _check(info: DatasetInfo, path: Path, read: Any) -> None:
    try:
        read(path)
    except OSError:
        raise
    except Exception as error:
        raise broken(info, path, error) from error
