"""What is kept between stages, in memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from spikegraph.coding import Spikes
from spikegraph.kernels.memory import empty
from spikegraph.running.parts.step import Step, take
from spikegraph.running.parts.stores import StoredRows


class Kept:
    """Rows of steps, in memory.

    Args:
        features (Mapping[Step, torch.Tensor]): The rows of inputs.
    """

    def __init__(self, features: Mapping[Step, Any]) -> None:
        self.features = features
        self._found: dict[Step, Any] = {}

    def read(self, step: Step, rows: Tensor) -> Any:
        """Some rows of what is kept, or of an input."""
        found = self.features[step] if step in self.features else self._found[step]
        if isinstance(found, StoredRows):
            return found[rows]
        is_whole = len(rows) == found.shape[0] and is_all(rows)
        return found if is_whole else take(found, rows)

    def write(self, step: Step, rows: Tensor, value: Any) -> None:
        """Keeps some rows."""
        size = step.axis.find().size
        if len(rows) == size and is_all(rows):
            self._found[step] = value
            return
        if step not in self._found:
            self._found[step] = room_for(step, value, size)
        put_rows(step, self._found[step], rows, value)

    def whole(self, step: Step) -> Any:
        """All rows of what is kept, or of an input."""
        return self.features[step] if step in self.features else self._found[step]

    def finish(self, steps: list[Step]) -> None:
        """Says that all rows of steps are written."""

    def has(self, steps: list[Step]) -> bool:
        """Whether all rows of steps are there already."""
        return False

    def forget(self, step: Step) -> None:
        """Lets rows go that nobody reads any more."""
        self._found.pop(step, None)


def room_for(step: Step, value: Any, num: int) -> Any:
    """Room for rows like these."""
    if not isinstance(value, Spikes):
        return _room(value, num)
    scale = _room(value.scale, num) if step.has_scales else value.scale
    return replace(value, spike_time=_room(value.spike_time, num), scale=scale)


def _room(value: Tensor, num: int) -> Tensor:
    shape = num, *value.shape[1:]
    if value.device.type != 'cpu':
        return value.new_empty(shape)
    return empty(shape, value.dtype)


def put_rows(step: Step, into: Any, rows: Any, value: Any) -> None:
    """Writes rows to their places."""
    if not isinstance(into, Spikes):
        into[rows] = value
        return
    into.spike_time[rows] = value.spike_time
    if step.has_scales:
        into.scale[rows] = value.scale


def aligned(step: Step, value: Any) -> Any:
    """Rows with scales as they are kept, also where a single row has those of all."""
    if not isinstance(value, Spikes) or not step.has_scales:
        return value
    shape = value.shape[0], *step.probe.scale.shape[1:]
    if value.scale.shape == shape:
        return value
    return replace(value, scale=value.scale.expand(shape))


def is_all(rows: Tensor) -> bool:
    """Whether rows are numbered from 0 on."""
    return len(rows) == 0 or (int(rows[0]) == 0 and bool((rows.diff() == 1).all()))
