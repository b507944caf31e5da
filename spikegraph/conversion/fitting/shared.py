"""What populations share, found before any of them is fitted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from spikegraph.conversion.fitting.products import steps_of, tied_bases, tied_groups
from spikegraph.conversion.fitting.ramps import Span, fit_ramp, fit_start, is_wide
from spikegraph.conversion.fitting.sampling import Samples, own_samples
from spikegraph.conversion.passes.graph import Structure
from spikegraph.conversion.ranks import Ranks
from spikegraph.network.config import ConversionConfig
from spikegraph.nn import PhaseNeuron
from spikegraph.nn.activation import Ramp

_NONE = Span(0.0, 0.0, 0.0)  # Of data without edges.


class Shared:
    """What populations share.

    Args:
        structure (Structure): The network.
        calls (List[Dict[str, Any]]): The calibration calls of this process, by argument
            name.
        config (ConversionConfig): The options.
        ranks (Ranks): The processes.
    """

    def __init__(
        self,
        structure: Structure,
        calls: list[dict[str, Any]],
        config: ConversionConfig,
        ranks: Ranks,
    ) -> None:
        self.network, self.config = structure.network, config
        self.starts = structure.starts
        self.compared = {name for group in structure.groups for name in group}
        pooled = [group for group in structure.groups if len(group) > 1]
        #: Populations that must share one code.
        self.tied = {name for group in pooled for name in group}
        self.pooled: dict[str, Tensor] = {}  # Their values, where a process leads.

        def pool(parts: Iterator[Samples]) -> None:
            own = Samples.join(parts).rows
            for group in pooled:
                rows = torch.cat([own[name] for name in group])
                self.pooled.update(dict.fromkeys(group, rows))

        def own_of(names: set[str]) -> Callable[[], Samples]:
            return lambda: own_samples(structure.network, names, calls, config)

        if self.tied:
            ranks.merge('finding shared codes', own_of(self.tied), pool)
        groups = tied_groups(structure)
        self.steps = steps_of(structure, groups, config)
        self.spans: dict[str, Span] = {}
        self.bases: dict[str, float] = {}

        def fit(parts: Iterator[Samples]) -> tuple[dict[str, Span], dict[str, float]]:
            samples = Samples.join(parts)
            bases = tied_bases(groups, samples.rows, self.steps, config)
            return samples.spans, bases

        if groups:
            names = set().union(*groups)
            self.spans, self.bases = ranks.merge(
                'finding shared bases', own_of(names), fit
            )

    def move_to(self, structure: Structure) -> None:
        """Goes on with a structure in which other populations have joined these."""
        self.network, self.starts = structure.network, structure.starts

    @property
    def wide(self) -> frozenset[str]:
        """The ramps that would have to be longer than they can be."""
        num_steps = self.config.num_steps
        return frozenset(
            name
            for name, span in self.spans.items()
            if is_wide(span, self.bases[name], num_steps)
        )

    def fit_ramp(self, name: str) -> bool:
        """Fits a population that is a ramp, or finds where one starts, and says if it
        is one of them; the first fits the second.
        """
        neuron, num_steps = self.network.get_submodule(name), self.config.num_steps
        assert isinstance(neuron, PhaseNeuron)
        if name in self.starts:
            after = self.starts[name]
            ramp: Any = self.network.get_submodule(after)
            fit_start(neuron, ramp, self.spans[after], self.bases[after], num_steps)
            return True
        if not isinstance(neuron.activation, Ramp):
            return False
        if name not in self.starts.values():
            span = self.spans.get(name, _NONE)
            fit_ramp(neuron, span, self.bases[name], num_steps)
        return True
