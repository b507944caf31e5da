"""What a model returns, apart from its structure: networks return plain dictionaries,
lists and tuples, of which the structure of the model is made again.
"""

from __future__ import annotations

import copy
from collections import OrderedDict, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import partial
from itertools import accumulate
from typing import Any, Literal

import torch
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree
from torch_geometric.data import Data
from torch_geometric.data.data import BaseData

from spikegraph.calls.errors import UserError
from spikegraph.calls.inputs import follow
from spikegraph.kernels.forms import is_foreign

FORM = 'output_form'  # Where a network keeps it.
_ATOMS = (str, bytes, bool, int, float, complex, type, nn.Module)
_SEQUENCES = (tuple, list, deque)
_UNORDERED = (set, frozenset)
Kind = Literal['value', 'constant', 'sequence', 'mapping', 'object', 'data', 'argument']


@dataclass(frozen=True)
class Form:
    """The structure of what a model returns.

    Args:
        kind (str): ``'value'``; ``'constant'``; ``'sequence'``; ``'mapping'``;
            ``'object'``, with attributes, such as a dataclass; ``'data'`` of PyG; or
            ``'argument'``, PyG data that the model was given and has changed.
        shell (Any): A constant; the type of a sequence; a mapping or an object without
            its values; the argument, and where in it.
        parts (Dict[Any, Form]): The structures inside, by index, key or attribute, and
            in PyG data by storage and attribute.
    """

    kind: Kind
    shell: Any = None
    parts: Mapping[Any, Form] | None = None

    @property
    def reads_arguments(self) -> bool:
        """Whether data is returned that the model was given."""
        parts = self.parts or {}
        return self.kind == 'argument' or any(
            form.reads_arguments for form in parts.values()
        )

    def build(self, values: Any, given: Mapping[str, Any] | None = None) -> Any:
        """The structure of the model around values.

        Args:
            values (Any): Values in plain dictionaries, lists and tuples.
            given (Dict[str, Any], optional): The arguments of the call, see
                :obj:`reads_arguments`. (default: :obj:`None`)
        """
        if self.kind == 'value':
            return values
        if self.kind == 'constant':
            return self.shell
        assert self.parts is not None
        items = {k: form.build(values[k], given) for k, form in self.parts.items()}
        if self.kind == 'sequence':
            return _sequence(self.shell, list(items.values()))
        if self.kind == 'argument':
            assert given is not None
            argument, path = self.shell
            out = copy.copy(follow(given[argument], path))
        else:
            out = copy.copy(self.shell)
        for key, item in items.items():
            if self.kind == 'mapping':
                out[key] = item
            elif self.kind == 'object':
                object.__setattr__(out, key, item)
            else:
                setattr(_storage(out, key[0]), key[1], item)
        return out

    def read(self, output: Any) -> Any:
        """The values in what the model returned, plain, as its network returns them.

        Raises:
            ValueError: If it has another structure.
        """
        if self.kind in ('value', 'constant'):
            return output if self.kind == 'value' else None
        assert self.parts is not None
        found = {k: self.parts[k].read(item) for k, item in self.items(output).items()}
        if self.kind == 'sequence':
            is_list = isinstance(output, list)
            return list(found.values()) if is_list else tuple(found.values())
        return found

    def items(self, output: Any) -> dict[Any, Any]:
        """What the model returned, by index, key or attribute.

        Raises:
            ValueError: If it has another structure.
        """
        try:
            found = {key: self._item(output, key) for key in self.parts or ()}
            if self.kind in ('sequence', 'mapping') and len(output) != len(found):
                raise IndexError(f'{len(output)} items, not {len(found)}')
        except (KeyError, IndexError, AttributeError, TypeError) as error:
            raise ValueError(
                'Expected the model to return the same structure on every call (got '
                f'{type(output).__name__}, and {type(error).__name__}: {error})'
            ) from error
        return found

    def _item(self, output: Any, key: Any) -> Any:
        if self.kind == 'sequence':
            return list(output)[key]
        if self.kind == 'mapping':
            return output[key]
        if self.kind == 'object':
            return getattr(output, key)
        return getattr(_storage(output, key[0]), key[1])


def take_apart(value: Any) -> tuple[Any, Form]:
    """Values in plain dictionaries, lists and tuples, and the structure they were in.

    Args:
        value (Any): What a model returns. Symbolic values are values.

    Raises:
        UserError: If it cannot be returned twice, or holds itself.
    """
    return _take(value, ())


def form_of(network: fx.GraphModule) -> Form:
    """The structure of what a network stands for."""
    return network.meta.get(FORM, Form('value'))


def main_output(values: list[Any]) -> int | None:
    """Which of the values that are returned, in order, is the main one, such as scores
    beside a loss and hidden states: the first tensor of real numbers that has
    dimensions; if there is none, the first that has dimensions, or the first at all.

    Args:
        values (List[Any]): The values.

    Returns:
        int: Its position, :obj:`None` if there is no tensor.
    """
    tensors = [i for i, value in enumerate(values) if isinstance(value, Tensor)]
    with_rows = [i for i in tensors if values[i].dim() > 0]
    real = [i for i in with_rows if values[i].is_floating_point()]
    return next(iter(real or with_rows or tensors), None)


def join(outputs: list[Any]) -> Any:
    """What a model returned for several batches, as for one: of each tensor all rows,
    in order; of numbers in tensors a vector; PyG data as its loaders join it; of
    anything else, that of the first batch.

    Args:
        outputs (List[Any]): One or more.

    Raises:
        ValueError: If their structures differ.
    """
    _, form = take_apart(outputs[0])
    return form.build(_join(form, outputs))


def _join(form: Form, outputs: list[Any]) -> Any:
    if form.kind == 'value' and isinstance(outputs[0], Tensor):
        return torch.cat(outputs) if outputs[0].dim() > 0 else torch.stack(outputs)
    first = form.read(outputs[0])
    if not _holds_values(first):
        return first
    assert form.parts is not None
    items, found = [form.items(output) for output in outputs], {}
    for key, part in form.parts.items():
        if form.kind == 'data' and isinstance(items[0][key], Tensor):
            found[key] = _joined_in_data(outputs, key)
        else:
            found[key] = _join(part, [item[key] for item in items])
    return list(found.values()) if form.kind == 'sequence' else found


def _joined_in_data(outputs: list[Any], key: tuple[Any, str]) -> Tensor:
    """Rows, or columns of an index that goes on where that of the last batch ends."""
    store = [_storage(output, key[0]) for output in outputs]
    values = [getattr(s, key[1]) for s in store]
    steps = [
        torch.as_tensor(data.__inc__(key[1], value, s))
        for data, s, value in zip(outputs, store, values, strict=True)
    ]
    starts = accumulate(steps[:-1], initial=torch.zeros_like(steps[0]))
    pairs = zip(values, starts, strict=True)
    parts = [v + n if bool((n != 0).any()) else v for v, n in pairs]
    dim = outputs[0].__cat_dim__(key[1], values[0], store[0])
    return torch.stack(parts) if dim is None else torch.cat(parts, dim)


def _take(value: Any, around: tuple[int, ...]) -> tuple[Any, Form]:
    kind = type(value)
    if value is None or issubclass(kind, (bool, int, float, str)):
        return value, Form('value')
    if hasattr(kind, '_take_apart'):  # A symbolic value knows what it stands for.
        return kind._take_apart(value, partial(_apart, around=around))
    if issubclass(kind, (Tensor, fx.Proxy)) or is_foreign(value):
        return value, Form('value')
    if id(value) in around:
        raise UserError(
            NotImplementedError, f'Cannot return a {kind.__name__} that holds itself'
        )
    around = (*around, id(value))
    if issubclass(kind, _SEQUENCES):
        plain, parts = _apart(dict(enumerate(value)), around)
        values = list(plain.values())
        is_list = issubclass(kind, list)
        shell: Any = (kind, value.maxlen) if issubclass(kind, deque) else kind
        return values if is_list else tuple(values), Form('sequence', shell, parts)
    if issubclass(kind, Mapping):
        plain, parts = _apart({key: value[key] for key in value}, around)
        return plain, Form('mapping', emptied(value), parts)
    if issubclass(kind, BaseData):
        plain, parts = _apart(_data_items(value), around)
        return plain, Form('data', _blank_data(value), parts)
    is_set = issubclass(kind, _UNORDERED) and _holds_values(list(value))
    if is_set or issubclass(kind, Iterator):
        why = 'which has no order' if is_set else 'which can be read only once'
        raise UserError(
            NotImplementedError,
            f"Cannot return a {kind.__name__}, {why}; return 'list(...)' of it",
        )
    if issubclass(kind, _ATOMS):
        return None, Form('constant', value)
    held = attributes(value)
    plain, parts = _apart(held, around)
    if not any(_holds_values(item) for item in plain.values()):
        return None, Form('constant', value)
    return plain, Form('object', _blank(value, held), parts)


def _apart(
    items: dict[Any, Any], around: tuple[int, ...]
) -> tuple[dict[Any, Any], dict[Any, Form]]:
    found = {key: _take(item, around) for key, item in items.items()}
    values = {key: value for key, (value, _) in found.items()}
    return values, {key: form for key, (_, form) in found.items()}


def _holds_values(value: Any) -> bool:
    tensors = (Tensor, fx.Proxy)
    return any(
        issubclass(type(leaf), tensors) or is_foreign(leaf)
        for leaf in pytree.tree_leaves(value)
    )


def _sequence(kind: Any, items: list[Any]) -> Any:
    if isinstance(kind, tuple):
        kind, length = kind
        return kind(items, length)
    return kind._make(items) if hasattr(kind, '_make') else kind(items)


def emptied(value: Any) -> Any:
    """A mapping of the same type without items; a plain one if it takes none."""
    out = copy.copy(value)
    if not hasattr(out, 'clear') or not hasattr(out, '__setitem__'):
        return {}
    attributes = [f.name for f in fields(out)] if is_dataclass(out) else []
    for name in attributes:  # Those that show its items.
        object.__setattr__(out, name, None)
    kind: Any = next((k for k in (OrderedDict, dict) if isinstance(out, k)), type(out))
    for key in list(out):
        kind.__delitem__(out, key)  # Whatever the type derived from it forbids.
    return out


def attributes(value: Any) -> dict[str, Any]:
    """What an object holds, in a dictionary or in slots."""
    names = [f.name for f in fields(value)] if is_dataclass(value) else []
    names += list(getattr(value, '__dict__', ()))
    for kind in type(value).__mro__:
        slots = vars(kind).get('__slots__', ())
        names += (slots,) if isinstance(slots, str) else slots
    names = [n for n in dict.fromkeys(names) if n not in ('__dict__', '__weakref__')]
    return {name: getattr(value, name) for name in names if hasattr(value, name)}


def _blank(value: Any, held: dict[str, Any]) -> Any:
    """A copy that keeps no tensor alive."""
    out = copy.copy(value)
    for name in held:
        object.__setattr__(out, name, None)
    return out


def _data_items(data: Any) -> dict[tuple[Any, str], Any]:
    """What PyG data holds, by storage and attribute."""
    return {
        (getattr(store, '_key', None), str(key)): value
        for store in data.stores
        for key, value in store.items()
    }


def _blank_data(data: Any) -> Any:
    out = copy.copy(data)
    for store, key in _data_items(data):
        setattr(_storage(out, store), key, None)
    return out


def _storage(data: Any, key: Any) -> Any:
    if key is not None:
        return data[key]
    return data._store if isinstance(data, Data) else data
