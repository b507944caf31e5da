"""Fits a population to the values that it sends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from spikegraph.coding import PhaseCode, Spikes
from spikegraph.conversion.fitting.codes import fit_code
from spikegraph.conversion.fitting.equations import SMALLEST
from spikegraph.conversion.fitting.products import at_base
from spikegraph.conversion.fitting.sampling import sample, together
from spikegraph.conversion.fitting.shared import Shared
from spikegraph.conversion.passes.graph import readout_weight
from spikegraph.conversion.ranks import Ranks
from spikegraph.network.config import ConversionConfig
from spikegraph.network.graph import Node
from spikegraph.nn import PhaseNeuron
from spikegraph.nn.activation import check_activation
from spikegraph.nn.neuron import peaks


class Reach(NamedTuple):
    """What potentials of the calibration data reach.

    Args:
        largest (float): The largest one, if all are finite.
        bad (float, optional): The first that is not finite.
        dtype (torch.dtype): Their data type.
        num (int): How many there are.
    """

    largest: float
    bad: float | None
    dtype: torch.dtype
    num: int

    @classmethod
    def of(cls, potentials: Tensor) -> Reach:
        """That of some potentials."""
        odd = potentials[~potentials.isfinite()]
        bad = float(odd[0]) if odd.numel() else None
        num = potentials.numel()
        return cls(float(potentials.max()) if num else 0.0, bad, potentials.dtype, num)

    @classmethod
    def join(cls, parts: Iterator[Reach | None]) -> Reach:
        """That of the potentials of all processes."""
        known = [part for part in parts if part is not None]
        largest = max((p.largest for p in known if p.num), default=0.0)
        bad = next((p.bad for p in known if p.bad is not None), None)
        return cls(largest, bad, known[0].dtype, sum(p.num for p in known))


class Sampled(NamedTuple):
    """Rows of what a population codes, where there are batches: the values; the largest
    of each node, if codes may be relative to it; and what the spiking prefix makes of the
    values, if that is asked for.
    """

    values: Tensor | None
    peak: Tensor | None
    coded: Tensor | None


def fit_population(
    node: Node,
    analog: list[dict[Node, Any]],
    spiking: list[dict[Node, Any]],
    found: Shared,
    ranks: Ranks,
) -> None:
    """Chooses code and scale of one population.

    Args:
        node (Node): The population, which is set.
        analog (List[Dict[Node, Any]]): The values of the ANN, by batch.
        spiking (List[Dict[Node, Any]]): Those of the spiking network.
        found (Shared): What populations share.
        ranks (Ranks): The processes.

    Raises:
        ValueError: If it never receives a positive potential.
    """
    network, config, name = found.network, found.config, str(node.target)
    module: Any = network.operation(node)
    doing = f"fitting '{name.split('.', 1)[1]}'"
    device = module.scale.device

    def look() -> Reach | None:
        nonlocal device
        potentials = sample(node, module, analog, config, ranks.total, argument=0)
        if potentials is None:
            return None
        device = potentials.device
        return Reach.of(potentials)

    def check(parts: Iterator[Reach | None]) -> Reach:
        reach = Reach.join(parts)
        _check_potentials(name, reach, _stands_for(node))
        return reach

    reach = ranks.merge(doing, look, check)
    if found.fit_ramp(name):
        module.scale = module.scale.to(device, reach.dtype)
        return
    # Where nodes are compared, none has a scale of its own; images have much the same
    # range.
    may_be_relative = node.record.encodes and name not in found.compared
    if module.channel_dim != -1 and config.input_scale == 'auto':
        may_be_relative = False
    is_tied = name in found.tied

    def take() -> Sampled:
        values = peak = coded = None
        if not is_tied:
            values = sample(node, module, analog, config, ranks.total)
        if may_be_relative:
            peak = sample(node, module, analog, config, ranks.total, of=_peak_of_each)
        elif not is_tied:  # As the prefix sends them.
            of = _activated(module)
            coded = sample(node, module, spiking, config, ranks.total, 0, of)
        return Sampled(values, peak, coded)

    def fit(parts: Iterator[Sampled]) -> tuple[PhaseCode, Tensor, bool]:
        all_values, all_peaks, all_coded = zip(*parts, strict=True)
        values = found.pooled[name] if is_tied else together(all_values)
        _check_population(name, _stands_for(node), module, reach.largest, values)
        weight = peak = coded = None
        if values.size(1) > 1 and config.scale == 'mse' and not is_tied:
            weight = importance(readout_weight(network, node), values)
        if may_be_relative:
            peak = together(all_peaks)
        elif not is_tied:
            coded = together(all_coded)
            coded = coded if coded.shape == values.shape else None  # Rows were chosen.
        own = replace(config, num_steps=found.steps.get(name, config.num_steps))
        if name in found.bases:
            own = at_base(own, found.bases[name])
            has_channels = values.size(1) > 1 and analog[0][node].dim() > 1
            if has_channels and not node.kwargs:
                own = replace(own, per_channel=True)
        return _best_code(module, values, peak, own, weight, coded)

    module.code, scale, module.node_scale = ranks.merge(doing, take, fit)
    module.scale = scale.to(device)


def _stands_for(node: Node) -> str:
    """What a population stands for, and where the model calls that."""
    where = f' ({node.record.where})' if node.record.where else ''
    return f'It stands for {node.record.stands_for}{where}'


def _check_potentials(name: str, reach: Reach, what: str) -> None:
    name = name.split('.', 1)[1]
    if reach.num == 0:
        raise ValueError(
            f"Expected the calibration data to hold values for '{name}' (got none, as "
            f'of a graph without edges); give calibration data that does. {what}'
        )
    if reach.bad is not None:
        raise ValueError(
            f"Expected the pre-activation of '{name}' to be finite on the "
            f'calibration data (got {reach.bad}); look at the model, and at edge weights '
            f'whose sum over a node is negative. {what}'
        )


def _check_population(
    name: str, what: str, neuron: PhaseNeuron, largest: float, values: Tensor
) -> None:
    name = name.split('.', 1)[1]
    if not bool((values != 0).any()):
        raise ValueError(
            f"Expected the calibration data to activate '{name}' (got a "
            f'largest pre-activation of {largest:g}, so it would never fire); give '
            'calibration data like the data the model was trained on. If it is silent '
            f'there, too, it died in training, and all behind it is constant. {what}'
        )
    if isinstance(neuron.activation, nn.Module):
        try:
            check_activation(neuron.activation)
        except ValueError as error:
            raise ValueError(f"Cannot convert '{name}': {error}") from error


def _activated(neuron: PhaseNeuron) -> Callable[[Tensor, int], Tensor]:
    return lambda potential, _: neuron.analog(potential)


def _peak_of_each(value: Tensor, channel_dim: int) -> Tensor:
    return peaks(value, channel_dim).expand_as(value)


def _best_code(
    neuron: PhaseNeuron,
    rows: Tensor,
    peak: Tensor | None,
    config: ConversionConfig,
    weight: Tensor | None = None,
    coded: Tensor | None = None,
) -> tuple[PhaseCode, Tensor, bool]:
    """Code and scale for the values :math:`(n, F)` to be sent, and whether scales are
    to the largest one of their node or image; what is coded may be in
    error already.
    """
    signed = bool((rows < 0).any())
    candidates = []
    if not (peak is not None and config.input_scale == 'node'):
        shaped = [
            v if v is None else v.t() if config.per_channel else v.reshape(1, -1)
            for v in (rows if coded is None else coded, weight, rows)
        ]
        assert shaped[0] is not None
        code, scale, error = fit_code(shaped[0], config, signed, *shaped[1:])
        candidates.append((error, code, scale, False))
    if peak is not None and config.input_scale != 'layer':
        scaled = (rows / peak).reshape(1, -1)
        node_config = config if config.scale == 'max' else replace(config, scale='mse')
        code, scale, _ = fit_code(scaled, node_config, signed)
        spikes = Spikes.from_values(rows, code, scale.to(rows) * peak)
        squared = (spikes.decode().double() - rows.double()).square()
        error = float((squared if weight is None else weight * squared).sum())
        candidates.append((error, code, scale, True))
    _, code, scale, is_relative = min(candidates, key=lambda c: c[0])
    spatial = [1] * (-1 - neuron.channel_dim)  # Behind the channels.
    shape = (-1, *spatial) if scale.numel() > 1 else ()
    return code, scale.to(rows.dtype).view(shape), is_relative


def importance(readout: Tensor | None, rows: Tensor) -> Tensor | None:
    """How much the error of each value counts :math:`(n, F)` in a population
    that the outputs are read from: by the channel's weights, as far as they
    tell outputs apart, and relative to the size of the row's potentials.
    """
    if readout is None or readout.size(1) != rows.size(1):
        return None
    if readout.size(0) > 1:
        readout = readout - readout.mean(dim=0)
    channel = readout.double().square().sum(dim=0)
    size = (rows.double().square() * channel).sum(dim=1, keepdim=True)
    return channel / (size + SMALLEST * size.mean().clamp(min=1e-300))
