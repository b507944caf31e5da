from __future__ import annotations

import copy
import math
from typing import Any, Literal

import torch
from torch import Tensor, nn

from spikegraph.coding import PhaseCode, Spikes
from spikegraph.coding.encoding import check_scale
from spikegraph.kernels import encode_rows, encode_spikes, row_peaks
from spikegraph.nn.activation import (
    PreActivationThresholds,
    Ramp,
    bracket_of,
    check_activation,
    pre_activation_thresholds,
)


def charge(membrane: Tensor, current: Tensor, code: PhaseCode, step: int) -> Tensor:
    r"""One step of the charge window.

    .. math::
        V \leftarrow Q \, V + L(s_t)

    Args:
        membrane (torch.Tensor): The membrane :math:`V` so far :math:`(*)`.
        current (torch.Tensor): The synaptic current :math:`L(s_t)` that this
            step's spikes cause :math:`(*)`.
        code (PhaseCode): The code of the *presynaptic* population.
        step (int): The step :math:`t`.

    Returns:
        torch.Tensor: The membrane after the step. After all :math:`T` steps,
        :math:`V \ell_{T-1}` is the potential: :math:`L` of the decoded spikes.

    Example:
        >>> code = PhaseCode(num_steps=3, base=2)
        >>> membrane = torch.zeros(2)
        >>> for step, current in enumerate(torch.tensor([[1.0, 0], [0, 0], [0, 1]])):
        ...     membrane = charge(membrane, current, code, step)
        >>> membrane * code.levels[-1]
        tensor([1.0000, 0.2500])
    """
    return float(code.gains[step]) * membrane + current


def fire(
    potential: Tensor,
    code: PhaseCode,
    step: int,
    has_fired: Tensor,
    scale: float | Tensor = 1.0,
) -> Tensor:
    r"""One step of the fire window, with the membrane held and the threshold
    decaying, which is the same as a growing membrane and a constant threshold.

    .. math::
        z_t = [\, v \geq s \, \theta_t \,] \cdot [\text{not fired yet}]

    Args:
        potential (torch.Tensor): The potential :math:`v = V \ell_{T-1}`, bias
            included :math:`(*)`.
        code (PhaseCode): The code of the population itself.
        step (int): The step :math:`t`.
        has_fired (torch.Tensor): Who has fired at an earlier step (bool).
        scale (float or torch.Tensor, optional): The scale :math:`s`.

    Returns:
        torch.Tensor: 1 where a neuron fires now, -1 for an OFF spike, else 0
        (int8).

    Example:
        >>> code = PhaseCode(num_steps=3, base=2)
        >>> potential, has_fired = torch.tensor([0.8, 0.3]), torch.zeros(2).bool()
        >>> for step in range(3):
        ...     spikes = fire(potential, code, step, has_fired)
        ...     has_fired |= spikes != 0
        ...     print(spikes.tolist())
        [1, 0]
        [0, 0]
        [0, 1]
    """
    scale = torch.as_tensor(scale, dtype=potential.dtype, device=potential.device)
    threshold = scale * code.thresholds[step].to(potential)
    spikes = (potential >= threshold).to(torch.int8)
    if code.signed:
        spikes -= (-potential >= threshold).to(torch.int8)
    return spikes * ~has_fired


class PhaseNeuron(nn.Module):
    r"""A population of neurons that fire at most once per inference, as in
    the `"One-Spike SNN" <https://arxiv.org/abs/2403.08786>`_ paper.

    .. math::
        t_i = \min \{ t : v_i \geq s \, \theta_t \} \cup \{ T \}

    By default it replaces ReLU: potentials below the last threshold stay
    silent. With a signed code it sends a value of either sign, as input
    encodings need.

    Any other activation :math:`f` is folded into the thresholds, see
    :func:`~spikegraph.nn.pre_activation_thresholds`:

    .. math::
        t_i = \min \{ t : v_i \geq v^+_t \} \cup \{ T \}, \qquad
        v^+_t = \inf \{ v : f(v) \geq s \, \theta_t \}

    The decoded spikes then differ from :math:`f(v)` by what the code rounds:
    at most :func:`~spikegraph.coding.max_relative_error` times :math:`|f(v)|`
    within :math:`s` times the :func:`~spikegraph.coding.dynamic_range`, and at
    most :math:`s` times :func:`~spikegraph.coding.max_absolute_error` for
    :math:`|f(v)| \leq s \, \ell_0`; larger values are clipped to
    :math:`s \, \ell_0`. In an unsigned code, negative ones become zero.

    Args:
        code (PhaseCode): The phase code.
        scale (float or torch.Tensor, optional): The value :math:`s` of a
            spike at level 1: one number, or per channel, such that it
            broadcasts: :math:`(F)`, or for images :math:`(C, 1, 1)`.
            (default: :obj:`1.0`)
        node_scale (bool, optional): If set to :obj:`True`, every node's
            thresholds are relative to its largest value, found when encoding
            (input populations only; :obj:`scale` multiplies it).
            (default: :obj:`False`)
        activation (str or torch.nn.Module, optional): What the population
            stands for: :obj:`"relu"`, :obj:`"identity"` (inputs), or an
            elementwise module of a type in
            :obj:`~spikegraph.nn.ACTIVATIONS`. The first two fire alike.
            (default: :obj:`"relu"`)
        channel_dim (int, optional): Where channels are, counted from the end:
            :obj:`-3` for images :math:`(N, C, H, W)`, :obj:`0` if there are
            none. The values of a node or an image are this dimension and those
            behind it. (default: :obj:`-1`)

    Raises:
        ValueError: If :obj:`scale` is not positive and finite, if
            :obj:`activation` is none of these or not monotone where its type
            should be (parameters are checked when it fires), or if it is a
            module and :obj:`node_scale` is set.

    Shapes:
        - **input:** potentials :math:`(*)`
        - **output:** :class:`~spikegraph.coding.Spikes` :math:`(*)`

    Example:
        >>> neuron = PhaseNeuron(PhaseCode(num_steps=4, base=2), scale=2.0)
        >>> neuron(torch.tensor([2.0, 0.5, -1.0])).spike_time
        tensor([0, 2, 4], dtype=torch.uint8)
        >>> neuron(torch.tensor([2.0, 0.5, -1.0])).decode()
        tensor([2.0000, 0.5000, 0.0000])
    """

    made_anew = ('_cached',)  # Not saved.

    def __init__(
        self,
        code: PhaseCode,
        scale: float | Tensor = 1.0,
        node_scale: bool = False,
        activation: Literal['relu', 'identity'] | nn.Module = 'relu',
        channel_dim: int = -1,
    ) -> None:
        super().__init__()
        self.code = code
        self.channel_dim = channel_dim
        self.node_scale = node_scale
        if isinstance(activation, nn.Module):
            check_activation(activation, parameters=False)  # They may change.
            if node_scale:
                raise ValueError(
                    "Expected 'node_scale' to be False where 'activation' is a module "
                    f'(got {type(activation).__name__})'
                )
            if getattr(activation, 'inplace', False):
                activation = _out_of_place(activation)
        elif activation not in ('relu', 'identity'):
            raise ValueError(
                "Expected 'activation' to be 'relu', 'identity' or a module (got "
                f'{activation!r})'
            )
        self.activation = activation
        self.density: float | None = None  # Measured by calibration.
        self._cached: tuple[Any, list[Tensor], PreActivationThresholds] | None = None
        scale = torch.as_tensor(scale)
        if not scale.is_floating_point():
            scale = scale.to(torch.get_default_dtype())
        self.scale: Tensor
        self.register_buffer('scale', check_scale(scale, scale).clone())

    @property
    def threshold(self) -> Tensor:
        r"""The firing thresholds :math:`s \, \theta_t` per step and, where
        scales differ, per channel: :math:`(T)` or :math:`(T, F)`; those of
        the ON spike, on the pre-activation, where a module is folded into them.
        """
        dim = max(2, 1 + self.scale.dim())
        tables = self.thresholds_for(self.scale.new_empty([0] * dim))
        return self._threshold(self.scale) if tables is None else tables.on

    def _threshold(self, scale: Tensor) -> Tensor:
        thresholds = self.code.thresholds.to(scale)
        return thresholds.view(-1, *[1] * scale.dim()) * scale

    @property
    def comparisons_per_step(self) -> int:
        """With how many thresholds a waiting neuron compares its potential."""
        if not self.code.signed or self.activation == 'relu':
            return 1
        if isinstance(self.activation, str) or bracket_of(self.activation) is None:
            return 2
        return 3  # The OFF spike waits for a window.

    def analog(
        self,
        potential: Tensor,
        divisor: Tensor | None = None,
        start: Tensor | None = None,
    ) -> Tensor:
        """What the ANN computes here: the activation, not coded; of a ramp the scores,
        whose exponentials may be too large.
        """
        potential = potential if divisor is None else potential / divisor
        if isinstance(self.activation, Ramp):
            return self.activation.score(potential, start)
        if isinstance(self.activation, nn.Module):
            value: Tensor = self.activation(potential)
            return value
        return potential if self.activation == 'identity' else potential.relu()

    def thresholds_for(self, potential: Tensor) -> PreActivationThresholds | None:
        """The tables that a module is folded into, for potentials of this data
        type, device and number of dimensions; None for ReLU and identity.

        Raises:
            ValueError: If the activation is not monotone where its type should
                be.
        """
        activation = self.activation
        if activation == 'relu' and self.code.signed:
            activation = nn.ReLU()  # Shares the code of others; never fires OFF.
        if isinstance(activation, str):
            return None
        tensors = [self.scale, *activation.parameters()]
        # Compared by value: a version counter misses what is done to `.data`.
        state = [(t.dtype, t.device, t.shape) for t in tensors]
        dim = potential.dim()
        key = (self.code, repr(activation), potential.dtype, potential.device, dim)
        if self._cached is not None:
            known, values, tables = self._cached
            if known == (key, state) and all(map(torch.equal, values, tensors)):
                return tables
        scale = self.scale.to(potential)
        scale = scale.view(()) if scale.numel() == 1 else scale
        num_channels = max((p.numel() for p in tensors[1:]), default=1)
        if num_channels > 1:  # As PyTorch's PReLU, along the second dimension.
            shape = (num_channels, *[1] * (dim - 2))
            scale = scale.expand(torch.broadcast_shapes(scale.shape, shape))
        thresholds = self._threshold(scale)
        tables = pre_activation_thresholds(activation, thresholds, self.code.signed)
        values = [t.detach().clone() for t in tensors]
        self._cached = (key, state), values, tables
        return tables

    def scale_for(self, potential: Tensor, factor: Tensor | None = None) -> Tensor:
        """The scale used on ``potential``, node factors included."""
        scale, shape = self.scale.to(potential.dtype), potential.shape
        if scale.dim() > 0 and shape[-scale.dim() :][:1] != scale.shape[:1]:
            raise ValueError(
                f"Expected 'potential' to have {len(scale)} channels, in dimension "
                f'{-scale.dim()} (got shape {list(shape)})'
            )
        if self.node_scale:  # Relative to the peak, so no factor matters.
            return scale * peaks(potential, self.channel_dim)
        return scale if factor is None else scale * factor.to(potential)

    def forward(
        self,
        potential: Tensor,
        factor: Tensor | None = None,
        divisor: Tensor | None = None,
        start: Tensor | None = None,
    ) -> Spikes:
        r"""Lets every neuron fire once, or not at all.

        Args:
            potential (torch.Tensor): The membrane potentials :math:`(*)`.
            factor (torch.Tensor, optional): What each node's thresholds are
                multiplied by :math:`(N, 1)`, see
                :meth:`SpikingGCNConv.threshold_factor`.
                (default: :obj:`None`)
            divisor (torch.Tensor, optional): A second potential :math:`z > 0` that
                moves the thresholds, and broadcasts to the first: the neuron fires
                where :math:`v \geq v^+_t \, z`, as it would on :math:`v / z`, and
                nothing is divided. (default: :obj:`None`)
            start (torch.Tensor, optional): What the scores of a :class:`Ramp` that has
                starts are relative to; it broadcasts to the first, and is added to the
                thresholds. (default: :obj:`None`)

        Raises:
            ValueError: If :obj:`start` is missing for a ramp that has starts, or given
                for anything else.
        """
        if (start is None) == getattr(self.activation, 'starts', False):
            raise ValueError(
                "Expected 'start' to be given for a Ramp(starts=True), and for nothing "
                f'else (got {"none" if start is None else "one"} for {self.activation})'
            )
        if start is not None:
            potential, divisor = self.analog(potential, divisor, start), None
        if divisor is not None:
            moved = self.moved_thresholds(potential, divisor)
            scale = self.scale_for(potential).to(potential)
            return Spikes(moved.encode(potential), self.code, scale, self.density)
        tables = self.thresholds_for(potential)
        is_flat = potential.dim() == 2 and self.channel_dim in (0, -1)
        if self.node_scale and tables is None and is_flat and self.scale.dim() == 0:
            scale = self.scale.to(potential).view(())
            spike_time, scale = encode_rows(potential, self.code, scale)
            return Spikes(spike_time, self.code, scale, self.density)
        scale = self.scale_for(potential, factor)
        if tables is None:
            spike_time = encode_spikes(potential, self.code, scale)
            return Spikes(spike_time, self.code, scale.to(potential), self.density)
        if factor is not None:
            raise ValueError(
                "Expected 'factor' to be None where an activation is folded into the "
                f'thresholds (got a factor for {self.activation})'
            )
        scale = check_scale(scale, potential)
        return Spikes(tables.encode(potential), self.code, scale, self.density)

    def tables_for(self, potential: Tensor, scale: Tensor) -> PreActivationThresholds:
        """The thresholds on potentials, whatever it stands for, at a scale in use."""
        tables = self.thresholds_for(potential)
        if tables is None:
            on = self._threshold(scale)
            tables = PreActivationThresholds(on, -on if self.code.signed else None)
        return tables

    def moved_thresholds(
        self, potential: Tensor, divisor: Tensor
    ) -> PreActivationThresholds:
        """The thresholds as a second potential moves them, one for each neuron."""
        return self.tables_for(potential, self.scale.to(potential)).times(divisor)

    def get_extra_state(self) -> Tensor:
        """The code as float64 numbers, so that ``state_dict`` is complete."""
        code, nan = self.code, float('nan')
        return torch.tensor(
            [
                float(code.signed),
                float(self.node_scale),
                nan if code.base is None else code.base,
                nan if code.threshold_shift is None else code.threshold_shift,
                *code.levels.tolist(),
                *code.thresholds.tolist(),
            ],
            dtype=torch.float64,
        )

    def set_extra_state(self, state: Tensor) -> None:
        """Restores the code from :meth:`get_extra_state`."""
        signed, node_scale, base, shift, *tables = state.tolist()
        num_steps = len(tables) // 2
        self.code = PhaseCode(
            num_steps,
            None if math.isnan(base) else base,
            None if math.isnan(shift) else shift,
            bool(signed),
            _levels=tuple(tables[:num_steps]),
            _thresholds=tuple(tables[num_steps:]),
        )
        self.node_scale = bool(node_scale)

    def extra_repr(self) -> str:
        scale = self.scale
        size = f'{scale.item():.4g}' if scale.numel() == 1 else f'{tuple(scale.shape)}'
        return f'{self.code}, scale={size}{", node_scale" * self.node_scale}'


def peaks(values: Tensor, channel_dim: int) -> Tensor:
    """The largest size of a value in each node or image, 1 if all are zero."""
    if values.dim() == 2 and channel_dim in (0, -1):
        return row_peaks(values)
    first = max(channel_dim, -values.dim()) if channel_dim else 1 - values.dim()
    dims = list(range(first, 0))
    peak = values.abs().amax(dim=dims, keepdim=True)
    return peak.masked_fill(peak == 0, 1.0)


def _out_of_place(activation: nn.Module) -> nn.Module:
    activation = copy.deepcopy(activation)
    activation.inplace = False  # type: ignore[assignment]
    return activation
