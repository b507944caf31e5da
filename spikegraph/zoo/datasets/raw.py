"""Whether raw files are whole and fit each other, by the counts that they hold."""

from __future__ import annotations

import gzip
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spikegraph.zoo.datasets.pickles import read_pickle
from spikegraph.zoo.datasets.reading import BadFile, broken

if TYPE_CHECKING:
    import numpy as np

    from spikegraph.zoo.datasets.entries import DatasetInfo

_MATRICES = ('adj', 'attr')  # In the files of Amazon and Coauthor.
_CHUNK = 1 << 20  # Bytes.


def check_planetoid(info: DatasetInfo, root: Path) -> None:
    """Features and classes have as many rows, and the test nodes come last.

    Raises:
        BadFile: With the file that is wrong.
    """
    paths = {
        name: root / file for file in info.raw_files for name in [file.split('.', 2)[2]]
    }
    parts = {name: _unpickle(info, path) for name, path in paths.items()}
    for features, classes in (('x', 'y'), ('tx', 'ty'), ('allx', 'ally')):
        rows, others = len_of(parts[features]), len_of(parts[classes])
        if rows != others:
            expected, got = f'{rows:,} rows, as those in {features!r}', f'{others:,}'
            raise _mismatch(paths[classes], expected, got)
    index, first = parts['test.index'], len_of(parts['allx'])
    num_test, num_nodes = len_of(parts['tx']), len(parts['graph'])
    if len(index) != num_test:
        expected = f"the numbers of {num_test:,} test nodes, the rows in 'tx'"
        raise _mismatch(paths['test.index'], expected, f'{len(index):,}')
    if len(set(index)) != num_test or min(index) < first or max(index) >= num_nodes:
        expected = f'different numbers from {first} to {num_nodes - 1}'
        found = f'{len(set(index)):,} from {min(index)} to {max(index)}'
        raise _mismatch(paths['test.index'], expected, found)


def _unpickle(info: DatasetInfo, path: Path) -> Any:
    try:
        if path.name.endswith('.index'):
            text = path.read_text()
            if not text.endswith('\n'):
                raise ValueError('its last line has no end')
            return [int(line) for line in text.split()]
        return read_pickle(path)
    except OSError:
        raise
    except Exception as error:
        raise broken(info, path, error) from error


def len_of(matrix: Any) -> int:
    """The rows of a matrix, sparse or not."""
    return int(matrix.shape[0])


def check_npz(info: DatasetInfo, root: Path) -> None:
    """Sparse matrices of one number of nodes.

    Raises:
        BadFile: With what is wrong.
    """
    import numpy as np

    path = root / info.raw_files[0]
    try:
        # Says what is wrong with half a file, where numpy takes it for another kind.
        with zipfile.ZipFile(path), np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
    except OSError:
        raise
    except Exception as error:
        raise broken(info, path, error) from error
    keys = [
        f'{m}_{k}' for m in _MATRICES for k in ('data', 'indices', 'indptr', 'shape')
    ]
    missing = [key for key in [*keys, 'labels'] if key not in arrays]
    if missing:
        raise _mismatch(path, f"an array '{missing[0]}'", ', '.join(arrays) or 'none')
    for matrix in _MATRICES:
        parts = [
            arrays[f'{matrix}_{k}'] for k in ('data', 'indices', 'indptr', 'shape')
        ]
        problem = _csr_problem(*parts)
        if problem:
            raise _mismatch(path, f"a whole sparse matrix '{matrix}'", problem)
    num_nodes = int(arrays['attr_shape'][0])
    sizes = [*arrays['adj_shape'], len(arrays['labels'])]
    if any(size != num_nodes for size in sizes):
        expected = f"links and classes of {num_nodes:,} nodes, the rows of 'attr'"
        raise _mismatch(path, expected, ', '.join(f'{size:,}' for size in sizes))


def _csr_problem(
    data: np.ndarray, indices: np.ndarray, indptr: np.ndarray, shape: np.ndarray
) -> str:
    if shape.shape != (2,):
        return f'a shape of {shape.size} numbers'
    if len(indptr) != shape[0] + 1:
        return f'{len(indptr):,} row pointers for {shape[0]:,} rows'
    if not len(data) == len(indices) == indptr[-1]:
        return f'{len(data):,} values, {len(indices):,} indices, {indptr[-1]:,} by rows'
    if indptr[0] != 0 or (indptr[1:] < indptr[:-1]).any():
        return 'row pointers that fall'
    if len(indices) > 0 and not 0 <= indices.min() <= indices.max() < shape[1]:
        return f'indices from {indices.min()} to {indices.max()}'
    return ''


def check_ogb(info: DatasetInfo, root: Path) -> None:
    """Tables have as many rows as the lists of sizes say.

    Raises:
        BadFile: With the file that is wrong.
    """
    paths = {
        Path(file).name.removesuffix('.csv.gz'): root / file for file in info.raw_files
    }
    sizes = {part: read_sizes(info, root, part) for part in ('node', 'edge')}
    num_graphs = len(sizes['node'])
    if len(sizes['edge']) != num_graphs:
        expected = f'a line for each of the {num_graphs:,} graphs in num-node-list'
        found = f'{len(sizes["edge"]):,}'
        raise _mismatch(paths['num-edge-list'], expected, found)
    rows = {
        'edge': sum(sizes['edge']),
        'edge-feat': sum(sizes['edge']),
        'node-feat': sum(sizes['node']),
        'node-label': sum(sizes['node']),
        'node_year': sum(sizes['node']),
        'graph-label': num_graphs,
    }
    for name, number in rows.items():
        if name in paths:
            num_lines = _num_lines(info, paths[name])
            if num_lines != number:
                text = f'{number:,} lines, as the lists of sizes say'
                raise _mismatch(paths[name], text, f'{num_lines:,}')


def read_sizes(info: DatasetInfo, root: Path, part: str) -> list[int]:
    """The numbers of nodes, or of edges, of every graph."""
    name = f'num-{part}-list.csv.gz'
    path = next(root / file for file in info.raw_files if file.endswith(name))
    try:
        with gzip.open(path, 'rt') as file:
            sizes = [int(float(line)) for line in file]
    except (EOFError, ValueError, gzip.BadGzipFile, zlib.error) as error:
        raise broken(info, path, error) from error
    if not sizes:
        raise _mismatch(path, 'a line for each graph', 'none')
    return sizes


def _num_lines(info: DatasetInfo, path: Path) -> int:
    number, last = 0, b'\n'
    try:
        with gzip.open(path, 'rb') as file:
            while chunk := file.read(_CHUNK):
                number, last = number + chunk.count(b'\n'), chunk[-1:]
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise broken(info, path, error) from error
    return number + (last != b'\n')


def _mismatch(path: Path, expected: str, found: str) -> BadFile:
    return BadFile(path, f"Expected '{path}' to hold {expected} (got {found})")
