"""Codes of populations whose spike times are added: one base for all of them."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from spikegraph.coding import PhaseCode
from spikegraph.coding.phase_code import MAX_NUM_STEPS
from spikegraph.conversion.fitting.codes import BASES, fit_code
from spikegraph.conversion.fitting.sampling import own_samples
from spikegraph.conversion.passes.graph import Structure
from spikegraph.network.config import ConversionConfig
from spikegraph.nn import PhaseNeuron
from spikegraph.nn.activation import Ramp

_MARGIN = 0.25  # Of the range of scores, above and below those of the calibration data.
_MOST = 69.0  # The logarithm of the largest ratio of levels.


def at_base(config: ConversionConfig, base: float) -> ConversionConfig:
    """A configuration for populations whose base is chosen already."""
    return replace(config, base=base, levels='geometric', threshold_shift=None)


def tied_bases(
    structure: Structure, calls: list[dict[str, Any]], config: ConversionConfig
) -> dict[str, float]:
    """The base of every population whose spike times are added to others': that of
    least error, each relative to the energy of its values. Those of a ramp are its
    coefficients.
    """
    groups = _merged([*structure.tied, *({name} for name in _ramps(structure))])
    if not groups:
        return {}
    names = set().union(*groups)
    samples = own_samples(structure.network, names, calls, config)
    found: dict[str, float] = {}
    for group in groups:
        rows = [samples[name] for name in sorted(group)]
        found.update(dict.fromkeys(group, _best_base(rows, config)))
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
    best = (math.inf, BASES[0])
    for base in BASES[::-1]:
        if base ** (2 * config.num_steps) > math.exp(_MOST):
            continue
        total = 0.0
        for values in rows:
            own = at_base(config, base)
            _, _, error = fit_code(values.t(), own, bool((values < 0).any()))
            total += error / max(float(values.double().square().sum()), 1e-300)
        best = min(best, (total, base))
    return best[1]


def fit_ramp(neuron: PhaseNeuron, potentials: Tensor, base: float) -> None:
    """Lets a ramp reach from above the largest score to below the smallest; where a
    byte cannot count as far, over as many scores as it can.
    """
    activation = neuron.activation
    assert isinstance(activation, Ramp)
    scores = potentials if activation.inner is None else activation.inner(potentials)
    low, high = float(scores.min()), float(scores.max())
    step = math.log(base)
    margin = max(_MARGIN * (high - low), 4 * step)
    most = min(MAX_NUM_STEPS, int(_MOST / step))
    num_steps = min(math.ceil((high - low + 2 * margin) / step) + 1, most)
    reach, peak = (num_steps - 1) * step, high + margin
    if reach < high - low + margin:
        margin = 4 * step
        peak = _fullest(scores, reach - margin) + margin
    activation.peak.fill_(peak)
    neuron.code = PhaseCode(num_steps, base)
    neuron.scale = neuron.scale.new_ones(()).to(potentials)


def _fullest(scores: Tensor, reach: float) -> float:
    """The upper end of the stretch of a length that holds the most scores; the
    highest one, if others hold as many.
    """
    ordered = scores.flatten().double().sort().values
    rank = torch.arange(1, len(ordered) + 1, device=ordered.device)
    inside = rank - torch.searchsorted(ordered, ordered - reach)
    return float(ordered[inside == inside.max()].max())
