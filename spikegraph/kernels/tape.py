"""What one pass through a network does to its features, as a flat list of bound calls
that are made again for other features.
"""

from __future__ import annotations

import math
import threading
from bisect import bisect_right
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from spikegraph.kernels.leases import LINE, Lease
from spikegraph.kernels.places import Place, Places, places_of

_MOST_HELD = 1 << 26  # Bytes: what is larger takes long enough without.
_MOST_COPIED = 1 << 23  # Of features: to copy more takes longer than it saves.
_EMPTY = ('empty', 'new_empty', 'empty_like', 'empty_strided', 'new_empty_strided')
# What makes as many values as the features say.
_OF_VALUES = ('nonzero', 'masked_select', 'unique', '_unique', '_unique2', 'unique_dim')


class Untapeable(Exception):
    """A pass does more than what a list of calls can repeat."""


class Tape(TorchDispatchMode):
    """Records, while it is entered, the operations and kernels that read what features
    are made of. All else, such as the preparation of graphs and weights, is a constant.
    What is made of features lies in memory of the tape, which is used again once nobody
    reads it any more: the calls, made in the same order, do so as well.

    Args:
        features (Sequence[torch.Tensor]): The features, dense and without gaps. The
            tape keeps them: values that are to be run are copied there.

    Attributes:
        calls (List[Tuple]): What is done, in order: where a result is copied to, or None,
            what is called, and its arguments.
    """

    def __init__(self, features: Sequence[Tensor]) -> None:
        super().__init__()
        self.calls: list[tuple[Tensor | None, Callable[..., Any], tuple[Any, ...]]] = []
        self.features = features
        self._held: list[Any] = []  # Constants.
        self._others: list[Place] = []  # Memory that is read, too.
        self._kept: dict[int, np.ndarray] = {}  # Memory that waits to be used.
        self._num_bytes = 0
        self._starts: list[int] = []  # Of the memory that is known, in order.
        self._blocks: list[_Block] = []
        self.failed = ''
        for value in features:
            self._block_of(value).state = _MOVING
        if sum(value.nbytes for value in features) > _MOST_COPIED:
            self._fail('its features are larger than what is copied at every pass')

    def __enter__(self) -> Tape:
        _RECORDING.tape = self
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        _RECORDING.tape = None
        super().__exit__(*error)

    def decide_by(self, value: Tensor) -> None:
        """Notes that what a tensor holds decides what is done next, which no list of
        calls can repeat where that is made of features.
        """
        if not self.failed and self._block_of(value).state is _MOVING:
            self._fail('what it does depends on values that are made of features')

    # Operations of PyTorch.

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if self.failed:
            return func(*args, **kwargs)
        name = func._schema.name.partition('::')[2]
        tensors = _tensors((args, kwargs))
        blocks = [self._block_of(value) for value in tensors]
        if torch.Tag.nondeterministic_seeded in func.tags:
            self._fail(f'{name} draws random numbers')
        written = self._written(func, args, kwargs)
        reads = [b for v, b in zip(tensors, blocks, strict=True) if v not in written]
        is_moving = any(block.state is _MOVING for block in reads)
        for value in written:
            self._prepare(value, is_moving)
        out = func(*args, **kwargs)
        if written:
            self._hold(out)
            if is_moving or any(block.state is _MOVING for block in blocks):
                self._add(func, args, kwargs)
            return out
        is_empty = name in _EMPTY
        if isinstance(out, Tensor) and is_moving and not is_empty:
            out = self._placed(out)
        for value in _tensors(out):
            if is_moving and value.layout != torch.strided:
                self._fail(f'{name} makes a sparse tensor of features')
            block = self._block_of(value)
            if block in blocks:  # A view.
                continue
            block.state = _EMPTY_MEMORY if is_empty else _FIXED
            if is_moving and not is_empty:
                block.state = _MOVING
        self._hold(out)
        if is_moving and not is_empty:
            self._repeat(func, name, args, kwargs, out, blocks)
        return out

    def _repeat(
        self, func: Any, name: str, args: Any, kwargs: Any, out: Any, blocks: Any
    ) -> None:
        if name in _OF_VALUES or (name == 'index' and _is_masked(args)):
            self._fail(f'{name} makes as many values as the features say')
        if name in ('_local_scalar_dense', 'item', 'equal', 'is_nonzero'):
            if not isinstance(out, bool):
                self._fail(f'{name} reads a number')
            self._add(_same, (func, out, *args), kwargs)
            return
        made = _tensors(out)
        if any(isinstance(v, (int, float)) for v in pytree.tree_leaves(out)):
            self._fail(f'{name} returns a number')
        if made and all(self._block_of(value) in blocks for value in made):
            return  # A view of memory that stays where it is.
        if isinstance(out, Tensor):
            self._add(func, args, kwargs, out)
        else:
            self._add(_copy_all, (made, func, *args), kwargs)

    def _prepare(self, value: Tensor, is_moving: bool) -> None:
        """Before something is written into memory: all that was there comes back before
        anything else is done, if it is read then, or only a part is written.
        """
        block = self._block_of(value)
        if block.state is _FIXED and (is_moving or block.is_read):
            whole = value.new_empty(0, dtype=torch.uint8).set_(value.untyped_storage())
            self.calls.insert(0, (None, whole.copy_, (whole.clone(),)))
            block.state = _MOVING
        elif block.state is _EMPTY_MEMORY:
            block.state = _MOVING if is_moving else _FIXED

    def _written(self, func: Any, args: Any, kwargs: Any) -> _Identities:
        found = _Identities()
        for argument, value in zip(func._schema.arguments, args, strict=False):
            if argument.alias_info is not None and argument.alias_info.is_write:
                found.extend(_tensors(value))
        for argument in func._schema.arguments:
            if argument.name in kwargs and argument.alias_info is not None:
                if argument.alias_info.is_write:
                    found.extend(_tensors(kwargs[argument.name]))
        return found

    def _add(self, func: Any, args: Any, kwargs: Any, to: Tensor | None = None) -> None:
        func = getattr(func, '_op', func)  # What PyTorch's own call leads to.
        to, args, kwargs = pytree.tree_map_only(
            Tensor, self._alias, (to, tuple(args), kwargs)
        )
        if kwargs:
            func = partial(func, **kwargs)
        self.calls.append((to, func, args))

    # Kernels.

    def launch(
        self,
        work: Any,
        bounds: list[int],
        run: Callable[..., Any],
        bind: Callable[..., Callable[[], list[Any]] | None],
    ) -> list[Any]:
        """Runs a kernel on pieces of its work, and records that, as native code if it
        can be bound.
        """
        if self.failed:
            return run(work, bounds)
        arrays = [
            leaf
            for leaf in pytree.tree_leaves((work.args, work.keywords))
            if isinstance(leaf, np.ndarray) and leaf.size > 0
        ]
        places = [leaf.__array_interface__['data'][0] for leaf in arrays]
        blocks = [self._block_at(place) for place in places]
        known = [block for block in blocks if block is not None]
        found: list[Any] = run(work, bounds)
        given: tuple[Any, ...]
        is_moving = any(block.state is _MOVING for block in known)
        filled = [block for block in known if block.state is _EMPTY_MEMORY]
        # What is made of features and given twice is written, if nothing else is.
        written = {
            place
            for place, block in zip(places, blocks, strict=True)
            if block is not None and block.state is _MOVING
            if not filled and places.count(place) > 1
        }
        for block in filled:
            block.state = _MOVING if is_moving else _FIXED
            if block.memory is not None and not is_moving:
                self._fail('constants lie where features were')
        if not is_moving:
            self._held.append(arrays)
        if is_moving:
            for block in known:
                block.is_read = True
            unseen = [a for a, b in zip(arrays, blocks, strict=True) if b is None]
            self._others += [place for a in unseen for place in places_of(a)]
            if not filled and not written and len(known) < len(blocks):
                self._fail('a kernel writes to memory of its own')
            call, given = run, (work, bounds)
            bound = bind(work, bounds)
            if bound is not None:
                call, given = bound, ()
                self._held += [
                    array
                    for array, block in zip(arrays, blocks, strict=True)
                    if block is None or block.memory is None
                ]
            elif len(bounds) == 2:
                call, given = work, tuple(bounds)
            if any(value is True for value in found):
                self.calls.append((None, _holds, (call, *given)))
            else:
                self.calls.append((None, call, given))
        return found

    # Memory.

    def _block_of(self, value: Tensor) -> _Block:
        if value.layout != torch.strided:
            return _Block(_FIXED)  # Of the graph.
        storage = value.untyped_storage()
        if storage.nbytes() == 0:
            return _Block(_FIXED)
        address = storage.data_ptr()
        found = self._block_at(address)
        if found is None:
            found = self._add_block(address, storage.nbytes(), value)
            found.place = Place(storage, address)
            self._count(storage.nbytes())
        return found

    def _count(self, num_bytes: int) -> None:
        self._num_bytes += num_bytes
        if self._num_bytes > _MOST_HELD:
            self._fail('it takes too much memory to be kept')

    def empty(
        self, shape: Sequence[int], dtype: torch.dtype, of: Tensor | None
    ) -> Tensor:
        """A new tensor; in memory that is used again, if it will be made of features."""
        size = math.prod(shape) * dtype.itemsize
        if of is None or size == 0 or self.failed:
            return torch.empty(tuple(shape), dtype=dtype)
        if self._block_of(of).state is not _MOVING:
            return torch.empty(tuple(shape), dtype=dtype)
        return self._lease(size).view(dtype)[: math.prod(shape)].view(tuple(shape))

    def _lease(self, size: int) -> Tensor:
        """Memory for something that is made of features."""
        lease = Lease(-(-size // LINE) * LINE, self._kept)
        memory, address = lease.memory, lease.memory.ctypes.data
        block = self._block_at(address)
        if block is None:
            block = self._add_block(address, memory.size, memory)
            block.memory = memory
            self._count(memory.size)
        block.state = _EMPTY_MEMORY
        return torch.from_numpy(np.asarray(lease))

    def _placed(self, value: Tensor) -> Tensor:
        """What has been made of features, in such memory."""
        is_dense = type(value) is Tensor and value.layout == torch.strided
        if not is_dense or value.requires_grad or value.storage_offset() > 0:
            return value
        storage = value.untyped_storage()
        if storage.nbytes() == 0 or self._block_at(storage.data_ptr()) is not None:
            return value
        out = self._lease(storage.nbytes()).view(value.dtype)
        return out.as_strided(value.shape, value.stride()).copy_(value)

    def _alias(self, value: Tensor) -> Tensor:
        """A tensor in the same place, which does not keep memory from being used again."""
        if value.layout != torch.strided:
            self._others += places_of(value)
        block = self._block_of(value)
        block.is_read = True
        if block.memory is None or block.state is not _MOVING:
            return value
        place = value.shape, value.stride(), value.storage_offset()
        return torch.from_numpy(block.memory).view(value.dtype).as_strided(*place)

    def _hold(self, out: Any) -> None:
        """Keeps constants, and what is not in memory of the tape."""
        for value in _tensors(out):
            block = self._block_of(value)
            if block.memory is None:
                self._held.append(value)

    def keep(self, array: np.ndarray) -> None:
        """Notes memory that was made before, and stays as it is."""
        address = array.__array_interface__['data'][0]
        if self._block_at(address) is None:
            self._add_block(address, array.nbytes, array)

    def places(self) -> Places:
        """What calls read that is not of the tape."""
        own = [b.place for b in self._blocks if b.is_read and b.place is not None]
        return Places(own + self._others)

    def _add_block(self, address: int, num_bytes: int, owner: Any) -> _Block:
        found = _Block(_FIXED, address + num_bytes)
        place = bisect_right(self._starts, address)
        self._starts.insert(place, address)
        self._blocks.insert(place, found)
        self._held.append(owner)
        return found

    def _block_at(self, address: int) -> _Block | None:
        place = bisect_right(self._starts, address) - 1
        if place < 0 or address >= self._blocks[place].end:
            return None
        return self._blocks[place]

    def _fail(self, reason: str) -> None:
        self.failed = self.failed or reason
        self._held.clear()
        self._others.clear()
        for block in self._blocks:
            block.place = None


_FIXED, _MOVING, _EMPTY_MEMORY = object(), object(), object()


class _Block:
    """A piece of memory, and what is in it."""

    __slots__ = ('end', 'is_read', 'memory', 'place', 'state')

    def __init__(self, state: object, end: int = 0) -> None:
        self.state, self.end = state, end
        self.is_read = False  # By calls.
        self.memory: np.ndarray | None = None  # That of the tape.
        self.place: Place | None = None  # Memory of a tensor.


class _Identities(list[Tensor]):
    """Tensors, told apart by identity."""

    def __contains__(self, value: object) -> bool:
        return any(value is each for each in self)


class _Recording(threading.local):
    tape: Tape | None = None


_RECORDING = _Recording()


def current_tape() -> Tape | None:
    """What records the kernels of this thread, if anything does."""
    return _RECORDING.tape


def _tensors(value: Any) -> list[Tensor]:
    return [v for v in pytree.tree_leaves(value) if isinstance(v, Tensor)]


def _is_masked(args: Any) -> bool:
    return any(v.dtype in (torch.bool, torch.uint8) for v in _tensors(args[1:]))


def _copy_all(to: list[Tensor], func: Any, *args: Any, **kwargs: Any) -> None:
    for value, made in zip(to, _tensors(func(*args, **kwargs)), strict=True):
        if made.shape != value.shape:
            raise Untapeable('a result has another shape')
        value.copy_(made)


def _same(func: Any, expected: Any, *args: Any, **kwargs: Any) -> None:
    if func(*args, **kwargs) != expected:
        raise Untapeable('a condition on features turned out otherwise')


def _holds(work: Any, *args: Any) -> None:
    found = work(*args)
    if found is not True and not (isinstance(found, list) and all(found)):
        raise Untapeable('a kernel found what it did not expect')
