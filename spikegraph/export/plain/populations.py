"""Populations as comparisons with thresholds, and spikes as entries of a table."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spikegraph.coding import PhaseCode, Spikes
from spikegraph.nn import PhaseNeuron


class PlainPopulation(nn.Module):
    r"""A population whose thresholds are buffers:

    .. math::
        t_i = \min \{ t : v_i \geq \theta_t \} \cup \{ T \}

    Args:
        neuron (PhaseNeuron): The population.
        potential (torch.Tensor): Potentials as it will be given, of which the data type
            and the number of dimensions count.

    Shapes:
        - **input:** potentials :math:`(*)`
        - **output:** :class:`~spikegraph.coding.Spikes` :math:`(*)`, whose times are
          int32
    """

    on: Tensor
    off_high: Tensor | None
    off_low: Tensor | None
    scale: Tensor

    def __init__(self, neuron: PhaseNeuron, potential: Tensor) -> None:
        super().__init__()
        self.code, self.channel_dim = neuron.code, neuron.channel_dim
        self.node_scale = neuron.node_scale
        self._analog = neuron.analog  # Its parameters are those of the network.
        scale = neuron.scale.to(potential).detach().clone()
        scale = scale.view(()) if scale.numel() == 1 else scale
        tables = neuron.thresholds_for(potential)
        #: Whether thresholds are compared with sizes, and signs come afterwards.
        self.by_size = tables is None
        levels = self.code.thresholds.to(potential)
        on = levels.view(-1, *[1] * scale.dim()) * scale
        self.register_buffer('on', on if tables is None else tables.on.clone())
        for name in ('off_high', 'off_low'):
            table = None if tables is None else getattr(tables, name)
            self.register_buffer(name, None if table is None else table.clone())
        self.register_buffer('scale', scale)

    def forward(
        self,
        potential: Tensor,
        factor: Tensor | None = None,
        divisor: Tensor | None = None,
        start: Tensor | None = None,
    ) -> Spikes:
        """Lets every neuron fire once, or not at all; see :class:`PhaseNeuron`."""
        if start is not None:
            potential, divisor = self._analog(potential, divisor, start), None
        scale = self.scale
        if self.node_scale:  # Relative to the peak, so no factor matters.
            factor = _peaks(potential, self.channel_dim)
        if factor is not None:
            scale = scale * factor.to(potential)
        if not self.by_size or divisor is not None:
            times = self._folded(potential, divisor)
        else:
            times = self._by_size(potential, scale if factor is not None else None)
        return Spikes(times, self.code, scale)

    def _by_size(self, potential: Tensor, scale: Tensor | None) -> Tensor:
        """The times of potentials that are compared as they are."""
        signed, num_steps = self.code.signed, self.code.num_steps
        thresholds = self.on
        if scale is not None:
            thresholds = self.code.thresholds.to(potential)
        value = potential.abs() if signed else potential
        times = first_reached(value, thresholds, scale, is_folded=False)
        if not signed:
            return times
        is_off = (potential < 0) & (times < num_steps)
        return torch.where(is_off, times + (num_steps + 1), times)

    def _folded(self, potential: Tensor, factor: Tensor | None) -> Tensor:
        """The times of potentials that an activation is folded into, or that are
        compared with a second one.
        """
        num_steps = self.code.num_steps
        off_high, off_low = self.off_high, self.off_low
        if self.by_size and self.code.signed:
            off_high = -self.on
        times = first_reached(potential, self.on, factor)
        if off_high is None:
            return times
        off = first_reached(-potential, -off_high, factor)
        if off_low is not None:  # Each window holds the one before it.
            off = torch.maximum(off, first_reached(potential, off_low, factor))
        return torch.where(off < num_steps, off + (num_steps + 1), times)


def first_reached(
    value: Tensor,
    thresholds: Tensor,
    factor: Tensor | None = None,
    is_folded: bool = True,
) -> Tensor:
    """The first of decreasing thresholds :math:`(T, *)`, each times a factor, that each
    value reaches, or :math:`T` (int32). None reaches an infinite one, and all reach the
    lowest number, as thresholds have them that activations are folded into.
    """
    num_steps, info = len(thresholds), torch.finfo(value.dtype)
    if is_folded:
        value = value.clamp(info.min, info.max)
    times = torch.full((), num_steps, dtype=torch.int32, device=value.device)
    for step in reversed(range(num_steps)):
        threshold: Any = thresholds[step]
        threshold = threshold if factor is None else threshold * factor
        times = torch.where(value >= threshold, step, times)
    return times


def _peaks(values: Tensor, channel_dim: int) -> Tensor:
    """The largest size of a value in each node or image, 1 if all are zero."""
    first = max(channel_dim, -values.dim()) if channel_dim else 1 - values.dim()
    dims = [-1] if values.dim() == 2 else list(range(first, 0))
    peak = values.abs().amax(dim=dims, keepdim=True)
    return torch.where(peak == 0, 1.0, peak)


def decoded(x: Any) -> Any:
    """What spikes stand for, looked up in a table; anything else as it is."""
    if not isinstance(x, Spikes):
        return x
    table = x.code.table().to(x.scale)
    if _is_single(x.scale):
        return _look_up(x.scale.view(-1) * table, x.spike_time)
    return _look_up(table, x.spike_time) * x.scale


def _is_single(scale: Tensor) -> bool:
    return all(isinstance(size, int) and size == 1 for size in scale.shape)


def _look_up(table: Tensor, times: Tensor) -> Tensor:
    return F.embedding(times, table.view(-1, 1)).squeeze(-1)


def phase_of(x: Spikes) -> Tensor:
    """The step of each spike whatever its sign, int32; :math:`T` if none."""
    if not x.code.signed:
        return x.spike_time
    behind = x.code.num_steps + 1
    return torch.where(x.spike_time >= behind, x.spike_time - behind, x.spike_time)


def is_off(x: Spikes) -> Tensor:
    """Whether each neuron fires OFF."""
    return x.spike_time > x.code.num_steps


def read_as(x: Spikes, times: Tensor, code: PhaseCode, scale: Any) -> Spikes:
    """Spike times in the place of others, with a code and scale of their own."""
    return replace(x, spike_time=times, code=code, scale=scale)
