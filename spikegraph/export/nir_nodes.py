"""Nodes that NIR lacks, declared as it declares its own, so that its files hold them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

#: The names of the nodes that :func:`node_types` declares.
NODES = ('PhaseNeuron', 'PhaseReadout', 'EarliestSpike')


def import_nir() -> ModuleType:
    """The package ``nir``.

    Raises:
        ImportError: If it is missing.
    """
    try:
        import nir
    except ImportError as error:
        raise ImportError(
            "Expected 'nir' to be installed (got none); install it with 'pip install "
            "spikegraph[nir]'"
        ) from error
    return nir


def register_nodes() -> None:
    """Tells NIR of our nodes, so that ``nir.read`` finds them in files. NIR has no way
    to declare any, so that they are added to the names that it looks up.

    Raises:
        ImportError: If nir is missing, or looks names up elsewhere.
    """
    nir, types = import_nir(), node_types()
    known = getattr(nir.ir, '__all_ir', None)
    if not isinstance(known, list):
        raise ImportError(
            "Expected 'nir' to list its nodes as version 1.0.8 does (got "
            f'{nir.__version__}); install that version'
        )
    for name in NODES:
        if name not in known:
            known.append(name)
        setattr(nir.ir, name, getattr(types, name))


@lru_cache(maxsize=1)
def node_types() -> Any:
    """The nodes as classes, which need those of NIR to be defined."""
    base: Any = import_nir().NIRNode

    @dataclass(eq=False)
    class PhaseNeuron(base):
        r"""Neurons that fire at most once.

        .. math::
            v = b + \sum_{t'} I(t'), \qquad
            z_t = [v \geq \theta^+_t] - [\theta^l_t \leq v \leq \theta^h_t]

        What arrives in step 0, which is the input, and in the steps before
        :obj:`start` is added up; what comes later is not heard. In the steps :math:`t =
        0, 1, \ldots` from :obj:`start` on, a neuron that has not fired is compared with
        the thresholds of the step. If it fires, its output is :math:`\pm s \, \ell_t` in
        that step, and zero in all others. With :obj:`relative`, thresholds and scale are
        times the largest size of a value of the input, or 1 if all are zero.
        """

        levels: np.ndarray  # [T]
        scale: np.ndarray  # Broadcasts to the shape, as the next three from [T, *].
        threshold: np.ndarray
        off_high: np.ndarray  # Minus infinity where there is no OFF spike.
        off_low: np.ndarray
        bias: np.ndarray  # As many dimensions as the neurons have.
        start: int
        num_steps: int
        relative: int  # 0 or 1, of an input population.

        def __post_init__(self) -> None:
            for name in ('start', 'num_steps', 'relative'):
                setattr(self, name, int(getattr(self, name)))
            self.input_type = {'input': np.array(self.bias.shape)}
            self.output_type = {'output': np.array(self.bias.shape)}

    @dataclass(eq=False)
    class PhaseReadout(base):
        """Adds up all that arrives to a bias, which is the output of the network."""

        bias: np.ndarray
        num_steps: int  # Of the whole run.

        def __post_init__(self) -> None:
            self.num_steps = int(self.num_steps)
            self.input_type = {'input': np.array(self.bias.shape)}
            self.output_type = {'output': np.array(self.bias.shape)}

    @dataclass(eq=False)
    class EarliestSpike(base):
        """Max pooling of images: of each window, the first spike passes. Spikes are
        positive, and those of a window have one scale.
        """

        kernel_size: np.ndarray
        stride: np.ndarray
        padding: np.ndarray
        input_shape: np.ndarray  # Channels, height, width.

        def __post_init__(self) -> None:
            shape = np.array(self.input_shape)
            size = shape[1:] + 2 * self.padding - self.kernel_size
            out = np.array([shape[0], *(size // self.stride + 1)])
            self.input_type, self.output_type = {'input': shape}, {'output': out}

    found = SimpleNamespace(
        PhaseNeuron=PhaseNeuron, PhaseReadout=PhaseReadout, EarliestSpike=EarliestSpike
    )
    for each in vars(found).values():
        each.__qualname__, each.__module__ = each.__name__, __name__
    return found
