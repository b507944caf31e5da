"""Codes that one would use in place of one spike: levels, and spikes for each.

A code of T steps has levels :math:`k / L`, in units of its scale, and sends one of them
by a number of spikes:

* *one spike*: whatever levels, one spike, as in this library;
* *linear*: :math:`L = T`, one spike, the later the smaller (time to first spike);
* *rate*: :math:`L = T`, :math:`k` spikes;
* *binary*: :math:`L = 2^T - 1`, as many spikes as :math:`k` has bits that are set
  (multi-spike phase coding);
* *few spikes*: the neurons of Stoeckl and Maass (2021) for ReLU, whose thresholds,
  resets and weights are all :math:`\\alpha 2^{-t}`: the binary code, rounded down.

All but the last round to the nearest level: the membrane starts half a level high, or
thresholds lie midway.
"""

from dataclasses import dataclass

import torch

from spikegraph import PhaseCode
from spikegraph.coding.phase_code import MAX_NUM_STEPS

KINDS = ('linear', 'rate', 'binary', 'few spikes')
_BITS = torch.tensor([bin(i).count('1') for i in range(1 << 16)])


@dataclass(frozen=True)
class UniformCode:
    """Levels that are equally far apart, of which 0 is silence."""

    kind: str
    num_steps: int

    @property
    def num_levels(self):
        is_binary = self.kind in ('binary', 'few spikes')
        return 2**self.num_steps - 1 if is_binary else self.num_steps

    @property
    def offset(self):
        """How much of a level is added before it is rounded down."""
        return 0.0 if self.kind == 'few spikes' else 0.5

    def table(self):
        """Of as many levels as a byte can tell apart; None if there are more."""
        if self.num_levels > MAX_NUM_STEPS:
            return None
        ranks = torch.arange(self.num_levels, 0, -1, dtype=torch.float64)
        cuts = (ranks - self.offset) / self.num_levels
        return PhaseCode.from_levels(ranks / self.num_levels, cuts)

    def ranks(self, size, scale):
        """The level of every size, counted from silence on."""
        ranks = (size.double() / scale * self.num_levels + self.offset).floor()
        return ranks.clamp(0, self.num_levels)

    def spikes(self, ranks):
        """How many spikes a neuron sends at a level."""
        ranks = ranks.long()
        if self.kind == 'linear':
            return (ranks > 0).long()
        if self.kind == 'rate':
            return ranks
        return sum(_BITS[(ranks >> shift) & 0xFFFF] for shift in (0, 16))


def num_sent(spikes, code):
    """How often every neuron fires, for spikes of the library that hold the levels of a
    code; once or not at all if it is none of these."""
    if code is None:
        return (spikes.spike_time != spikes.code.num_steps).long()
    return code.spikes(code.num_levels - spikes.phase().long())


def without_repeats(number, ranks):
    """Features that are 0 or 1: whatever the code, a scale makes one spike of a 1."""
    used = ranks[ranks > 0]
    is_flag = used.numel() > 0 and bool((used == used[0]).all())
    return (ranks > 0).long() if is_flag else number
