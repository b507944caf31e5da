"""Rows of values that a network is calibrated on."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from spikegraph.conversion.fitting.ramps import Span
from spikegraph.network.config import ConversionConfig
from spikegraph.network.graph import Node
from spikegraph.network.interpreter import AnalogReading
from spikegraph.network.network import Network
from spikegraph.network.roles import Role
from spikegraph.nn.relative import Relative

MAX_VALUES = 2**18  # Calibration values kept per population.
MIN_ROWS = 4096  # Rows kept, if every channel has a scale of its own.


def sample(
    node: Node,
    module: nn.Module,
    analog: list[dict[Node, Any]],
    config: ConversionConfig,
    num_batches: int,
    argument: int | None = None,
    of: Callable[[Tensor, int], Tensor] | None = None,
) -> Tensor | None:
    """Rows of the values that a population codes :math:`(n, F)`, or of one of
    its arguments, per-node factor out; no more than needed. What ``of`` makes
    of the values has the same rows.

    Which rows of a batch are kept depends on nothing but the batch, and on how many
    all processes have: what several keep is, together, what one would have kept.
    Without batches, there is nothing.
    """
    source = node if argument is None else node.args[argument]
    kwargs = {} if argument is None else node.kwargs
    channel_dim = getattr(module, 'channel_dim', -1)
    rows = []
    for env in analog:
        value = env[source]
        if len(node.args) > 1:
            value = value / env[node.args[1]]
        if 'divisor' in kwargs:
            value = value / env[kwargs['divisor']]
        value = value if of is None else of(value, channel_dim)
        rows.append(as_rows(value, channel_dim))
    if not rows:
        return None
    limit = max(1, MAX_VALUES // num_batches // max(1, rows[0].size(1)))
    if config.per_channel:
        limit = max(limit, MIN_ROWS // num_batches + 1)
    return torch.cat([_subsample(r, limit) for r in rows])


def together(parts: Iterable[Tensor | None]) -> Tensor:
    """The rows of all processes."""
    return torch.cat([part for part in parts if part is not None])


def as_rows(value: Tensor, channel_dim: int = -1) -> Tensor:
    """One row for each node, or each place of an image :math:`(n, C)`."""
    if value.dim() == 0 or channel_dim == 0:
        return value.reshape(-1, 1)
    if value.dim() == 1:  # The channels of one sample.
        return value.view(1, -1)
    return value.movedim(max(channel_dim, -value.dim()), -1).flatten(0, -2)


def _subsample(rows: Tensor, limit: int) -> Tensor:
    return rows if len(rows) <= limit else rows[pick(len(rows), limit, rows.device)]


def pick(num_rows: int, limit: int, device: torch.device) -> Tensor:
    """The indices of all rows, or of some, at random, if there are many."""
    if num_rows <= limit:
        return torch.arange(num_rows, device=device)
    generator = torch.Generator().manual_seed(0)
    return torch.randperm(num_rows, generator=generator)[:limit].to(device)


class Samples(NamedTuple):
    """What populations send for the calibration data, by their paths.

    Args:
        rows (Dict[str, torch.Tensor]): Some of their values.
        spans (Dict[str, Span]): What the scores of ramps reach.
    """

    rows: dict[str, Tensor]
    spans: dict[str, Span]

    @classmethod
    def join(cls, parts: Iterable[Samples]) -> Samples:
        """Those of all processes."""
        rows: dict[str, list[Tensor]] = {}
        spans: dict[str, Span] = {}
        for part in parts:
            for name, values in part.rows.items():
                rows.setdefault(name, []).append(values)
            for name, span in part.spans.items():
                spans[name] = spans[name].join(span) if name in spans else span
        return cls({name: torch.cat(values) for name, values in rows.items()}, spans)


def own_samples(
    network: Network,
    names: set[str],
    calls: list[dict[str, Any]],
    config: ConversionConfig,
) -> Samples:
    """Samples of the values of some populations, of every batch of this process."""
    found: dict[str, list[Tensor]] = {}
    spans: dict[str, Span] = {}
    for call in calls:
        _Sampling(network, names, config, found, spans).run(call)
    return Samples({name: torch.cat(rows) for name, rows in found.items()}, spans)


class _Sampling(AnalogReading):
    """Keeps samples of some populations."""

    def __init__(
        self,
        network: Network,
        names: set[str],
        config: ConversionConfig,
        found: dict[str, list[Tensor]],
        spans: dict[str, Span],
    ) -> None:
        super().__init__(network)
        self.names, self.config = names, config
        self.found, self.spans = found, spans

    def population(self, node: Node) -> Any:
        value = super().population(node)
        if node.target in self.names:
            neuron, env = self.network.operation(node), {**self.env, node: value}
            rows = sample(node, neuron, [env], self.config, 1)
            assert rows is not None
            self.found.setdefault(node.target, []).append(rows)
        return value

    def gate(self, node: Node) -> Any:
        """Keeps coefficients, which have one scale, in the place of exponentials, and
        what their scores reach.
        """
        value = super().gate(node)
        gate = self.network.operation(node)
        if not isinstance(gate, Relative):
            return value
        source: Any = node.args[0]
        while source.role is not Role.POPULATION:  # What is masked is moved.
            source = source.args[0]
        if source.target in self.names:
            rows = _subsample(value.reshape(-1, 1), MAX_VALUES)
            self.found[source.target][-1] = rows
        scores = self.env[node.args[0]]
        largest, scores = scores[value == 1], scores[scores.isfinite()]
        if scores.numel() > 0:
            span = Span(float(scores.min()), float(largest.min()), float(scores.max()))
            known = self.spans.get(source.target)
            self.spans[source.target] = span if known is None else known.join(span)
        return value
