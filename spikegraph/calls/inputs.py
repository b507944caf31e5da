"""What the arguments of a model hold: the values that a network reads, and what
else it asked about them while it was traced.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch_geometric.data.data import BaseData

from spikegraph.kernels.forms import is_foreign

Step = tuple[Literal['attr', 'item'], Any]  # An attribute, or an item by its key.
Path = tuple[Step, ...]


def is_value(value: Any) -> bool:
    """Whether something is a tensor, or a sparse matrix of another package."""
    return isinstance(value, Tensor) or is_foreign(value)


def on_cpu_in_double(value: Any) -> Any:
    """The same with all tensors on the CPU, and real numbers in float64."""

    def moved(tensor: Tensor) -> Tensor:
        tensor = tensor.cpu()
        return tensor.double() if tensor.is_floating_point() else tensor

    if isinstance(value, BaseData):
        return value.clone().apply(moved)
    return pytree.tree_map_only(Tensor, moved, value)


def is_named(value: Any) -> bool:
    """Whether something is a tuple whose items have names."""
    return isinstance(value, tuple) and hasattr(value, '_fields')


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

    @property
    def field(self) -> str:
        """The attribute of PyG data, or else the argument, that holds it."""
        attributes = [str(key) for kind, key in self.path if kind == 'attr']
        name = (attributes or [self.argument])[0]
        return name.removesuffix('_dict') if self.path else name

    def value_in(self, given: Mapping[str, Any]) -> Any:
        """The value in the arguments of a call.

        Raises:
            ValueError: If there is none, or a sparse one instead of a dense one.
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
        is_sparse = isinstance(value, Tensor) and value.layout != torch.strided
        was_dense = self.example.get('layout') == 'strided'
        if is_sparse and was_dense and len({*value.shape}) > 1:
            raise ValueError(
                f"Expected '{what}' to be dense, as in the calibration data (got "
                f"{value.layout}); pass '{what}.to_dense()'"
            )
        return value

    @property
    def is_sparse_table(self) -> bool:
        """Whether it may be features: a sparse matrix that is not square."""
        is_sparse = self.example.get('layout', 'strided') != 'strided'
        is_real = bool(self.example.get('is_float'))
        return is_sparse and is_real and len({*self.example['shape']}) > 1


@dataclass(frozen=True)
class Container:
    """A dictionary, list, tuple or PyG data that holds inputs.

    Args:
        argument (str): The argument of ``forward``.
        path (Path): Where it is in there.
        kind (str): ``'dict'``, ``'list'``, ``'tuple'``, ``'named'`` (a tuple whose
            items have names), ``'data'`` or ``'storage'`` (of one type of node in a
            heterogeneous graph).
        keys (Tuple[Any, ...]): The keys of a dictionary; of a list or tuple, the
            numbers or names of its items; of data, the name of its class.
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
        elif self.kind in ('list', 'tuple', 'named'):
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
            ``'layout'``, ``'contiguous'``, ``'strides'``, ``'offset'``,
            ``'coalesced'``, ``'pinned'``, ``'shared'``, ``'inference'``, ``'numbers'``,
            ``'device'`` or ``'type'`` of a tensor, ``'value'`` of a text or a switch, or
            ``'call'`` (what a method of PyG data returns).
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
                f"Expected '{what}' to {QUESTIONS[self.kind].format(self.answer)}, as in "
                f'the calibration data, as the model asks for it (got {found}); convert '
                'again with calibration data like this'
            )


#: What may be asked of an input, and what the answer says.
QUESTIONS = {
    'has': 'be there: {}',
    'rank': 'have {} dimensions',
    'layout': 'have the layout {}',
    'contiguous': 'be contiguous in memory: {}',
    'strides': 'lie in memory {}',
    'coalesced': 'be coalesced: {}',
    'offset': 'start at the entry {} of what it is a part of',
    'pinned': 'be in pinned memory: {}',
    'shared': 'be in shared memory: {}',
    'inference': 'be made in inference mode: {}',
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
    if kind == 'strides':
        is_plain = value.layout != torch.strided or value.is_contiguous()
        return 'in order' if is_plain else f'with strides {tuple(value.stride())}'
    if kind == 'coalesced':
        return value.layout != torch.sparse_coo or value.is_coalesced()
    if kind == 'offset':
        return value.storage_offset() if value.layout == torch.strided else 0
    if kind in ('pinned', 'shared', 'inference'):
        return bool(getattr(value, f'is_{kind}')())
    if kind == 'numbers':
        names = {
            value.is_signed(): 'signed',
            value.is_floating_point(): 'floating point',
        }
        return 'complex' if value.is_complex() else names.get(True, 'unsigned')
    return str(value.layout) if kind == 'layout' else value.device.type
