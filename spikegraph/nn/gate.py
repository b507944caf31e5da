from __future__ import annotations

import torch
from torch import nn

from spikegraph.coding import Spikes


class EarliestSpike(nn.Module):
    r"""The exact maximum of several populations: the largest value is the
    earliest spike, so a gate that lets the first spike through is a maximum.

    .. math::
        \max_k \hat{x}^{(k)}_i = s \, \ell_{\min_k t^{(k)}_i}

    Raises:
        ValueError: If the populations differ in code, scale or shape, or if
            their code is signed, where the earliest spike need not be the
            largest value.
    """

    def forward(self, populations: list[Spikes]) -> Spikes:
        """Returns the earliest spike of each neuron over all populations."""
        first = populations[0]
        if first.code.signed:
            raise ValueError(
                "Expected 'populations' to have unsigned codes, where the earliest "
                f'spike is the largest value (got {first.code})'
            )
        for other in populations[1:]:
            if other.code != first.code or not torch.equal(other.scale, first.scale):
                raise ValueError(
                    "Expected 'populations' to share one code and scale, so that their "
                    f'spike times compare (got {first.code} and {other.code})'
                )
            if other.shape != first.shape:
                raise ValueError(
                    "Expected 'populations' to share one shape "
                    f'(got {tuple(first.shape)} and {tuple(other.shape)})'
                )
        times = torch.stack([spikes.spike_time for spikes in populations])
        return Spikes(times.amin(dim=0), first.code, first.scale)
