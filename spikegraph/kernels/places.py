"""Where tensors lie. A tensor can be given other memory while it is in use: to send it to
another process moves it to shared memory, ``resize_`` and ``.data`` move it as well.
PyTorch frees what was there, of which addresses and arrays of NumPy know nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from spikegraph.kernels.forms import parts_of


class Place(NamedTuple):
    """Memory of a tensor, as it was when an address in it was written down."""

    storage: torch.UntypedStorage
    address: int


def places_of(value: Any) -> list[Place]:
    """Where a tensor lies, dense or sparse; or that of which an array is a view."""
    while isinstance(value, np.ndarray):
        value = value.base
    if not isinstance(value, Tensor):
        return []
    storages = [part.untyped_storage() for part in parts_of(value)]
    return [Place(storage, storage.data_ptr()) for storage in storages]


def fits(x: Tensor) -> bool:
    """Whether the memory of a tensor holds all of its values, of one without gaps: who
    resizes a storage can take them away.
    """
    if x.layout != torch.strided:
        return True
    last = (x.storage_offset() + x.numel()) * x.itemsize
    return x.numel() == 0 or last <= x.untyped_storage().nbytes()


def check_fits(x: Tensor) -> None:
    """Raises ``RuntimeError``, as PyTorch does, for what does not fit its memory."""
    if not fits(x):
        raise RuntimeError(
            f'Expected the memory of a tensor of shape {list(x.shape)} to hold all of '
            f'its values (got {x.untyped_storage().nbytes()} bytes); its storage has '
            "been resized, so give it values again, such as by 'x.data = values'"
        )


class Places:
    """Memory that must not have moved.

    Args:
        places (Iterable[Place]): Where tensors lay.
    """

    def __init__(self, places: Iterable[Place]) -> None:
        found = {(place.storage._cdata, place.address): place for place in places}
        self._storages = [place.storage for place in found.values()]
        self._addresses = [place.address for place in found.values()]

    def are_same(self) -> bool:
        """Whether all of them still lie there."""
        now = [storage.data_ptr() for storage in self._storages]
        return now == self._addresses

    def meet(self, value: Tensor) -> bool:
        """Whether a tensor lies in one of them."""
        return any(place.address in self._addresses for place in places_of(value))
