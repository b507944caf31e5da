"""Membranes that grow by the base at each step, in fixed point, next to those that hold."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from spikegraph.running.integers.replay import phase, polarity, rounded, synapses


def charge_growing(
    op: dict[str, Any],
    spikes: dict[str, np.ndarray],
    watch: Callable[[np.ndarray], None],
) -> tuple[np.ndarray, int]:
    r"""As :func:`replay.charge`, by :math:`V \leftarrow [Q \, V] + [I_t]`: what each source
    charges has to hold :math:`Q^{T-1}` times its potential.
    """
    most, clipped = 2 ** (op['width'] - 1) - 1, 0

    def kept(value: np.ndarray) -> np.ndarray:
        nonlocal clipped
        full = np.clip(value, -most, most)
        clipped += int((value != full).sum())
        watch(full)
        return full

    total = kept(np.broadcast_to(op['bias'], op['shape']).astype(np.int64))
    for source in op['sources']:
        time, gains = spikes[source['spikes']], source['gains']
        when = phase(time, len(gains))
        sent = polarity(time, len(gains)) * source['amplitude']
        membrane = np.zeros_like(total)
        for step, gain in enumerate(gains):
            membrane = kept(rounded(membrane * gain, source['gain_shift']))
            if (when == step).any():
                current = synapses(np.where(when == step, sent, 0), source['path'])
                membrane = kept(membrane + rounded(current, source['shifts'][step]))
        total = kept(total + rounded(membrane * source['last'], source['last_shift']))
    return total, clipped
