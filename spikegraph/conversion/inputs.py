"""What the arguments of a model hold: the values that a network reads, and what
else it asked about them while it was traced.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch_geometric.data import Batch, Data, HeteroData

from spikegraph.kernels.forms import is_foreign

Step = tuple[Literal['attr', 'item'], Any]  # An attribute, or an item by its key.
Path = tuple[Step, ...]

_DATA_TYPES: dict[str, type] = {t.__name__: t for t in (Data, Batch, HeteroData)}


def is_value(value: Any) -> bool:
    """Whether something is a tensor, or a sparse matrix of another package."""
    return isinstance(value, Tensor) or is_foreign(value)


def is_plain(value: Any) -> bool:
    """Whether something is made of texts, numbers and switches only."""
    if isinstance(value, (list, tuple)):
        return all(map(is_plain, value))
    return value is None or isinstance(value, (bool, int, float, str))


def plain(value: Any) -> Any:
    """What is made of texts and numbers as JSON holds it; of anything else its type."""
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return type(value).__name__


def follow(value: Any, path: Path) -> Any:
    """What a path leads to.

    Raises:
        LookupError, AttributeError, TypeError: If there is no such thing.
    """
    for kind, key in path:
        value = getattr(value, key) if kind == 'attr' else value[key]
    return value


def spell(argument: str, path: Path) -> str:
    """A path as Python code: ``data.x``, ``features['text']``."""
    steps = [f'.{key}' if kind == 'attr' else f'[{key!r}]' for kind, key in path]
    return argument + ''.join(steps)


@dataclass(frozen=True)
class Leaf:
    """A value that the network reads.

    Args:
        name (str): The name of the input of the network.
        argument (str): The argument of ``forward`` that holds it.
        path (Path): Where it is in there.
        example (Dict[str, Any]): What it was like on the first calibration call.
    """

    name: str
    argument: str
    path: Path
    example: dict[str, Any]

    def value_in(self, given: Mapping[str, Any]) -> Any:
        """The value in the arguments of a call.

        Raises:
            ValueError: If there is none.
        """
        what = spell(self.argument, self.path)
        try:
            value = follow(given[self.argument], self.path)
        except (LookupError, AttributeError, TypeError) as error:
            raise ValueError(
                f"Expected '{what}', as in the calibration data (got nothing there); "
                'the network reads it'
            ) from error
        if value is None:
            raise ValueError(
                f"Expected '{what}' to hold a value, as in the calibration data (got "
                'None)'
            )
        return value


@dataclass(frozen=True)
class Container:
    """A dictionary, list, tuple or PyG data that holds inputs.

    Args:
        argument (str): The argument of ``forward``.
        path (Path): Where it is in there.
        kind (str): ``'dict'``, ``'list'``, ``'tuple'``, ``'data'`` or ``'storage'``
            (of one type of node in a heterogeneous graph).
        keys (Tuple[Any, ...]): The keys of a dictionary; of a list or tuple, the
            numbers of its items; of data, the name of its class.
    """

    argument: str
    path: Path
    kind: str
    keys: tuple[Any, ...]

    def check(self, given: Mapping[str, Any]) -> None:
        """Raises ``ValueError`` if a call holds something else there."""
        what = spell(self.argument, self.path)
        try:
            value = follow(given.get(self.argument), self.path)
        except (LookupError, AttributeError, TypeError):
            return  # Whoever reads it says what is missing.
        if self.kind == 'dict':
            self._check_keys(what, value)
        elif self.kind in ('list', 'tuple'):
            if not isinstance(value, (list, tuple)) or len(value) != len(self.keys):
                found = type(value).__name__
                if isinstance(value, (list, tuple)):
                    found = f'{len(value)}'
                raise ValueError(
                    f"Expected '{what}' to hold {len(self.keys)} items, as in the "
                    f'calibration data (got {found})'
                )
        elif self.kind == 'data' and isinstance(value, Tensor):
            raise ValueError(
                f"Expected '{what}' to be PyG data, as in the calibration data (got a "
                'tensor)'
            )

    def _check_keys(self, what: str, value: Any) -> None:
        if not isinstance(value, Mapping):
            raise ValueError(
                f"Expected '{what}' to be a dictionary, as in the calibration data "
                f'(got {type(value).__name__})'
            )
        found = {key for key, item in value.items() if item is not None}
        if found != set(self.keys):
            key = sorted(found ^ set(self.keys), key=str)[0]
            state = f'{key!r}, too' if key in found else f'nothing for {key!r}'
            raise ValueError(
                f"Expected '{what}' to hold the keys {sorted(self.keys, key=str)}, as in "
                f'the calibration data (got {state}); convert again with calibration '
                'data that holds the same'
            )


@dataclass(frozen=True)
class Asked:
    """A question about an input whose answer the network depends on.

    Args:
        argument (str): The argument of ``forward``.
        path (Path): Where the value is in there.
        kind (str): ``'has'`` (whether there is something), ``'rank'``,
            ``'layout'``, ``'contiguous'``, ``'numbers'``, ``'device'`` or ``'type'``
            of a tensor, ``'value'`` of a text or a switch, or ``'call'`` (what a
            method of PyG data returns).
        answer (Any): What it was on the first calibration call.
    """

    argument: str
    path: Path
    kind: str
    answer: Any

    def check(self, given: Mapping[str, Any]) -> None:
        """Raises ``ValueError`` if the answer is another one now."""
        try:
            value = follow(given.get(self.argument), self.path)
        except (LookupError, AttributeError, TypeError):
            value = None
        if self.kind not in ('has', 'value') and value is None:
            return  # Whoever reads it says that it is missing.
        found = answer_of(self.kind, value)
        if found != self.answer:
            what = spell(self.argument, self.path)
            raise ValueError(
                f"Expected '{what}' to {_STATES[self.kind].format(self.answer)}, as in "
                f'the calibration data, as the model asks for it (got {found}); convert '
                'again with calibration data like this'
            )


_STATES = {
    'has': 'be there: {}',
    'rank': 'have {} dimensions',
    'layout': 'have the layout {}',
    'contiguous': 'be contiguous in memory: {}',
    'numbers': 'hold {} numbers',
    'device': 'be on a device of type {}',
    'type': 'be of type {}',
    'value': 'be {!r}',
    'call': 'return {!r}',
}


def answer_of(kind: str, value: Any) -> Any:
    """What a question about a value is answered with, as JSON types."""
    if kind == 'has':
        return value is not None
    if kind == 'value':
        return plain(value)
    if kind == 'call':
        return plain(value())
    if kind == 'type' or not isinstance(value, Tensor):
        return 'Tensor' if type(value) is torch.nn.Parameter else type(value).__name__
    if kind == 'rank':
        return value.dim()
    if kind == 'contiguous':
        return value.layout == torch.strided and value.is_contiguous()
    if kind == 'numbers':
        names = {
            value.is_signed(): 'signed',
            value.is_floating_point(): 'floating point',
        }
        return 'complex' if value.is_complex() else names.get(True, 'unsigned')
    return str(value.layout) if kind == 'layout' else value.device.type


def describe_example(value: Any) -> dict[str, Any]:
    """What an input is like, without its values: enough to trace a model again."""
    if not is_value(value):
        return {'kind': 'number', 'value': value}
    if not isinstance(value, Tensor):
        sizes = [int(size) for size in value.sparse_sizes()]
        return {'kind': 'matrix', 'shape': sizes, 'type': type(value).__name__}
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
        found['ends'] = [[int(row.min()), int(row.max())] for row in rows]
    return found


def make_example(found: dict[str, Any], dtype: torch.dtype) -> Any:
    """A value like one that :func:`describe_example` has seen; integers go up from
    the smallest to the largest one, in each row of two; numbers are of the given type.
    """
    if found['kind'] == 'number':
        return found['value']
    shape = [int(size) for size in found['shape']]
    if found['kind'] == 'matrix':
        return ExampleMatrix(torch.eye(*shape, dtype=dtype).to_sparse_csr())
    if not found['is_float']:
        dtype = getattr(torch, found['dtype'])
    layout = found['layout']
    if layout != 'strided':
        dense = torch.zeros(shape, dtype=dtype)
        return dense.to_sparse(layout=getattr(torch, layout))
    if found['is_float']:
        generator = torch.Generator().manual_seed(0)
        return torch.rand(shape, generator=generator, dtype=torch.float64).to(dtype)
    ends = found.get('ends', [[0, 0]])
    last = shape[-1] if shape else 1
    ramps = [torch.linspace(low, high, last, dtype=torch.float64) for low, high in ends]
    ramp = torch.stack(ramps).round().to(dtype)
    if len(ends) == 1:  # Of all entries, not one for each of two rows.
        return ramp[0].expand(shape).clone() if shape else ramp[0, -1]
    return ramp.view(2, *[1] * (len(shape) - 2), last).expand(shape).clone()


class ExampleMatrix:
    """Stands for a ``torch_sparse.SparseTensor`` of which only the size is known.

    Args:
        matrix (torch.Tensor): The matrix, in CSR layout.
    """

    def __init__(self, matrix: Tensor) -> None:
        self.matrix = matrix

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

    def nnz(self) -> int:
        """The number of entries."""
        return int(self.matrix.values().numel())

    def coo(self) -> tuple[Tensor, Tensor, None]:
        """Rows and columns of all entries."""
        row, col = self.matrix.to_sparse_coo().indices()
        return row, col, None

    def csr(self) -> tuple[Tensor, Tensor, None]:
        """Ends of rows, and columns."""
        return self.matrix.crow_indices(), self.matrix.col_indices(), None

    def t(self) -> ExampleMatrix:
        """The transpose."""
        return ExampleMatrix(self.matrix.to_dense().t().to_sparse_csr())

    def sum(self, dim: int) -> Tensor:
        """The sums of rows or columns."""
        return self.matrix.to_dense().sum(dim)

    def set_value(self, value: Any, layout: Any = None) -> ExampleMatrix:
        """The same entries with other values."""
        return self

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
    items = {key: inside.get(('item', key)) for key in container.keys}
    if container.kind == 'dict':
        return items
    return list(items.values()) if container.kind == 'list' else tuple(items.values())
