"""From a traced network to the graph of populations and spiking layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import nn

from spikegraph.calls.call import CallSpec
from spikegraph.conversion.passes.builder import Builder, SignalBeside
from spikegraph.conversion.passes.graph import (
    Structure,
)
from spikegraph.conversion.tracing.numbers import Numbers
from spikegraph.conversion.tracing.replacement import TraceOptions
from spikegraph.conversion.tracing.tracer import trace
from spikegraph.network.config import ConversionConfig


def build_structure(
    model: nn.Module,
    spec: CallSpec,
    config: ConversionConfig,
    affine: Sequence[str] = (),
    call: dict[str, Any] | None = None,
    wide: frozenset[str] = frozenset(),
) -> Structure:
    r"""Replaces every operation of a traced copy by its spiking twin.

    Args:
        model (torch.nn.Module): The trained model; it is not changed.
        spec (CallSpec): How it is called.
        config (ConversionConfig): Options.
        affine (Sequence[str], optional): Layers without a rule that were
            found to be affine. They are traced like others; those that
            cannot be are kept whole.
        call (Dict[str, Any], optional): The first calibration call, see
            :func:`~spikegraph.conversion.tracing.tracer.trace`. Without it, all of
            :obj:`affine` are kept whole, as the first time.
        wide (FrozenSet[str], optional): See :class:`Structure`.
            (default: :obj:`frozenset()`)

    Raises:
        NotImplementedError: If an operation has no rule and may not stay
            analog.
        ValueError: If the model has nothing to convert.
    """
    numbers = Numbers(spec.symbolic_numbers)
    try:
        return _build(model, spec, config, affine, call, numbers, wide)
    except (NotImplementedError, ValueError):
        if call is None or not numbers.modules:
            raise
    fixed = replace(spec, symbolic_numbers=False)
    return _build(model, fixed, config, affine, call, Numbers(False), wide)


def _build(
    model: nn.Module,
    spec: CallSpec,
    config: ConversionConfig,
    affine: Sequence[str],
    call: dict[str, Any] | None,
    numbers: Numbers,
    wide: frozenset[str],
) -> Structure:
    kept: frozenset[str] = frozenset()  # Looked into, unless that fails.
    if call is None:
        kept = frozenset(affine)
    opened: frozenset[str] = frozenset()
    while True:
        is_analog = config.products == 'analog'
        options = TraceOptions(config.allow_analog, kept, is_analog, opened)
        try:
            network, found = trace(model, spec, options, call, numbers)
            whole = {
                str(n.target) for n in network.graph.nodes if 'why_whole' in n.meta
            }
            if not whole.intersection(affine) - kept:
                found = replace(found, read=tuple(leaf.name for leaf in found.leaves))
                builder = Builder(network, found, config, wide, opened)
                builder.build()
                return builder.structure
            kept |= whole.intersection(affine)
        except SignalBeside as layer:
            opened |= {str(layer)}
        except NotImplementedError:
            if kept == frozenset(affine):
                raise
            kept = frozenset(affine)
