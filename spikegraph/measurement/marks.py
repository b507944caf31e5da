"""What a tensor is to a network while its operations are counted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch.utils.weak import WeakTensorKeyDictionary
from torch_geometric.data.data import BaseData

from spikegraph.measurement.counts import Counts

Kind = Literal['constant', 'weight', 'fixed', 'signal']
_RANKS: tuple[Kind, ...] = ('constant', 'weight', 'fixed', 'signal')


@dataclass(frozen=True)
class Mark:
    """What is known about a tensor.

    Args:
        kind (str): ``'weight'`` if it is made of parameters, ``'fixed'`` if of inputs
            that are no features, such as graphs, ``'signal'`` if of features, else
            ``'constant'``; the last of these that applies.
        arrivals (torch.Tensor, optional): How many spikes each value is made of, if
            of nothing else.
        swapped (bool): Whether its last two dimensions have been exchanged.
        gathered (bool): Whether its rows were taken along edges.
        scaled (Tuple[Counts, int], optional): The multiplications of gathered rows by
            edge weights, and where they were counted.
        picked (bool): Whether it is rows of parameters, as an input says which.
        met (bool): Whether each value is a parameter times another, so that a sum is
            part of multiply-accumulates.
    """

    kind: Kind
    arrivals: Tensor | None = None
    swapped: bool = False
    gathered: bool = False
    scaled: tuple[Counts, int] | None = None
    picked: bool = False
    met: bool = False


class Marks:
    """The marks of tensors, as long as these live."""

    def __init__(self) -> None:
        self._marks: Any = WeakTensorKeyDictionary()
        # Signals written into a part of a tensor, which keep their memory theirs.
        self._written: dict[int | None, Tensor] = {}
        self._lost: set[int | None] = set()  # Those not made of spikes alone.

    def __getitem__(self, value: Tensor) -> Mark:
        mark: Mark | None = self._marks.get(value)
        if self._written and _storage(value) in self._written:
            storage = _storage(value)
            mark = replace(Mark('signal') if mark is None else mark, kind='signal')
            return replace(mark, arrivals=None) if storage in self._lost else mark
        return Mark('constant') if mark is None else mark

    def __setitem__(self, value: Tensor, mark: Mark) -> None:
        self._marks[value] = mark

    def note(self, value: Any, spikes: Tensor | None = None) -> Any:
        """Notes of all tensors in a value that they are signals, and which spikes they
        are made of; returns the value.
        """
        for part in pytree.tree_leaves(value):
            if isinstance(part, Tensor):
                self[part] = Mark('signal', spikes)
        return value

    def write(self, value: Tensor, are_spikes: bool) -> None:
        """Notes that a signal was written into a tensor, or a part of one."""
        storage = _storage(value)
        if storage is not None:
            self._written[storage] = value
            if not are_spikes:
                self._lost.add(storage)


def strongest(marks: list[Mark]) -> Kind:
    """The kind of a value that is made of others."""
    return max((mark.kind for mark in marks), key=_RANKS.index, default='constant')


def _storage(value: Tensor) -> int | None:
    try:
        return int(value.untyped_storage()._cdata)
    except (NotImplementedError, RuntimeError):  # A sparse one has none of its own.
        return None


def takes_rows_of_weights(marks: list[Mark]) -> bool:
    """Whether rows of parameters are picked by an input, as embeddings do."""
    kinds = {mark.kind for mark in marks}
    return kinds >= {'weight', 'fixed'} and 'signal' not in kinds


def swaps(name: str, args: Any) -> bool:
    """Whether an operation exchanges the last two dimensions."""
    rank = args[0].dim() if isinstance(args[0], Tensor) else 0
    if name == 't':
        return rank == 2
    if name == 'transpose':
        return {d % max(1, rank) for d in args[1:3]} == {rank - 1, rank - 2}
    if name == 'permute':
        dims = [d % max(1, rank) for d in args[1]]
        return dims[-2:] == [rank - 1, rank - 2]
    return False


def tensors_in(inputs: dict[str, Any]) -> Iterator[tuple[str, Tensor]]:
    """The tensors among inputs, and in PyG data, by name."""
    for name, value in inputs.items():
        items = value.to_dict() if isinstance(value, BaseData) else {name: value}
        for key, item in items.items():
            if isinstance(item, Tensor):
                yield key, item


def marks_of(model: nn.Module, inputs: dict[str, Any], signals: set[str]) -> Marks:
    """What parameters and inputs are before anything is run."""
    marks = Marks()
    for parameter in model.parameters():
        marks[parameter] = Mark('weight')
    for name, value in tensors_in(inputs):
        marks[value] = Mark('signal' if name in signals else 'fixed')
    return marks
