from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from spikegraph.calls.outputs import main_output
from spikegraph.coding import Spikes
from spikegraph.conversion.fitting.codes import fit_code
from spikegraph.conversion.fitting.compensation import (
    SMALLEST,
    compensate_layers,
    numerators_of,
)
from spikegraph.conversion.fitting.products import at_base
from spikegraph.conversion.fitting.sampling import as_rows, sample
from spikegraph.conversion.fitting.shared import Shared
from spikegraph.conversion.operations.affinity import check_claim
from spikegraph.conversion.passes.graph import (
    Structure,
    readout_weight,
    summed_layers,
)
from spikegraph.network.config import ConversionConfig
from spikegraph.network.graph import Node, arguments
from spikegraph.network.interpreter import AnalogReading, Interpreter, run_node
from spikegraph.network.network import Network
from spikegraph.network.roles import Role
from spikegraph.nn import GraphFilter, PhaseNeuron
from spikegraph.nn.activation import Ramp, check_activation
from spikegraph.nn.layer import values_of
from spikegraph.nn.neuron import peaks
from spikegraph.nn.order import Choice


@dataclass
class PopulationStats:
    """What calibration found out about one population.

    Args:
        name (str): Its module path.
        stands_for (str): The activation or input it replaced.
        coding_error (float): Root of the summed squared error of the spikes
            over that of the true values, on the ANN's own pre-activations.
        spikes_per_neuron (float): Mean over the calibration data.
    """

    name: str
    stands_for: str
    coding_error: float = 0.0
    spikes_per_neuron: float = 0.0


@dataclass
class Calibration:
    """The outcome of :func:`calibrate`: statistics, the outputs of the ANN and of
    the spiking network on every calibration call, and what graph layers do first
    on the first one.
    """

    populations: dict[str, PopulationStats]
    compensated: list[str]
    ann_outputs: list[Any]
    snn_outputs: list[Any]
    choices: dict[str, Choice] = field(default_factory=dict)


@torch.no_grad()
def calibrate(
    structure: Structure,
    calls: list[dict[str, Any]],
    config: ConversionConfig,
    found: Shared,
    progress: Callable[[Any], Any] = iter,
) -> Calibration:
    r"""Finds code and scale of every population and corrects the layers, in
    one pass: the ANN and the spiking network advance side by side, so that
    each layer is corrected on the already-converted prefix.

    Args:
        structure (Structure): The network; its modules are set in place.
        calls (List[Dict[str, Any]]): The calibration calls, by argument name.
        config (ConversionConfig): The options.
        found (Shared): What populations share.
        progress (Callable, optional): Wraps the list of nodes, for a bar.

    Raises:
        ValueError: If a population never receives a positive potential.
    """
    network, nodes = structure.network, structure.network.nodes
    sums = summed_layers(network, True) if config.compensate is not None else {}
    numerators = numerators_of(network)
    reads = {
        node: [*node.all_input_nodes, *_inputs_of(sums.get(node, []))] for node in nodes
    }
    for node, den in numerators.items():
        reads[node] += [] if den is None else [den]
    last_use = {source: node for node in nodes for source in reads[node]}
    result = Calibration(
        {
            name: PopulationStats(name, what)
            for name, what in structure.populations.items()
        },
        compensated=[],
        ann_outputs=[],
        snn_outputs=[],
    )
    readings = [AnalogReading(network) for _ in calls]
    ours = [Interpreter(network) for _ in calls]
    analog, spiking = [r.env for r in readings], [r.env for r in ours]
    for reading, call in zip([*readings, *ours], [*calls, *calls], strict=True):
        reading.inputs = call
    for node in progress(nodes):
        for reading in readings:
            reading.env[node] = reading.evaluate(node)
        if node.op == 'call_module':
            module, name = network.operation(node), node.target
            if node.role is Role.POPULATION:
                potentials = sample(node, module, analog, config, argument=0)
                _check_potentials(name, potentials, _stands_for(node))
                if found.fit_ramp(name):
                    module.scale = module.scale.to(potentials)
                else:
                    _fit(node, potentials, analog, spiking, found)
            elif node.name in structure.claimed:
                args, _ = arguments(node, analog[0])
                check_claim(name, module, args, analog[0][node])
            elif isinstance(module, GraphFilter) and module.weight is not None:
                args, kwargs = arguments(node, spiking[0])
                result.choices[name] = module.choice(*args, **kwargs)
        for reading in ours:
            reading.env[node] = reading.evaluate(node)
        if node in sums:
            layers = [n for n in sums[node] if n.op == 'call_module']
            if compensate_layers(
                node, layers, network, analog, spiking, config, numerators
            ):
                result.compensated += [str(n.target) for n in layers]
                for s in spiking:
                    for part in sums[node]:
                        s[part] = run_node(network, part, s)
        if node.role is Role.POPULATION:
            stats = result.populations[node.target]
            _count(stats, network, node, analog, spiking)
            for s in spiking:
                s[node] = replace(s[node], density=stats.spikes_per_neuron)
        for source in (*reads[node], *sums.get(node, [])[:-1]):
            if last_use[source] is node:
                for a, s in zip(analog, spiking, strict=True):
                    a.pop(source, None), s.pop(source, None)
        if node.op == 'output':
            result.ann_outputs = [a[node] for a in analog]
            result.snn_outputs = [s[node] for s in spiking]
    return result


def _fit(
    node: Node,
    potentials: Tensor,
    analog: list[dict[Node, Any]],
    spiking: list[dict[Node, Any]],
    found: Shared,
) -> None:
    """Fits one population to the values that it sends."""
    network, config, name = found.network, found.config, str(node.target)
    module: Any = network.operation(node)
    # Where nodes are compared, none has a scale of its own; images have much the same
    # range.
    may_be_relative = node.record.encodes and name not in found.compared
    if module.channel_dim != -1 and config.input_scale == 'auto':
        may_be_relative = False
    values = found.tied.get(name)
    if values is None:
        values = sample(node, module, analog, config)
    _check_population(name, _stands_for(node), module, potentials, values)
    weight = peak = coded = None
    if values.size(1) > 1 and config.scale == 'mse' and name not in found.tied:
        weight = _importance(readout_weight(network, node), values)
    if may_be_relative:
        peak = sample(node, module, analog, config, of=_peak_of_each)
    if name not in found.tied and peak is None:  # As the prefix sends them.
        coded = sample(node, module, spiking, config, 0, of=_activated(module))
        coded = coded if coded.shape == values.shape else None  # Rows were chosen.
    config = replace(config, num_steps=found.steps.get(name, config.num_steps))
    if name in found.bases:
        config = at_base(config, found.bases[name])
        has_channels = values.size(1) > 1 and analog[0][node].dim() > 1
        if has_channels and not node.kwargs:
            config = replace(config, per_channel=True)
    _fit_population(module, values, peak, config, weight, coded)


def _stands_for(node: Node) -> str:
    """What a population stands for, and where the model calls that."""
    where = f' ({node.record.where})' if node.record.where else ''
    return f'It stands for {node.record.stands_for}{where}'


def _check_potentials(name: str, potentials: Tensor, what: str) -> None:
    name = name.split('.', 1)[1]
    if potentials.numel() == 0:
        raise ValueError(
            f"Expected the calibration data to hold values for '{name}' (got none, as "
            f'of a graph without edges); give calibration data that does. {what}'
        )
    if not bool(potentials.isfinite().all()):
        bad = float(potentials[~potentials.isfinite()][0])
        raise ValueError(
            f"Expected the pre-activation of '{name}' to be finite on the "
            f'calibration data (got {bad}); look at the model, and at edge weights whose '
            f'sum over a node is negative. {what}'
        )


def _check_population(
    name: str, what: str, neuron: PhaseNeuron, potentials: Tensor, values: Tensor
) -> None:
    name = name.split('.', 1)[1]
    if not bool((values != 0).any()):
        largest = float(potentials.max())
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


def _fit_population(
    neuron: PhaseNeuron,
    rows: Tensor,
    peak: Tensor | None,
    config: ConversionConfig,
    weight: Tensor | None = None,
    coded: Tensor | None = None,
) -> None:
    """Chooses code and scale for the values :math:`(n, F)` to be sent, which
    may be relative to the largest one of their node or image; what is coded may
    be in error already.
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
    _, neuron.code, scale, neuron.node_scale = min(candidates, key=lambda c: c[0])
    dtype = rows.dtype
    spatial = [1] * (-1 - neuron.channel_dim)  # Behind the channels.
    shape = (-1, *spatial) if scale.numel() > 1 else ()
    neuron.scale = scale.to(dtype).view(shape)


def _importance(readout: Tensor | None, rows: Tensor) -> Tensor | None:
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


def _inputs_of(parts: list[Node]) -> list[Node]:
    return [source for part in parts for source in part.all_input_nodes]


def _count(
    stats: PopulationStats,
    network: Network,
    node: Node,
    analog: list[dict[Node, Any]],
    spiking: list[dict[Node, Any]],
) -> None:
    neuron = network.get_submodule(str(node.target))
    error = energy = 0.0
    num_spikes = num_neurons = 0
    for a, s in zip(analog, spiking, strict=True):
        args, kwargs = arguments(node, a)
        coded = values_of(neuron(*args, **kwargs))
        true = a[node]
        if isinstance(neuron.activation, Ramp):  # Of which these are the logarithms.
            true = (true - neuron.activation.peak).exp()
        error += float((coded - true).double().square().sum())
        energy += float(true.double().square().sum())
        num_spikes += s[node].num_spikes
        num_neurons += s[node].shape.numel()
    stats.coding_error = (error / energy) ** 0.5 if energy > 0 else 0.0
    stats.spikes_per_neuron = num_spikes / max(1, num_neurons)


def predictions(rows: Tensor) -> Tensor:
    """The largest entry of each row; of a single score, its sign."""
    return rows[:, 0] > 0 if rows.size(1) == 1 else rows.argmax(-1)


def output_errors(ann: list[Any], snn: list[Any]) -> tuple[float, float]:
    r"""Compares outputs of the two networks.

    Returns:
        Tuple[float, float]: The relative error
        :math:`\|Y_{SNN} - Y_{ANN}\| / \|Y_{ANN}\|` of the worst output, and the
        percentage of rows of the main one, see :func:`main_output`, with the same
        largest entry, or sign if there is only one.
    """
    errors: dict[int, float] = defaultdict(float)
    energies: dict[int, float] = defaultdict(float)
    num_same = num_rows = 0
    for expected, found in zip(ann, snn, strict=True):
        values = pytree.tree_leaves(expected)
        pairs = list(zip(values, pytree.tree_leaves(found), strict=True))
        for k, (a, b) in enumerate(pairs):
            if isinstance(a, Tensor) and a.is_floating_point():
                errors[k] += float((b.double() - a.double()).square().sum())
                energies[k] += float(a.double().square().sum())
        main = main_output(values)
        if main is not None:
            same = _are_same(*pairs[main])
            num_same, num_rows = num_same + int(same.sum()), num_rows + same.numel()
    relative = [(errors[k] / (energies[k] or 1.0)) ** 0.5 for k in errors]
    return max(relative, default=0.0), 100 * num_same / max(1, num_rows)


def _are_same(a: Tensor, b: Tensor) -> Tensor:
    """Whether predictions are."""
    if not a.is_floating_point():
        return a == b
    dim = 0 if a.dim() == 1 else -1  # A score of each sample.
    return predictions(as_rows(a, dim)) == predictions(as_rows(b, dim))
