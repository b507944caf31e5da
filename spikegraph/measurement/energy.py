from __future__ import annotations

import math
from dataclasses import dataclass, fields

from spikegraph.coding.phase_code import check_bools
from spikegraph.measurement.counts import Counts


@dataclass(frozen=True)
class EnergyTable:
    r"""What each operation costs, in pJ: data, with its source.

    Args:
        name (str): A short name.
        source (str): Where the numbers come from.
        add (float): One accumulate, addition or comparison.
        multiply (float): One multiplication.
        word (float): One access to a memory word of :obj:`word_bits`.
        word_bits (int, optional): The width of a memory word.
            (default: :obj:`32`)

    Raises:
        ValueError: If an energy is negative or not finite.

    Example:
        >>> table = EnergyTable('mine', 'measured', add=0.9, multiply=3.7, word=5.0)
        >>> round(table.mac, 2)
        4.6
    """

    name: str
    source: str
    add: float
    multiply: float
    word: float
    word_bits: int = 32

    def __post_init__(self) -> None:
        for item in fields(self)[2:]:
            value = getattr(self, item.name)
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(
                    f"Expected '{item.name}' to be an energy in pJ, at least 0 "
                    f'(got {value})'
                )
        if self.word_bits < 1:
            raise ValueError(
                f"Expected 'word_bits' to be at least 1 (got {self.word_bits})"
            )

    @property
    def mac(self) -> float:
        """One multiply-accumulate, in pJ."""
        return self.add + self.multiply

    def ann_pj(
        self, counts: Counts, skip_zeros: bool = False, memory: bool = False
    ) -> float:
        """The energy of the ANN, in pJ.

        Args:
            counts (Counts): The operation counts.
            skip_zeros (bool, optional): Whether multiplications with a zero
                activation are free. (default: :obj:`False`)
            memory (bool, optional): Whether memory traffic and comparisons are
                billed too. (default: :obj:`False`)
        """
        check_bools(skip_zeros=skip_zeros, memory=memory)
        macs = counts.ann_macs_nonzero if skip_zeros else counts.ann_macs
        energy = (macs + counts.ann_aggregation_macs) * self.mac
        energy += counts.adds * self.add + counts.ann_multiplications * self.multiply
        if memory:
            # A weight per MAC, a partial sum per edge, activations out and in.
            words = macs + counts.ann_aggregation_macs + 2 * counts.ann_activations
            energy += words * self.word + counts.ann_activations * self.add
        return energy

    def snn_pj(self, counts: Counts, memory: bool = False) -> float:
        """The energy of the spiking network, in pJ.

        Args:
            counts (Counts): The operation counts.
            memory (bool, optional): Whether memory traffic, membrane updates
                and comparisons are billed too. (default: :obj:`False`)
        """
        check_bools(memory=memory)
        accumulates = counts.synops + counts.accumulates + counts.adds
        macs = counts.snn_macs
        energy = accumulates * self.add + macs * self.mac
        energy += counts.scalings * self.multiply
        if memory:
            # A weight per synaptic operation, a partial sum per edge, a byte
            # out and in per spike, state read, scaled and written per update.
            words = (
                counts.synops
                + counts.accumulates
                + macs
                + (2 * counts.spikes * 8 / self.word_bits + 2 * counts.analog_values)
            )
            energy += words * self.word + counts.comparisons * self.add
            energy += counts.membrane_updates * (2 * self.word + self.multiply)
        return energy


_SOURCE = (
    "M. Horowitz, Computing's energy problem (and what we can do about it), "
    'ISSCC 2014: 45 nm, {}; 8 KB SRAM, 10 pJ per 64-bit access'
)
HOROWITZ_45NM_FP32 = EnergyTable(
    'Horowitz 45 nm fp32', _SOURCE.format('32-bit floating point'), 0.9, 3.7, 5.0
)
HOROWITZ_45NM_INT32 = EnergyTable(
    'Horowitz 45 nm int32', _SOURCE.format('32-bit integer'), 0.1, 3.1, 5.0
)
HOROWITZ_45NM_INT8 = EnergyTable(
    'Horowitz 45 nm int8', _SOURCE.format('8-bit integer'), 0.03, 0.2, 1.25, 8
)
