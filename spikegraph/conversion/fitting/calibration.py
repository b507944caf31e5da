from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from spikegraph.calls.outputs import main_output
from spikegraph.conversion.fitting.compensation import (
    Rest,
    Summed,
    compensate_layers,
    numerators_of,
    round_layers,
)
from spikegraph.conversion.fitting.populations import fit_population
from spikegraph.conversion.fitting.sampling import as_rows
from spikegraph.conversion.fitting.shared import Shared
from spikegraph.conversion.operations.affinity import check_claim
from spikegraph.conversion.passes.graph import (
    Structure,
    summed_layers,
)
from spikegraph.conversion.ranks import Ranks
from spikegraph.network.config import ConversionConfig
from spikegraph.network.graph import Node, arguments
from spikegraph.network.interpreter import AnalogReading, Interpreter, run_node
from spikegraph.network.network import Network
from spikegraph.network.roles import Role
from spikegraph.nn import GraphFilter
from spikegraph.nn.activation import Ramp
from spikegraph.nn.layer import values_of
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
    ranks: Ranks,
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
        ranks (Ranks): The processes; outputs and choices are of this one's calls.
        progress (Callable, optional): Wraps the list of nodes, for a bar.

    Raises:
        ValueError: If a population never receives a positive potential.
    """
    network, nodes = structure.network, structure.network.nodes
    bits = config.weight_bits
    is_changed = config.compensate is not None or bits is not None
    sums = summed_layers(network, True) if is_changed else {}
    rest = None
    if bits is not None:
        rest = Rest(network, chain.from_iterable(sums.values()), bits)
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
        if rest is not None:
            rest.put(node, network, is_rounded=False)
        for reading in readings:
            reading.env[node] = reading.evaluate(node)
        if node.op == 'call_module':
            module, name = network.operation(node), node.target
            if node.role is Role.POPULATION:
                fit_population(node, analog, spiking, found, ranks)
            elif not ranks.leads:  # The first batch is elsewhere.
                pass
            elif node.name in structure.claimed:
                args, _ = arguments(node, analog[0])
                check_claim(name, module, args, analog[0][node])
            elif isinstance(module, GraphFilter) and module.weight is not None:
                args, kwargs = arguments(node, spiking[0])
                result.choices[name] = module.choice(*args, **kwargs)
        if rest is not None:
            rest.put(node, network, is_rounded=True)
        for reading in ours:
            reading.env[node] = reading.evaluate(node)
        if node in sums:
            layers = [n for n in sums[node] if n.op == 'call_module']
            summed = Summed(
                node, layers, network, analog, spiking, numerators, ranks.total
            )
            is_corrected = config.compensate is not None and compensate_layers(
                summed, config, ranks
            )
            if is_corrected:
                result.compensated += [str(n.target) for n in layers]
            if bits is not None:
                round_layers(summed, bits, ranks)
            if is_corrected or bits is not None:
                for s in spiking:
                    for part in sums[node]:
                        s[part] = run_node(network, part, s)
        if node.role is Role.POPULATION:
            stats = result.populations[node.target]
            _count(stats, network, node, analog, spiking, ranks)
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


def _inputs_of(parts: list[Node]) -> list[Node]:
    return [source for part in parts for source in part.all_input_nodes]


def _count(
    stats: PopulationStats,
    network: Network,
    node: Node,
    analog: list[dict[Node, Any]],
    spiking: list[dict[Node, Any]],
    ranks: Ranks,
) -> None:
    neuron = network.get_submodule(str(node.target))

    def count() -> list[tuple[float, float, int, int]]:
        found = []
        for a, s in zip(analog, spiking, strict=True):
            args, kwargs = arguments(node, a)
            coded = values_of(neuron(*args, **kwargs))
            true = a[node]
            if isinstance(
                neuron.activation, Ramp
            ):  # Of which these are the logarithms.
                true = (true - neuron.activation.peak).exp()
            error = float((coded - true).double().square().sum())
            energy = float(true.double().square().sum())
            found.append((error, energy, s[node].num_spikes, s[node].shape.numel()))
        return found

    def add(parts: Iterator[list[Any]]) -> tuple[float, float]:
        # In the order of batches.
        sums = (sum(v) for v in zip(*chain.from_iterable(parts), strict=True))
        error, energy, num_spikes, num_neurons = sums
        relative = (error / energy) ** 0.5 if energy > 0 else 0.0
        return relative, num_spikes / max(1, num_neurons)

    doing = f"counting the spikes of '{stats.name.split('.', 1)[1]}'"
    stats.coding_error, stats.spikes_per_neuron = ranks.merge(doing, count, add)


def predictions(rows: Tensor) -> Tensor:
    """The largest entry of each row; of a single score, its sign."""
    return rows[:, 0] > 0 if rows.size(1) == 1 else rows.argmax(-1)


class OutputSums(NamedTuple):
    """How outputs of the two networks differ on one batch.

    Args:
        errors (Dict[int, float]): The squared error of each output.
        energies (Dict[int, float]): Its energy.
        num_same (int): Rows of the main one with the same largest entry.
        num_rows (int): All rows of it.
    """

    errors: dict[int, float]
    energies: dict[int, float]
    num_same: int
    num_rows: int


def output_sums(ann: list[Any], snn: list[Any]) -> list[OutputSums]:
    """Compares outputs of the two networks, batch by batch."""
    sums = []
    for expected, found in zip(ann, snn, strict=True):
        errors, energies = {}, {}
        num_same = num_rows = 0
        values = pytree.tree_leaves(expected)
        pairs = list(zip(values, pytree.tree_leaves(found), strict=True))
        for k, (a, b) in enumerate(pairs):
            if isinstance(a, Tensor) and a.is_floating_point():
                errors[k] = float((b.double() - a.double()).square().sum())
                energies[k] = float(a.double().square().sum())
        main = main_output(values)
        if main is not None:
            same = _are_same(*pairs[main])
            num_same, num_rows = int(same.sum()), same.numel()
        sums.append(OutputSums(errors, energies, num_same, num_rows))
    return sums


def output_errors(sums: Iterable[OutputSums]) -> tuple[float, float]:
    r"""What the sums of all batches come to.

    Returns:
        Tuple[float, float]: The relative error
        :math:`\|Y_{SNN} - Y_{ANN}\| / \|Y_{ANN}\|` of the worst output, and the
        percentage of rows of the main one, see :func:`main_output`, with the same
        largest entry, or sign if there is only one.
    """
    errors: dict[int, float] = defaultdict(float)
    energies: dict[int, float] = defaultdict(float)
    num_same = num_rows = 0
    for each in sums:
        for k, error in each.errors.items():
            errors[k] += error
            energies[k] += each.energies[k]
        num_same, num_rows = num_same + each.num_same, num_rows + each.num_rows
    relative = [(errors[k] / (energies[k] or 1.0)) ** 0.5 for k in errors]
    return max(relative, default=0.0), 100 * num_same / max(1, num_rows)


def _are_same(a: Tensor, b: Tensor) -> Tensor:
    """Whether predictions are."""
    if not a.is_floating_point():
        return a == b
    dim = 0 if a.dim() == 1 else -1  # A score of each sample.
    return predictions(as_rows(a, dim)) == predictions(as_rows(b, dim))
