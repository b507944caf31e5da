"""In what integers a network runs, and what a run leaves behind."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from spikegraph.running.steps import Simulation


@dataclass(frozen=True)
class Format:
    """In what integers a network runs.

    Args:
        width (int): The bits of a membrane.
        membrane (str): ``'held'`` or ``'growing'``.
        constant_bits (int): The bits of the mantissas of constants.
        exponents (Dict[str, Any]): By the name of a node, the number of binary places
            of its membranes.
        places (Dict[str, int]): The number of binary places of what steps make of
            currents, and of the constants they multiply by at most.
        chooses (bool): Whether these are still to be found.
    """

    width: int
    membrane: str
    constant_bits: int
    exponents: dict[str, np.ndarray] = field(default_factory=dict)
    places: dict[str, int] = field(default_factory=dict)
    chooses: bool = False


@dataclass
class IntegerSimulation(Simulation):
    """What a run in integers produced: as :class:`Simulation`, and the integers.

    Args:
        integers (Dict[str, numpy.ndarray]): The membranes of each potential after its
            charge windows, by the name of its node, int64.
        exponents (Dict[str, numpy.ndarray]): Their numbers of binary places.
        saturated (Dict[str, int]): How often a membrane was full, by the same names.
        peaks (Dict[str, numpy.ndarray]): The largest size each membrane had.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from spikegraph import ConversionConfig, convert
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
        >>> x = torch.rand(5, 4)
        >>> snn = convert(model, x, ConversionConfig(weight_bits=8))
        >>> run = snn.to_integer(x).run(x)
        >>> {name: v.dtype.name for name, v in run.integers.items()}
        {'_0': 'int64', '_2': 'int64'}
    """

    integers: dict[str, np.ndarray] = field(default_factory=dict)
    exponents: dict[str, np.ndarray] = field(default_factory=dict)
    saturated: dict[str, int] = field(default_factory=dict)
    peaks: dict[str, np.ndarray] = field(default_factory=dict)
