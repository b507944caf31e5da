"""A reference for codes of more levels than a byte can tell apart.

Reads a converted network node by node, and sends real values that are rounded to a
level in place of the spikes of every population. Scales are fitted as the library does:
least squared error on what the prefix that is rounded already sends, over the same
grid, one for each population or channel. Weights are those of the network: nothing
makes up for errors, so that it has to be converted with ``compensate=None``.
"""

import torch
from code_tables import without_repeats

from spikegraph.conversion.fitting.codes import NUM_SCALES
from spikegraph.conversion.fitting.populations import importance
from spikegraph.conversion.fitting.sampling import sample
from spikegraph.conversion.passes.graph import readout_weight
from spikegraph.network.graph import arguments
from spikegraph.network.interpreter import AnalogReading
from spikegraph.network.roles import Role
from spikegraph.nn.neuron import peaks


class Quantised(AnalogReading):
    """The network with a code in the place of its own, calibrated on calls."""

    def __init__(self, snn, code, calls):
        super().__init__(snn.network)
        self.snn, self.code = snn, code
        self.scales, self.relative, self.ranks, self.numbers = {}, {}, {}, {}
        self._calibrate([snn.bind(*call) for call in calls])

    @torch.no_grad()
    def __call__(self, *args):
        """The output; how often neurons fire is noted by the label of a population."""
        return self.run(self.snn.bind(*args))

    def population(self, node):
        args, kwargs = arguments(node, self.env)
        value = self.network.operation(node).analog(args[0], **kwargs)
        return self._rounded(node, value)

    def gate(self, node):
        """The largest value of a group has the largest rank."""
        args, kwargs = arguments(node, {**self.env, **self.ranks})
        ranks = self.ranks[node] = self.network.operation(node).analog(*args, **kwargs)
        self.numbers[node.record.label] = self.code.spikes(ranks)
        return super().gate(node)

    def _rounded(self, node, value):
        scale = self.scales[node]
        if self.relative[node]:
            scale = scale * peaks(value, self.network.operation(node).channel_dim)
        ranks = self.ranks[node] = self.code.ranks(value.abs(), scale.double())
        number = self.code.spikes(ranks)
        if node.record.encodes:
            number = without_repeats(number, ranks)
        self.numbers[node.record.label] = number
        sizes = (scale.double() * ranks / self.code.num_levels).to(value.dtype)
        return sizes * value.sign()

    @torch.no_grad()
    def _calibrate(self, calls):
        """Both networks advance side by side, and each population is fitted on the way."""
        analog = [AnalogReading(self.network) for _ in calls]
        rounded = [AnalogReading(self.network) for _ in calls]
        gone = self.network.last_reads
        for reading, call in zip(analog + rounded, calls + calls, strict=True):
            reading.inputs = call
        for node in self.network.nodes:
            for reading in analog + rounded:
                reading.env[node] = reading.evaluate(node)
            if node.role is Role.POPULATION:
                self._fit(node, [r.env for r in analog], [r.env for r in rounded])
                for reading in rounded:
                    reading.env[node] = self._rounded(node, reading.env[node])
            for reading in analog + rounded:
                for source in gone.get(node, ()):
                    del reading.env[source]

    def _fit(self, node, analog, rounded):
        neuron, config = self.network.operation(node), self.snn.config
        rows = sample(node, neuron, analog, config, len(analog))
        coded, weight = sample(node, neuron, rounded, config, len(analog)), None
        if rows.size(1) > 1:
            weight = importance(readout_weight(self.network, node), rows)
        shaped = [
            v if v is None else v.t() if config.per_channel else v.reshape(1, -1)
            for v in (coded, rows, weight)
        ]
        scale, error = fit_scale(self.code, *shaped)
        self.relative[node] = False
        if node.record.encodes and neuron.channel_dim == -1:
            peak = sample(node, neuron, analog, config, len(analog), of=_peaks)
            one, _ = fit_scale(self.code, *2 * [(rows / peak).reshape(1, -1)])
            found = peak * one / self.code.num_levels
            found = found * self.code.ranks(rows.abs(), one * peak) * rows.sign()
            squared = (found - rows).double().square()
            if float((squared if weight is None else weight * squared).sum()) < error:
                scale, self.relative[node] = one, True
        spatial = [1] * (-1 - neuron.channel_dim)
        shape = (-1, *spatial) if scale.numel() > 1 else ()
        self.scales[node] = scale.to(rows.dtype).view(shape)


def _peaks(value, channel_dim):
    return peaks(value, channel_dim).expand_as(value)


def fit_scale(code, values, target, weight=None):
    """The scale of least squared error of every row :math:`(C, n)`, and the error."""
    target, values = (target * values.sign()).double(), values.abs().double()
    weight = torch.ones_like(target) if weight is None else weight.double()

    def error(scale):
        sizes = scale * code.ranks(values, scale) / code.num_levels
        return (weight * (sizes - target).square()).sum(-1)

    top = values.amax(-1, keepdim=True)
    top = torch.where(top > 0, top, top.max().clamp(min=1e-30))  # Dead channels.
    best, span = 0.25 * top, 16.0
    for _ in range(3):  # Ever finer grids around the best scale so far.
        factors = span ** torch.linspace(-0.5, 0.5, NUM_SCALES + 1, dtype=top.dtype)
        grid = torch.cat([best * factors, top], dim=1)
        errors = torch.stack([error(s) for s in grid.unsqueeze(-1).unbind(1)], dim=1)
        lowest, picked = errors.min(dim=1, keepdim=True)
        best, span = grid.gather(1, picked), span ** (3 / NUM_SCALES)
    return best.view(-1), float(lowest.sum())
