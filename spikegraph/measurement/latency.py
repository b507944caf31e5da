from __future__ import annotations

from dataclasses import dataclass

from spikegraph.running.model import SpikingModel


@dataclass(frozen=True)
class Latency:
    """How long one inference takes, and how often a stream delivers one.

    Args:
        steps (int): Time steps from input to output.
        pipelined_steps (int): Time steps between results of a stream.
        latency_ms (float): ``steps`` in milliseconds.
        pipelined_ms (float): ``pipelined_steps`` in milliseconds.
    """

    steps: int
    pipelined_steps: int
    latency_ms: float
    pipelined_ms: float


def latency(snn: SpikingModel, step_us: float = 1.0) -> Latency:
    r"""The latency of a converted network: populations fire one after
    another, :math:`(\text{populations} + 1) \cdot T` steps, input encoding
    included, and longer windows where spikes are delayed by others; pipelined, one
    result in as many steps as the longest window has.

    Args:
        snn (SpikingModel): The converted network.
        step_us (float, optional): The length of a time step in microseconds.
            (default: :obj:`1.0`)

    Raises:
        ValueError: If :obj:`step_us` is not positive.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from spikegraph import convert
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
        >>> x = torch.rand(5, 4)
        >>> snn = convert(model, x)
        >>> latency(snn, step_us=10.0)
        Latency(steps=48, pipelined_steps=16, latency_ms=0.48, pipelined_ms=0.16)
    """
    if not step_us > 0:
        raise ValueError(f"Expected 'step_us' to be positive (got {step_us})")
    steps, pipelined = snn.latency_steps, snn.pipelined_steps
    return Latency(steps, pipelined, steps * step_us / 1e3, pipelined * step_us / 1e3)
