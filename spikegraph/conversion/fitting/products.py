"""Codes of populations whose spike times are added: one base for all of them."""

from __future__ import annotations

import math
from dataclasses import replace

from torch import Tensor

from spikegraph.coding import PhaseCode
from spikegraph.conversion.fitting.codes import BASES, SortedValues, fit_scales
from spikegraph.conversion.fitting.ramps import LARGEST_RATIO
from spikegraph.conversion.passes.graph import Structure
from spikegraph.network.config import ConversionConfig
from spikegraph.nn import PhaseNeuron
from spikegraph.nn.activation import Ramp


def at_base(config: ConversionConfig, base: float) -> ConversionConfig:
    """A configuration for populations whose base is chosen already."""
    return replace(config, base=base, levels='geometric', threshold_shift=None)


def tied_groups(structure: Structure) -> list[set[str]]:
    """The populations that need one base, in groups; a ramp may be alone."""
    ties = [*structure.tied, *({name} for name in _ramps(structure))]
    names: set[str] = set().union(*ties)  # What they are compared with has it, too.
    return _merged([*ties, *(set(g) for g in structure.groups if names & set(g))])


def steps_of(
    structure: Structure, groups: list[set[str]], config: ConversionConfig
) -> dict[str, int]:
    """The time steps of every population that has not as many as all others: relays,
    and what needs the base of one, but for what attention weighs.
    """
    ramps = set(_ramps(structure))
    tied = {name: group for group in groups for name in group}
    finer = [tied.get(name, {name}) for name in structure.relays]
    names = (name for group in finer if not group & ramps for name in group)
    return dict.fromkeys(names, config.num_relay_steps)


def tied_bases(
    groups: list[set[str]],
    samples: dict[str, Tensor],
    steps: dict[str, int],
    config: ConversionConfig,
) -> dict[str, float]:
    """The base of every population whose spike times are added to others': that of
    least error, each relative to the energy of its values. Those of a ramp are its
    coefficients.
    """
    found: dict[str, float] = {}
    for group in groups:
        rows = [samples[name] for name in sorted(group) if samples[name].numel()]
        num_steps = steps.get(min(group), config.num_steps)
        base = _best_base(rows, replace(config, num_steps=num_steps))
        found.update(dict.fromkeys(group, base))
    return found


def _ramps(structure: Structure) -> list[str]:
    """The populations whose thresholds fall by a constant each step."""
    modules = structure.network.named_modules()
    return [
        name
        for name, module in modules
        if isinstance(module, PhaseNeuron) and isinstance(module.activation, Ramp)
    ]


def _merged(ties: list[set[str]]) -> list[set[str]]:
    """Sets that share a member, as one."""
    groups: list[set[str]] = []
    for tie in ties:
        shared = [g for g in groups if g & tie]
        groups = [g for g in groups if not g & tie]
        groups.append(tie.union(*shared))
    return groups


def _best_base(rows: list[Tensor], config: ConversionConfig) -> float:
    if config.base != 'auto':
        return float(config.base)
    signs = [bool((values < 0).any()) for values in rows]
    ordered = [SortedValues.of(values.t().abs()) for values in rows]
    energies = [max(float(data.energy.sum()), 1e-300) for data in ordered]
    limit = math.exp(LARGEST_RATIO)
    bases = [b for b in BASES[::-1] if b ** (2 * config.num_steps) <= limit]
    total = [0.0] * len(bases)
    for data, signed, energy in zip(ordered, signs, energies, strict=True):
        codes = [PhaseCode.nearest(config.num_steps, b, signed) for b in bases]
        errors = fit_scales(data, codes, config)[1]
        total = [t + e / energy for t, e in zip(total, errors.tolist(), strict=True)]
    return min([*zip(total, bases, strict=True), (math.inf, BASES[0])])[1]
