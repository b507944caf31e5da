from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from functools import partial
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from tqdm import tqdm

from spikegraph.calls.call import call_spec, copy_of, fingerprint, run_copy
from spikegraph.calls.checks import check_finite, check_static
from spikegraph.calls.deprecation import warn_of
from spikegraph.calls.inputs import spell
from spikegraph.calls.outputs import Form
from spikegraph.calls.samples import as_calls
from spikegraph.calls.wrappers import full_precision, plain_copy, unwrap
from spikegraph.coding import PhaseCode
from spikegraph.coding.phase_code import check_bools
from spikegraph.conversion.fitting.calibration import (
    Calibration,
    OutputSums,
    calibrate,
    output_errors,
    output_sums,
)
from spikegraph.conversion.fitting.shared import Shared
from spikegraph.conversion.identity import identity_of
from spikegraph.conversion.operations.affinity import find_affine
from spikegraph.conversion.passes.graph import Structure
from spikegraph.conversion.passes.structure import build_structure
from spikegraph.conversion.ranks import Ranks, open_ranks
from spikegraph.network.config import ConversionConfig
from spikegraph.network.identity import identity_of_network
from spikegraph.network.network import Network
from spikegraph.network.report import ConversionReport, PopulationReport
from spikegraph.network.roles import Role
from spikegraph.nn import (
    GraphFilter,
    PhaseNeuron,
    SpikingGCNConv,
    SpikingLayer,
)
from spikegraph.running.delays import delays_of
from spikegraph.running.model import SpikingModel

# How far the finished network may be from what calibration found: spikes at ties
# of thresholds, where another order of summation decides.
_DRIFT = 0.5  # Relative to the logit error.
_ROUNDING = 1e-3


@torch.no_grad()
@full_precision()
def convert(
    model: nn.Module,
    calibration_data: Any,
    config: ConversionConfig | None = None,
    progress: bool | Callable[[Any], Any] = False,
    max_batches: int | None = None,
    group: Any = None,
    timeout: float = 300.0,
) -> SpikingModel:
    r"""Converts a trained network into one in which every neuron fires at
    most once, as in the `"One-Spike SNN" <https://arxiv.org/abs/2403.08786>`_
    paper. The model is not changed and needs no retraining.

    Args:
        model (torch.nn.Module): The trained model.
        calibration_data (Any): Data like the training data: a PyG
            :class:`~torch_geometric.data.Data`, a tensor or a tuple of forward
            arguments, or an iterable or loader of any of these, also one in a
            progress bar: :obj:`tqdm(loader)`. Labels at the end of a batch are
            dropped.
        config (ConversionConfig, optional): Time steps, bases, scales. What is left
            open there depends on the network; the :obj:`config` of the result holds
            what it was. (default: :obj:`ConversionConfig()`)
        progress (bool, optional): Whether a bar is shown while calibrating.
            (default: :obj:`False`)
        max_batches (int, optional): How many batches of an iterable or loader
            are used, the first ones; the memory they take grows with their
            number. (default: :obj:`None`, all)
        group (ProcessGroup or str, optional): Processes that convert together,
            :obj:`"all"` or a group of :obj:`torch.distributed`. Each gives batches
            of its own, or an empty list, and all get the network that one process
            finds with the batches of all, in the order of ranks: what is sampled,
            counted and summed up is merged, no scale is averaged. Rows that are
            sampled and sums over rows are sent, batches are not, but for the first,
            which all trace the model with. (default: :obj:`None`, this process alone)
        timeout (float, optional): Seconds that a process waits for the others.
            (default: :obj:`300.0`)

    Returns:
        SpikingModel: The spiking network; its :obj:`report` tells what was
        converted and what it cost.

    Raises:
        NotImplementedError: If an operation can be neither an affine segment
            nor a population; the message names module, type and remedy.
        ValueError: If model, data or options are unfit.
        PeerError: If another process failed, is gone, or has another model,
            configuration or version.

    Example:
        >>> import torch
        >>> from torch_geometric.nn.models import GCN
        >>> import spikegraph
        >>> _ = torch.manual_seed(0)
        >>> edge_index = torch.tensor([[0, 1, 2, 3, 4], [1, 2, 3, 4, 0]])
        >>> model, x = GCN(4, 8, 2, 3), torch.rand(5, 4)
        >>> snn = spikegraph.convert(model, (x, edge_index))
        >>> list(snn.neurons), snn(x, edge_index).shape
        (['input_x', 'act'], torch.Size([5, 3]))
        >>> snn.report.layers
        {'convs.0': 'SpikingGCNConv', 'convs.1': 'SpikingGCNConv'}
    """
    ranks = open_ranks(group, timeout)
    with ranks.telling():
        return _convert(
            unwrap(model), calibration_data, config, progress, max_batches, ranks
        )


def _convert(
    model: Any,
    data: Any,
    config: ConversionConfig | None,
    progress: bool | Callable[[Any], Any],
    max_batches: int | None,
    ranks: Ranks,
) -> SpikingModel:
    wrap = _bar(progress, ranks.leads)
    _check_types(model, config)
    config = config or ConversionConfig()
    is_alone = type(ranks) is Ranks
    calls = as_calls(model, data, max_batches, may_be_empty=not is_alone)
    first = ranks.join(model, partial(identity_of, model, config), calls)
    spec = call_spec(model, first, config.static_inputs)
    affine = find_affine(model, calls, ranks)
    structure = build_structure(model, spec, config, affine, first)
    options, given = config, spec
    config, spec = config.resolve(structure.has_images), structure.spec
    names = [name for leaf in spec.leaves for name in (leaf.argument, leaf.name)]
    check_static(config.static_inputs, names)
    inputs = [spec.bind(**call) for call in calls]
    for values in inputs:
        for leaf in spec.read_leaves:
            check_finite(spell(leaf.argument, leaf.path), values[leaf.name])
    _check_same(structure, ranks)
    found = Shared(structure, inputs, config, ranks)
    if found.wide:  # Known by now, what these need is put in front of them.
        structure = build_structure(model, given, options, affine, first, found.wide)
        found.move_to(structure)
        _check_same(structure, ranks)
    calibration = calibrate(structure, inputs, config, found, ranks, wrap)
    _verify(model, calls, calibration, structure.network.form)
    for module in structure.network.modules():
        if isinstance(module, GraphFilter):
            module.clear_cache()

    def report(parts: Iterator[list[OutputSums]]) -> ConversionReport:
        errors = output_errors(chain.from_iterable(parts))
        return _report(structure, calibration, affine, model, config, inputs[0], errors)

    outputs = calibration.ann_outputs, calibration.snn_outputs
    found_report = ranks.merge('reporting', lambda: output_sums(*outputs), report)
    snn = SpikingModel(structure.network, spec, config, found_report)
    _check_claims(snn, calls, calibration, ranks)
    _check_same(structure, ranks)
    return snn


def _check_types(model: Any, config: Any) -> None:
    if not isinstance(model, nn.Module):
        raise ValueError(
            "Expected 'model' to be a trained torch.nn.Module "
            f'(got {type(model).__name__})'
        )
    if isinstance(model, SpikingModel):
        raise ValueError(
            "Expected 'model' to be the trained ANN (got a network that is spiking "
            'already); convert the ANN again for other options'
        )
    if config is not None and not isinstance(config, ConversionConfig):
        raise ValueError(
            f"Expected 'config' to be a ConversionConfig (got {type(config).__name__})"
        )


def _bar(progress: Any, is_shown: bool) -> Callable[[Any], Any]:
    """What the nodes that are calibrated are wrapped in."""
    if callable(progress):
        warn_of("A callable 'progress'", "pass 'progress=True' for a bar")
        return progress
    check_bools(progress=progress)
    hidden = not (progress and is_shown)
    return partial(tqdm, desc='Converting', leave=False, disable=hidden)


def _check_same(structure: Structure, ranks: Ranks) -> None:
    """All processes must have come to the same network."""
    ranks.check_same(
        'comparing networks', partial(identity_of_network, structure.network)
    )


def _verify(
    model: nn.Module,
    calls: list[dict[str, Any]],
    calibration: Calibration,
    form: Form,
) -> None:
    """The converted graph, run as an ANN, must be the model that was given."""
    model = plain_copy(model)  # A call may fill caches.
    outputs = calibration.ann_outputs
    # The first call twice: a model that keeps a state differs then.
    for call, found in zip(calls + calls[:1], outputs + outputs[:1], strict=True):
        expected = form.read(run_copy(model, call))
        pairs = zip(
            pytree.tree_leaves(expected), pytree.tree_leaves(found), strict=True
        )
        for a, b in pairs:
            if isinstance(a, Tensor) and a.is_floating_point() and a.isnan().any():
                raise ValueError(
                    f'Expected the output of {type(model).__name__} to be numbers (got '
                    'NaN on the calibration data); look at its weights'
                )
            if isinstance(a, Tensor) and not _agree(a, b):
                differs = f'shape {tuple(b.shape)} for {tuple(a.shape)}'
                if a.shape == b.shape:
                    differs = f'a difference of {float((a - b).abs().max()):.3g}'
                raise ValueError(
                    f'Expected the traced {type(model).__name__} to repeat the output of '
                    f'the model in evaluation mode (got {differs}). Is it random or '
                    'stateful then, or does it change a view in place? Pass noise and '
                    'states as arguments, and write to copies, made by clone()'
                )


def _check_claims(
    snn: SpikingModel,
    calls: list[dict[str, Any]],
    calibration: Calibration,
    ranks: Ranks,
) -> None:
    """Runs the finished network as users will, and reports what that costs: it must
    be what calibration found, layer by layer.
    """

    def compare() -> tuple[list[OutputSums], list[OutputSums]]:
        outputs = [snn.values(**copy_of(call)) for call in calls]
        expected = calibration.snn_outputs, calibration.ann_outputs
        drifts, errors = (output_sums(each, outputs) for each in expected)
        return drifts, errors

    def add(parts: Iterator[Any]) -> list[tuple[float, float]]:
        sums = zip(*parts, strict=True)
        return [output_errors(chain.from_iterable(each)) for each in sums]

    report = snn.report
    (drift, _), (error, agreement) = ranks.merge('checking the network', compare, add)
    if drift > max(_DRIFT * report.logit_relative_error, _ROUNDING):
        raise RuntimeError(
            f'Expected the finished network to repeat a logit error of '
            f'{report.logit_relative_error:.2%}, found while it was calibrated (got '
            f'{error:.2%}). This is a fault of spikegraph, please report the model; '
            "'compensate=None' may avoid it"
        )
    snn.report = replace(report, logit_relative_error=error, agreement=agreement)


def _agree(a: Tensor, b: Tensor) -> bool:
    if a.shape != b.shape or a.numel() == 0:
        return a.shape == b.shape
    if not a.is_floating_point():  # Predictions: all but ties.
        return float((a != b).double().mean()) <= 0.01
    # Loose enough for other orders of summation and float32 caches.
    tolerance = max(1e-4, 16 * torch.finfo(a.dtype).eps) * a.abs().max()
    return bool(((a - b).abs() <= tolerance + torch.finfo(a.dtype).tiny).all())


def _relays(network: Network) -> list[str]:
    """The populations that only pass on what they are charged with."""
    return [
        node.target.split('.', 1)[1]
        for node in network.nodes
        if node.role is Role.POPULATION
        and not node.record.encodes
        and network.operation(node).activation == 'identity'
    ]


def _report(
    structure: Structure,
    calibration: Calibration,
    affine: list[str],
    model: nn.Module,
    config: ConversionConfig,
    inputs: dict[str, Any],
    errors: tuple[float, float],
) -> ConversionReport:
    network, levels = structure.network, config.levels
    error, agreement = errors
    encoding = {str(node.target) for node in network.nodes if node.record.encodes}
    populations = []
    for name, stats in calibration.populations.items():
        neuron = network.get_submodule(name)
        assert isinstance(neuron, PhaseNeuron)
        populations.append(
            PopulationReport(
                name=name.split('.', 1)[1],
                replaced=stats.stands_for,
                encodes=name in encoding,
                num_steps=neuron.code.num_steps,
                base=neuron.code.base,
                scale=(float(neuron.scale.min()), float(neuron.scale.max())),
                node_scale=neuron.node_scale,
                signed=neuron.code.signed,
                coding_error=stats.coding_error,
                spikes_per_neuron=stats.spikes_per_neuron,
            )
        )
    layers = {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, SpikingLayer)
    }
    return ConversionReport(
        model=type(model).__name__,
        fingerprint=fingerprint(model),
        levels='given' if isinstance(levels, PhaseCode) else levels or 'geometric',
        per_channel=bool(config.per_channel),
        populations=populations,
        relays=_relays(network),
        products=delays_of(network, inputs),
        layers={name: type(layer).__name__ for name, layer in layers.items()},
        folded_norms=structure.num_folded,
        compensated=calibration.compensated,
        degree_folded=[
            name
            for name, layer in layers.items()
            if isinstance(layer, SpikingGCNConv)
            and (layer.fold_source or layer.fold_target)
        ],
        analog=structure.analog,
        currents=structure.currents,
        preprocessed=structure.preprocessed,
        affine=[name for name in layers if name in affine],
        orders={name: asdict(c) for name, c in calibration.choices.items()},
        logit_relative_error=error,
        agreement=agreement,
    )
