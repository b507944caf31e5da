"""Rows of steps on disk, from which a run goes on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import Tensor

from spikegraph.coding import Spikes
from spikegraph.running.disk import Storage, StoredArray
from spikegraph.running.parts.kept import Kept, is_all
from spikegraph.running.parts.step import Step


class Stored:
    """Rows of steps in files: spike times, and scales where each row has its own.

    Args:
        storage (Storage): The files.
    """

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self._arrays: dict[Step, dict[str, StoredArray]] = {}

    def write(self, step: Step, start: int, value: Any, size: int) -> None:
        """Writes rows that follow those written before.

        Args:
            step (Step): What they are of.
            start (int): The number of the first one.
            value (Spikes or torch.Tensor): The rows.
            size (int): How many there will be.
        """
        parts = _parts(step, value)
        if start == 0 or step not in self._arrays:
            self._arrays[step] = {
                kind: self.storage.create(
                    f'{step.name}.{kind}', (size, *part.shape[1:]), part.dtype
                )
                for kind, part in parts.items()
            }
        for kind, part in parts.items():
            self._arrays[step][kind].write(start, part)

    def finish(self, step: Step) -> None:
        """Makes sure that all rows are on the disk, with their checksums."""
        for array in self._arrays[step].values():
            array.finish()

    def open(self, step: Step, size: int) -> bool:
        """Whether all rows are there, as they were written."""
        found = {}
        for kind, part in _parts(step, step.probe).items():
            array = self.storage.open(f'{step.name}.{kind}')
            shape = (size, *part.shape[1:])
            if (
                array is None
                or tuple(array.shape) != shape
                or array.dtype != part.dtype
            ):
                return False
            found[kind] = array
        self._arrays[step] = found
        return True

    def read(self, step: Step, rows: Tensor | slice) -> Any:
        """Some rows."""
        parts = {kind: a.read(rows) for kind, a in self._arrays[step].items()}
        if not isinstance(step.probe, Spikes):
            return parts['values']
        scale = parts.get('scales', step.probe.scale)
        return replace(step.probe, spike_time=parts['spikes'], scale=scale)


class KeptOnDisk(Kept):
    """Rows of steps in files, written in order.

    Args:
        features (Mapping[Step, torch.Tensor]): The rows of inputs.
        storage (Storage): The files.
    """

    def __init__(self, features: Any, storage: Storage) -> None:
        super().__init__(features)
        self.files = Stored(storage)

    def read(self, step: Step, rows: Tensor) -> Any:
        if step in self.features:
            return super().read(step, rows)
        first = int(rows[0]) if len(rows) else 0
        if is_all(rows - first):
            return self.files.read(step, slice(first, first + len(rows)))
        return self.files.read(step, rows)

    def write(self, step: Step, rows: Tensor, value: Any) -> None:
        start = int(rows[0]) if len(rows) else 0
        self.files.write(step, start, value, step.axis.find().size)

    def finish(self, steps: list[Step]) -> None:
        for step in steps:
            self.files.finish(step)

    def has(self, steps: list[Step]) -> bool:
        return all(self.files.open(step, step.axis.find().size) for step in steps)

    def whole(self, step: Step) -> Any:
        if step in self.features:
            return super().whole(step)
        return self.files.read(step, slice(None))

    def forget(self, step: Step) -> None:
        """Files stay."""


def _parts(step: Step, value: Any) -> dict[str, Tensor]:
    if not isinstance(value, Spikes):
        return {'values': value}
    parts = {'spikes': value.spike_time}
    if step.has_scales:
        parts['scales'] = value.scale
    return parts


__all__ = ['KeptOnDisk', 'Stored']
