"""Values like those that a model was traced with, to trace it again."""

from __future__ import annotations

from collections import namedtuple
from typing import Any

import torch
from torch import Tensor
from torch_geometric import EdgeIndex
from torch_geometric.data import Batch, Data, HeteroData

from spikegraph.calls.inputs import Asked, Container, Leaf, Path, Step, is_value

_DATA_TYPES: dict[str, type] = {t.__name__: t for t in (Data, Batch, HeteroData)}

_MAX_COLUMNS = 64  # Of a table of integers that each mean something else.


def describe_example(value: Any) -> dict[str, Any]:
    """What an input is like, without its values: enough to trace a model again."""
    if not is_value(value):
        return {'kind': 'number', 'value': value}
    if not isinstance(value, Tensor):
        sizes = [int(size) for size in value.sparse_sizes()]
        has_value = value.coo()[2] is not None if hasattr(value, 'coo') else False
        kind = {'kind': 'matrix', 'shape': sizes, 'type': type(value).__name__}
        return {**kind, 'has_value': has_value}
    entries = value
    if value.layout != torch.strided:
        entries = value.coalesce() if value.is_sparse else value
        entries = entries.values()
    found: dict[str, Any] = {
        'kind': 'tensor',
        'dtype': str(value.dtype).removeprefix('torch.'),
        'shape': list(value.shape),
        'layout': str(value.layout).removeprefix('torch.'),
        'is_float': value.is_floating_point(),
    }
    if not value.is_floating_point() and entries.numel() > 0:
        rows = entries if entries.shape[:1] == (2,) else entries.reshape(1, -1)
        if entries.dim() == 2 and 1 < entries.size(1) <= _MAX_COLUMNS:
            found['columns'] = _ends(entries.t())
        found['ends'] = _ends(rows)
    if isinstance(value, EdgeIndex):
        found['type'] = 'EdgeIndex'
        found['sizes'] = [None if s is None else int(s) for s in value.sparse_size()]
        found['order'] = value.sort_order
        found['is_undirected'] = bool(value.is_undirected)
    return found


def _ends(rows: Tensor) -> list[list[int]]:
    return [[int(row.min()), int(row.max())] for row in rows]


def make_example(found: dict[str, Any], dtype: torch.dtype) -> Any:
    """A value like one that :func:`describe_example` has seen; integers go up from
    the smallest to the largest one, in each row of two, or in each column; numbers are
    of the given type.
    """
    if found['kind'] == 'number':
        return found['value']
    shape = [int(size) for size in found['shape']]
    if found['kind'] == 'matrix':
        matrix = torch.eye(*shape, dtype=dtype).to_sparse_csr()
        return ExampleMatrix(matrix, found.get('has_value', False))
    if not found['is_float']:
        dtype = getattr(torch, found['dtype'])
    layout = found['layout']
    if layout != 'strided':
        dense = torch.zeros(shape, dtype=dtype)
        return dense.to_sparse(layout=getattr(torch, layout))
    if found['is_float']:
        generator = torch.Generator().manual_seed(0)
        return torch.rand(shape, generator=generator, dtype=torch.float64).to(dtype)
    if found.get('type') == 'EdgeIndex':
        return _edge_index(found, dtype)
    if 'columns' in found and shape[0] != 2:
        return _ramps(found['columns'], shape[0], dtype).t().contiguous()
    ends = found.get('ends', [[0, 0]])
    last = shape[-1] if shape else 1
    ramp = _ramps(ends, last, dtype)
    if len(ends) == 1:  # Of all entries, not one for each of two rows.
        return ramp[0].expand(shape).clone() if shape else ramp[0, -1]
    return ramp.view(2, *[1] * (len(shape) - 2), last).expand(shape).clone()


def _ramps(ends: list[list[int]], number: int, dtype: torch.dtype) -> Tensor:
    ramps = [
        torch.linspace(low, high, number, dtype=torch.float64) for low, high in ends
    ]
    return torch.stack(ramps).round().to(dtype)


def _edge_index(found: dict[str, Any], dtype: torch.dtype) -> EdgeIndex:
    index = _ramps(found.get('ends', [[0, 0]] * 2), int(found['shape'][1]), dtype)
    return EdgeIndex(
        index,
        sparse_size=tuple(found['sizes']),
        sort_order=found['order'],
        is_undirected=found['is_undirected'],
    )


class ExampleMatrix:
    """Stands for a ``torch_sparse.SparseTensor`` of which only the size is known.

    Args:
        matrix (torch.Tensor): The matrix, in CSR layout.
        has_values (bool, optional): Whether entries have values.
            (default: :obj:`False`)
    """

    def __init__(self, matrix: Tensor, has_values: bool = False) -> None:
        self.matrix = matrix
        self._has_values = has_values

    def sparse_sizes(self) -> tuple[int, int]:
        """The rows and columns."""
        return self.matrix.size(0), self.matrix.size(1)

    def sizes(self) -> list[int]:
        """The same, as a list."""
        return list(self.sparse_sizes())

    def size(self, dim: int) -> int:
        """The rows or the columns."""
        return self.matrix.size(dim)

    sparse_size = size

    def dim(self) -> int:
        """That it is a matrix."""
        return 2

    def dtype(self) -> torch.dtype:
        """The type of its values."""
        return self.matrix.dtype

    def device(self) -> torch.device:
        """Where it is."""
        return self.matrix.device

    def nnz(self) -> int:
        """The number of entries."""
        return int(self.matrix.values().numel())

    def has_value(self) -> bool:
        """Whether entries have values."""
        return self._has_values

    def _values(self) -> Tensor | None:
        return self.matrix.values() if self._has_values else None

    def coo(self) -> tuple[Tensor, Tensor, Tensor | None]:
        """Rows, columns and values of all entries."""
        row, col = self.matrix.to_sparse_coo().indices()
        return row, col, self._values()

    def csr(self) -> tuple[Tensor, Tensor, Tensor | None]:
        """Ends of rows, columns and values."""
        ends, columns = self.matrix.crow_indices(), self.matrix.col_indices()
        return ends, columns, self._values()

    def csc(self) -> tuple[Tensor, Tensor, Tensor | None]:
        """Ends of columns, rows and values."""
        return self.t().csr()

    def t(self) -> ExampleMatrix:
        """The transpose."""
        transposed = self.matrix.to_dense().t().to_sparse_csr()
        return ExampleMatrix(transposed, self._has_values)

    def sum(self, dim: int) -> Tensor:
        """The sums of rows or columns."""
        return self.matrix.to_dense().sum(dim)

    def set_value(self, value: Any, layout: Any = None) -> ExampleMatrix:
        """The same entries with other values."""
        return ExampleMatrix(self.matrix, value is not None)

    def fill_value(self, value: Any, dtype: Any = None) -> ExampleMatrix:
        """The same entries with one value."""
        return ExampleMatrix(self.matrix, True)

    def mul(self, other: Any) -> ExampleMatrix:
        """The same entries times factors of rows or columns."""
        return ExampleMatrix(self.matrix, True)

    __mul__ = mul

    def same(self, *args: Any, **kwargs: Any) -> ExampleMatrix:
        """What moves, sorts or copies it."""
        return self

    to = cpu = coalesce = clone = contiguous = detach = set_diag = fill_diag = same
    remove_diag = add_self_loops = same

    def to_dense(self) -> Tensor:
        """All of it."""
        return self.matrix.to_dense()

    def to_torch_sparse_coo_tensor(self) -> Tensor:
        """The matrix as PyTorch has it."""
        return self.matrix.to_sparse_coo()

    def to_torch_sparse_csr_tensor(self) -> Tensor:
        """The same, by rows."""
        return self.matrix

    def matmul(self, x: Tensor, reduce: str = 'sum') -> Tensor:
        """The product with features, however it sums."""
        return self.matrix @ x

    __matmul__ = matmul


class _Answer:
    """Stands for a method, by what it returned."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def __call__(self) -> Any:
        return self.answer


class Example:
    """Stands for PyG data of which only the leaves are known."""

    def __init__(self, class_name: str, values: dict[Step, Any]) -> None:
        self._type = _DATA_TYPES.get(class_name, Data)
        self._values = values

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return self._type

    def __getattr__(self, name: str) -> Any:
        values = self.__dict__['_values']
        if ('attr', name) in values:
            return values['attr', name]
        if name in ('x', 'edge_index', 'edge_attr', 'edge_weight', 'batch', 'pos', 'y'):
            return None
        raise AttributeError(f"the calibration data has no attribute '{name}'")

    def __getitem__(self, key: Any) -> Any:
        if ('item', key) in self._values:
            return self._values['item', key]
        try:
            return getattr(self, key)
        except AttributeError as error:
            raise KeyError(key) from error

    def __contains__(self, key: Any) -> bool:
        return ('attr', key) in self._values

    def __len__(self) -> int:
        return int(self._values['attr', '__len__']())


def example_call(
    leaves: tuple[Leaf, ...],
    containers: tuple[Container, ...],
    asked: tuple[Asked, ...],
    dtype: torch.dtype,
) -> dict[str, Any]:
    """Arguments like those of the first calibration call, numbers of one type, which
    answer what was asked about them.
    """
    values: dict[tuple[str, Path], Any] = {
        (leaf.argument, leaf.path): make_example(leaf.example, dtype) for leaf in leaves
    }
    values.update(
        {
            (question.argument, question.path): _Answer(question.answer)
            if question.kind == 'call'
            else question.answer
            for question in asked
            if question.kind in ('value', 'call')
        }
    )
    for container in sorted(containers, key=lambda c: -len(c.path)):
        here, depth = container.path, len(container.path)
        inside = {
            path[depth]: value
            for (argument, path), value in values.items()
            if argument == container.argument
            and path[:depth] == here
            and len(path) == depth + 1
        }
        values[container.argument, here] = _fill(container, inside)
    return {argument: value for (argument, path), value in values.items() if not path}


def _fill(container: Container, inside: dict[Step, Any]) -> Any:
    if container.kind in ('data', 'storage'):
        return Example(str((*container.keys, '')[0]), inside)
    if container.kind == 'named':
        named: Any = namedtuple('Arguments', container.keys)  # type: ignore[misc]
        return named(*[inside.get(('item', i)) for i in range(len(container.keys))])
    items = {key: inside.get(('item', key)) for key in container.keys}
    if container.kind == 'dict':
        return items
    return list(items.values()) if container.kind == 'list' else tuple(items.values())
