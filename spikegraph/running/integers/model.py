"""A network whose time-stepped run uses integers only."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from spikegraph.calls.inputs import on_cpu_in_double
from spikegraph.network.graph import Node
from spikegraph.network.network import Network
from spikegraph.network.roles import Role
from spikegraph.running.integers.formats import Format, IntegerSimulation
from spikegraph.running.integers.run import WIDE, IntegerRun
from spikegraph.running.model import SpikingModel, check_spiking

WIDTHS = (16, 24, 32)
MEMBRANES = ('held', 'growing')
CONSTANT_BITS = 8
#: How many times as large as on the given inputs membranes may become before they are
#: full; wide ones are fine enough with that.
_HEADROOM = {16: 1.25, 24: 16.0, 32: 256.0}
_NO_HEADROOM = 1.25  # Growing ones need all bits.


class IntegerModel(nn.Module):
    r"""A spiking network in integers: weights, levels, thresholds and membranes. Its
    time-stepped run gives the same bits on every machine, for any number of threads, and
    for a node or an image whatever else is in its batch.

    Made by :func:`to_integer`.

    Args:
        model (SpikingModel): The network, in float64.
        how (Format): In what integers it runs.

    Example:
        >>> from spikegraph import ConversionConfig, convert
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
        >>> x = torch.rand(5, 4)
        >>> snn = convert(model, x, ConversionConfig(weight_bits=8))
        >>> integer = to_integer(snn, x, width=24)
        >>> integer(x).shape, sum(integer.run(x).saturated.values())
        (torch.Size([5, 3]), 0)
    """

    def __init__(self, model: SpikingModel, how: Format) -> None:
        super().__init__()
        self.model = model
        self.how = how
        self.eval()

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The output of a run: membranes after the last charge windows, in the units of
        the ANN, float64.
        """
        return self.run(*args, **kwargs).output

    @torch.no_grad()
    def run(self, *args: Any, **kwargs: Any) -> IntegerSimulation:
        """Runs every time step.

        Args:
            *args (Any): The arguments of the network's :meth:`forward`.
            **kwargs (Any): Its keyword arguments.

        Returns:
            IntegerSimulation: Output, spikes, and membranes as integers.

        Raises:
            ValueError: If the inputs do not fit the network.
            NotImplementedError: If a part of it cannot be written in integers.
        """
        return self.traced(*args, **kwargs).result

    @torch.no_grad()
    def traced(self, *args: Any, records: bool = False, **kwargs: Any) -> IntegerRun:
        """A run with what it consisted of; with :obj:`records`, all of it."""
        run = IntegerRun(self.model, self.how, records)
        run.run(on_cpu_in_double(self.model.bind(*args, **kwargs)))
        run.result.output = self.model.returned(run.result.output, args, kwargs)
        return run

    def extra_repr(self) -> str:
        how = self.how
        return f'width={how.width}, membrane={how.membrane}'


@torch.no_grad()
def to_integer(
    snn: SpikingModel,
    *args: Any,
    width: int = 24,
    membrane: str = 'held',
    constant_bits: int = CONSTANT_BITS,
    **kwargs: Any,
) -> IntegerModel:
    r"""Writes a spiking network in integers.

    Weights are the integers that :obj:`weight_bits` of
    :class:`~spikegraph.ConversionConfig` made. All other constants (scales, levels,
    factors of degrees) become integers with a mantissa of few bits and a power of two,
    thresholds the least integers that reach them. Each membrane counts in a power of two
    of its own, chosen so that what the given inputs leave on it fits its width.

    .. math::
        \text{held:} \quad & V \leftarrow V + [\ell_t \, I_t], &
        \text{fires at } V \ge \theta_t \\
        \text{growing:} \quad & V \leftarrow [Q \, V] + [I_t], & \text{the same, at the end}

    where :math:`I_t` is the sum of the weights of the spikes of step :math:`t`, and
    brackets round to an integer. A membrane that is full stays so; how often that happens
    is counted.

    Args:
        snn (SpikingModel): The network, converted with :obj:`weight_bits`.
        *args (Any): Inputs as of its :meth:`forward`, such as those it was calibrated
            with.
        width (int, optional): The bits of a membrane, sign included: 16, 24 or 32.
            (default: :obj:`24`)
        membrane (str, optional): :obj:`"held"`, with weights times falling levels, or
            :obj:`"growing"`, by the base in fixed point. (default: :obj:`"held"`)
        constant_bits (int, optional): The bits of the mantissas of constants, 4 to 16.
            (default: :obj:`8`)
        **kwargs (Any): Keyword arguments of its :meth:`forward`.

    Returns:
        IntegerModel: The network in integers.

    Raises:
        ValueError: If an option is out of range, or weights are no integers.
        NotImplementedError: If a part of the network cannot be written in integers.

    Example:
        >>> from spikegraph import ConversionConfig, convert
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
        >>> x = torch.rand(5, 4)
        >>> snn = convert(model, x, ConversionConfig(weight_bits=8))
        >>> integer = to_integer(snn, x, width=16)
        >>> float((integer(x) - snn(x)).norm() / snn(x).norm()) < 0.1
        True
    """
    check_spiking(snn)
    _check_choice('width', width, WIDTHS)
    _check_choice('membrane', membrane, MEMBRANES)
    is_number = isinstance(constant_bits, int) and not isinstance(constant_bits, bool)
    if not is_number or not 4 <= constant_bits <= 16:
        raise ValueError(
            f"Expected 'constant_bits' to be an integer from 4 to 16 (got "
            f'{constant_bits!r})'
        )
    if not args and not kwargs:
        raise ValueError(
            'Expected inputs, which tell how large membranes become (got none); pass '
            "those of the network's forward"
        )
    model = copy.deepcopy(snn).double().cpu()
    places: dict[str, int] = {}
    how = Format(WIDE, 'held', constant_bits, places=places, chooses=True)
    found = IntegerModel(model, how).run(*args, **kwargs)
    readers = _scales(model.network)
    room = _HEADROOM[width] if membrane == 'held' else _NO_HEADROOM
    exponents = {}
    for name, peak in found.peaks.items():
        real = np.ldexp(peak.astype(np.float64), -found.exponents[name])
        exponents[name] = _exponent(real, readers.get(name), width, room)
    how = Format(width, membrane, constant_bits, exponents, places)
    return IntegerModel(model, how)


def _exponent(
    peak: np.ndarray, scale: Tensor | None, width: int, room: float
) -> np.ndarray:
    """The binary places of a membrane, one for all or one for each scale."""
    if scale is not None and scale.numel() > 1 and peak.ndim >= scale.dim():
        least = scale.double().numpy()
        lost = peak.ndim - scale.dim()
        across = tuple(range(lost)) + tuple(
            lost + dim for dim, size in enumerate(scale.shape) if size == 1
        )
        peak = peak.max(axis=across, keepdims=True, initial=0.0)
        peak = np.maximum(peak.reshape(scale.shape), least)
    else:
        least_of_all = 0.0 if scale is None else float(scale.max())
        peak = np.maximum(peak.max(initial=0.0), least_of_all)
    peak = np.where(peak > 0, peak, 1.0)
    most = 2 ** (width - 1) - 1
    places: np.ndarray = np.floor(np.log2(most / (room * peak))).astype(np.int64)
    return places


def _scales(network: Network) -> dict[str, Tensor]:
    """The scale of the population that fires on a potential, by the potential's name."""
    found: dict[str, Tensor] = {}
    for node in network.nodes:
        if node.role is Role.POPULATION and isinstance(node.args[0], Node):
            neuron: Any = network.operation(node)
            if neuron.activation in ('relu', 'identity') and not node.kwargs:
                found[node.args[0].name] = neuron.scale
    return found


def _check_choice(name: str, value: Any, choices: tuple[Any, ...]) -> None:
    if value not in choices or isinstance(value, bool):
        raise ValueError(
            f"Expected '{name}' to be one of {', '.join(map(repr, choices))} (got "
            f'{value!r})'
        )
