from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from spikegraph.coding.encoding import decode, encode
from spikegraph.coding.phase_code import PhaseCode
from spikegraph.tables import Column, Part, Shown, Table, percent


@dataclass(frozen=True, eq=False)
class Spikes(Shown):
    r"""What flows between layers: one byte per neuron, and how to read it.

    Args:
        spike_time (torch.Tensor): The spike times :math:`(*)`, uint8;
            :math:`T` stands for no spike, :math:`T + 1 + t` for an OFF spike.
        code (PhaseCode): The code that maps a spike time to a level.
        scale (torch.Tensor): The value of level 1: one number, or per channel
            :math:`(F)`, or per node :math:`(N, 1)`.
        density (float, optional): The share of neurons that fire, as measured
            by calibration; :obj:`None` if that is not known.

    Example:
        >>> code = PhaseCode(num_steps=3, base=2, signed=True)
        >>> spikes = Spikes.from_values(torch.tensor([1.0, 0.4, -0.6, 0.0]), code)
        >>> spikes
        Spikes((4,), PhaseCode(T=3, base=2, signed), num_spikes=3)
        >>> spikes.spike_time
        tensor([0, 1, 5, 3], dtype=torch.uint8)
        >>> spikes.decode()
        tensor([ 1.0000,  0.5000, -0.5000,  0.0000])
        >>> spikes.raster().int()
        tensor([[1, 0, 0, 0],
                [0, 1, 1, 0],
                [0, 0, 0, 0]], dtype=torch.int32)
    """

    spike_time: Tensor
    code: PhaseCode
    scale: Tensor
    density: float | None = None

    @classmethod
    def from_values(
        cls, x: Tensor, code: PhaseCode, scale: float | Tensor = 1.0
    ) -> Spikes:
        """Encodes real values; see :func:`spikegraph.coding.encode`."""
        scale = torch.as_tensor(scale, dtype=x.dtype, device=x.device)
        return cls(encode(x, code, scale), code, scale)

    def decode(self) -> Tensor:
        """The values the spikes stand for, in the data type of ``scale``."""
        return decode(self.spike_time, self.code, self.scale)

    def raster(self) -> Tensor:
        r"""Who fires when, bool :math:`(T, *)`, ON and OFF spikes alike."""
        phase = self.phase()
        steps = torch.arange(self.code.num_steps, device=phase.device)
        return phase == steps.view(-1, *[1] * phase.dim())

    def phase(self) -> Tensor:
        r"""The step of the spike whatever its sign, uint8; :math:`T` if none."""
        num_steps = self.code.num_steps
        if not self.code.signed:
            return self.spike_time
        is_off = self.spike_time > num_steps
        return torch.where(is_off, self.spike_time - (num_steps + 1), self.spike_time)

    def polarity(self) -> Tensor:
        """The sign of each spike, int8: 1 ON, -1 OFF, 0 silent."""
        silent = self.code.num_steps
        is_on = (self.spike_time < silent).to(torch.int8)
        return is_on - (self.spike_time > silent).to(torch.int8)

    def current(self, step: int) -> Tensor:
        r"""What the spikes of one step deliver to a synapse of weight 1:
        :math:`\pm s` where a neuron fires, 0 elsewhere.
        """
        sign = self.polarity() * (self.phase() == step)
        return sign.to(self.scale.dtype) * self.scale

    @property
    def num_spikes(self) -> int:
        """How many neurons fire."""
        return int((self.spike_time != self.code.num_steps).sum())

    @property
    def shape(self) -> torch.Size:
        """The shape of the population."""
        return self.spike_time.shape

    @property
    def dtype(self) -> torch.dtype:
        """The data type of the decoded values."""
        return self.scale.dtype

    @property
    def device(self) -> torch.device:
        """Where the spike times are stored."""
        return self.spike_time.device

    def size(self, dim: int | None = None) -> Any:
        """The shape, or the size of one dimension, as of a tensor."""
        return self.shape if dim is None else self.shape[dim]

    def __getitem__(self, index: Any) -> Spikes:
        """Some of the rows; a channel is not a row."""
        if isinstance(index, (int, tuple)) or index is None or index is Ellipsis:
            raise TypeError(f'Expected a slice or an index of rows (got {index!r})')
        scale = self.scale
        if scale.dim() == self.spike_time.dim() and len(scale) == self.shape[0]:
            scale = scale[index]
        return replace(self, spike_time=self.spike_time[index], scale=scale)

    def to(self, *args: Any, **kwargs: Any) -> Spikes:
        """Moves the spikes to a device; a data type applies to ``scale``."""
        scale = self.scale.to(*args, **kwargs)
        return replace(self, spike_time=self.spike_time.to(scale.device), scale=scale)

    def _title(self) -> str:
        return f'{self.num_spikes:,} spikes'

    def _parts(self) -> list[Part]:
        """How many neurons fire at each step."""
        num_steps, size = self.code.num_steps, self.spike_time.numel()
        # Of each byte: ON spikes by their step, silence, OFF spikes.
        found = self.spike_time.reshape(-1).long().bincount(minlength=2 * num_steps + 1)
        on, off = found[:num_steps].tolist(), found[num_steps + 1 :].tolist()
        heads = ['ON spikes', 'OFF spikes'] if self.code.signed else ['spikes']
        columns = [Column('step', 6, True), Column('level', 9)]
        columns += [Column(head, 10) for head in [*heads, 'neurons, %']]
        rows = []
        for step, level in enumerate(self.code.levels.tolist()):
            counts = [on[step], *([off[step]] if self.code.signed else [])]
            cells = [*(f'{count:,}' for count in counts), percent(sum(counts), size)]
            rows.append([str(step), f'{level:.4g}', *cells])
        none = [''] * (len(heads) - 1)
        silent = int(found[num_steps])
        rows.append(['silent', '0', f'{silent:,}', *none, percent(silent, size)])
        note = f'{size:,} neurons of shape {tuple(self.shape)}; {self.code}'
        return [Table(columns, rows, note=note)]

    def __repr__(self) -> str:
        return f'Spikes({tuple(self.shape)}, {self.code}, num_spikes={self.num_spikes})'
