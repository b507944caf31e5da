"""Rows on their way between processes: spike times as bytes, or half bytes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from spikegraph.coding import Spikes
from spikegraph.running.distributed.part import Part, Shared
from spikegraph.running.distributed.peers import Pending
from spikegraph.running.parts.kept import put_rows, room_for
from spikegraph.running.parts.step import Step, take

_HALF = 16  # Spike times that fit into half a byte.


def packed(time: Tensor) -> Tensor:
    """Two spike times in each byte :math:`(*)` to :math:`(\\lceil n / 2 \\rceil)`: one of
    the first half, and one of the second.
    """
    flat = time.reshape(-1)
    first, second = flat[: -(-len(flat) // 2)], flat[-(-len(flat) // 2) :]
    found = first.clone()
    found[: len(second)] |= second << 4
    return found


def unpack(data: Tensor, into: Tensor) -> None:
    """The inverse of :func:`packed`.

    Args:
        data (torch.Tensor): Bytes.
        into (torch.Tensor): Where spike times are written :math:`(n)`.
    """
    torch.bitwise_and(data, 15, out=into[: len(data)])
    torch.bitwise_right_shift(data[: len(into) - len(data)], 4, out=into[len(data) :])


class Wire:
    """How the rows of a step are written as bytes.

    Args:
        step (Step): The step.
        packs (bool, optional): Whether two spike times share a byte where they fit.
            (default: :obj:`True`)
    """

    def __init__(self, step: Step, packs: bool = True) -> None:
        self.step, self.probe = step, step.probe
        self.has_scales = step.has_scales
        is_spikes = isinstance(self.probe, Spikes)
        self.is_packed = packs and is_spikes and self.probe.code.num_times <= _HALF
        self.row_shape = tuple(self.probe.shape[1:])
        self.width = self.probe.shape[1:].numel()

    def size(self, num: int) -> int:
        """The bytes of some rows."""
        if not isinstance(self.probe, Spikes):
            return num * self.width * self.probe.element_size()
        size = num * self.width
        size = -(-size // 2) if self.is_packed else size
        return size + num * self._scale_size

    @property
    def float_size(self) -> int:
        """The bytes of a row of real values."""
        return self.width * self.probe.dtype.itemsize

    @property
    def _scale_size(self) -> int:
        if not self.has_scales:
            return 0
        scale: Tensor = self.probe.scale
        return scale[:1].numel() * scale.element_size()

    @property
    def is_plain(self) -> bool:
        """Whether bytes are spike times, as they lie in memory."""
        return isinstance(self.probe, Spikes) and not (
            self.is_packed or self.has_scales
        )

    def write(self, value: Any, places: Tensor | slice) -> list[Tensor]:
        """The bytes of rows at some places."""
        if not isinstance(value, Spikes):
            return [_bytes(_taken(value, places))]
        time = _taken(value.spike_time, places)
        parts = [packed(time) if self.is_packed else time.reshape(-1)]
        if self.has_scales:
            parts.append(_bytes(_taken(value.scale, places)))
        return parts

    def read(self, data: Tensor, into: Any, places: slice) -> None:
        """Writes rows that came to their places."""
        num = places.stop - places.start
        if not isinstance(into, Spikes):
            into[places] = _values(data, into.dtype, (num, *self.row_shape))
            return
        size = self.size(num) - num * self._scale_size
        time, to = data[:size], into.spike_time[places]
        if self.is_packed:
            unpack(time, to.view(-1))
        else:
            to[:] = time.view(num, *self.row_shape)
        if self.has_scales:
            shape = (num, *into.scale.shape[1:])
            into.scale[places] = _values(data[size:], into.scale.dtype, shape)


class Halo:
    """What a process keeps of steps: its own rows, and those that others send.

    Args:
        part (Part): The rows.
        packs (bool): Whether two spike times share a byte where they fit.
    """

    def __init__(self, part: Part, packs: bool) -> None:
        self.part, self.packs = part, packs
        self.values: dict[Step, Any] = {}
        self._pending: dict[Step, _Arrival] = {}

    def put(self, steps: list[Step], values: list[Any], start: int = 0) -> None:
        """Keeps rows of this process.

        Args:
            steps (List[Step]): What they are of.
            values (List[Any]): The rows of each.
            start (int, optional): The place of the first one. (default: :obj:`0`)
        """
        for step, value in zip(steps, values, strict=True):
            rows = self.part.shared[step]
            num = value.shape[0]
            if num == len(rows.rows):
                self.values[step] = value
                continue
            if step not in self.values or start == 0:
                self.values[step] = room_for(step, value, len(rows.rows))
            put_rows(step, self.values[step], slice(start, start + num), value)

    def send(self, steps: list[Step], doing: str) -> int:
        """Sends the rows that others need, which are kept already.

        Returns:
            int: How many bytes are sent.
        """
        steps = [step for step in steps if self.part.is_exchanged[step]]
        if not steps:
            return 0
        wires = [Wire(step, self.packs) for step in steps]
        shared = [self.part.shared[step] for step in steps]
        size = self.part.peers.size
        sent: list[Tensor] = []
        to, come = [0] * size, [0] * size
        for rank in range(size):
            for wire, rows in zip(wires, shared, strict=True):
                places = rows.sends[rank]
                written = wire.write(self.values[wire.step], places)
                sent += written
                to[rank] += sum(map(len, written))
                came = rows.receives[rank]
                come[rank] += wire.size(came.stop - came.start)
        sent = [part for part in sent if len(part)]
        data = sent[0] if len(sent) == 1 else _joined(sent)
        received = None
        if len(wires) == 1 and wires[0].is_plain:  # To its place at once.
            value = self.values[steps[0]]
            received = value.spike_time[len(shared[0].own) :].view(-1)
        pending = self.part.peers.exchange(data, to, come, doing, received)
        arrival = _Arrival(pending, wires, shared, self.values, received is not None)
        self._pending.update(dict.fromkeys(steps, arrival))
        return sum(to)

    def read(self, step: Step, rows: Tensor) -> Any:
        """Some rows of what is kept."""
        self.wait(step)
        places = self.part.shared[step].places(rows)
        value = self.values[step]
        return value if places is None else take(value, places)

    def wait(self, step: Step) -> None:
        """Waits until all rows of a step are there."""
        arrival = self._pending.pop(step, None)
        if arrival is not None:
            arrival.finish()

    def own(self, step: Step) -> Any:
        """The rows of this process."""
        return self.values[step][: len(self.part.shared[step].own)]

    def forget(self, step: Step) -> None:
        """Lets rows go that nobody reads any more."""
        self.wait(step)
        self.values.pop(step, None)


class _Arrival:
    """What comes after a stage, written to its places once."""

    def __init__(
        self,
        pending: Pending,
        wires: list[Wire],
        shared: list[Shared],
        values: Any,
        is_in_place: bool,
    ) -> None:
        self.pending, self.wires, self.shared = pending, wires, shared
        self.is_in_place = is_in_place
        self.values = [values[wire.step] for wire in wires]
        self.is_done = False

    def finish(self) -> None:
        if self.is_done:
            return
        self.is_done = True
        if self.is_in_place:
            self.pending.wait()
            return
        for rank, data in enumerate(self.pending.wait()):
            start = 0
            for wire, rows, value in zip(
                self.wires, self.shared, self.values, strict=True
            ):
                places = rows.receives[rank]
                size = wire.size(places.stop - places.start)
                wire.read(data[start : start + size], value, places)
                start += size


def _taken(value: Tensor, places: Tensor | slice) -> Tensor:
    return value[places] if isinstance(places, slice) else value.index_select(0, places)


def _joined(parts: list[Tensor]) -> Tensor:
    return torch.cat(parts) if parts else torch.empty(0, dtype=torch.uint8)


def _bytes(value: Tensor) -> Tensor:
    return value.contiguous().view(torch.uint8).reshape(-1)


def _values(data: Tensor, dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
    return data.clone().view(dtype).view(shape)
