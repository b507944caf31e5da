"""What is kept between stages, in memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from spikegraph.coding import Spikes
from spikegraph.running.parts.step import Step, take


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
        is_whole = len(rows) == found.shape[0] and is_all(rows)
        return found if is_whole else take(found, rows)

    def write(self, step: Step, rows: Tensor, value: Any) -> None:
        """Keeps some rows."""
        size = step.axis.find().size
        if len(rows) == size and is_all(rows):
            self._found[step] = value
            return
        if step not in self._found:
            self._found[step] = _like(step, value)
        found = self._found[step]
        if isinstance(found, Spikes):
            found.spike_time[rows] = value.spike_time
            if has_scales(step):
                found.scale[rows] = value.scale
        else:
            found[rows] = value

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


def has_scales(step: Step) -> bool:
    """Whether each row has a scale of its own."""
    if not isinstance(step.probe, Spikes):
        return False
    scale = step.probe.scale
    return scale.dim() == len(step.probe.shape) and scale.size(0) > 1


def aligned(step: Step, value: Any) -> Any:
    """Rows with scales as they are kept, also where a single row has those of all."""
    if not isinstance(value, Spikes) or not has_scales(step):
        return value
    shape = value.shape[0], *step.probe.scale.shape[1:]
    if value.scale.shape == shape:
        return value
    return replace(value, scale=value.scale.expand(shape))


def _like(step: Step, value: Any) -> Any:
    size = step.axis.find().size
    if isinstance(value, Spikes):
        time, scale = value.spike_time, value.scale
        if has_scales(step):
            scale = scale.new_empty(size, *scale.shape[1:])
        return replace(
            value, spike_time=time.new_empty(size, *time.shape[1:]), scale=scale
        )
    return value.new_empty(size, *value.shape[1:])


def is_all(rows: Tensor) -> bool:
    """Whether rows are numbered from 0 on."""
    return len(rows) == 0 or (int(rows[0]) == 0 and bool((rows.diff() == 1).all()))
