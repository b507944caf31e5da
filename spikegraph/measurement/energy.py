from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import Any

from spikegraph.coding.phase_code import check_bools
from spikegraph.measurement.counts import Counts
from spikegraph.measurement.machines import machine_of

_BYTE_BITS = 8
_ACCESSES_PER_DELAY = 2  # The one time is read, the sum of both is written.


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
        add_byte (float, optional): One addition of two bytes, as of spike times.
            (default: :obj:`None`, that of :obj:`add`)
        state (float, optional): One access to a membrane or a partial sum, if it is
            wider than a word. (default: :obj:`None`, that of :obj:`word`)
        state_multiply (float, optional): One multiplication of a membrane.
            (default: :obj:`None`, that of :obj:`multiply`)

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
    add_byte: float | None = None
    state: float | None = None
    state_multiply: float | None = None

    def __post_init__(self) -> None:
        for item in fields(self)[2:]:
            value = getattr(self, item.name)
            if value is None and item.name in _OPTIONAL:
                continue
            if not _is_number(value) or not (math.isfinite(value) and value >= 0):
                raise ValueError(
                    f"Expected '{item.name}' to be an energy in pJ, at least 0 "
                    f'(got {value!r:.60})'
                )
        if int(self.word_bits) != self.word_bits or self.word_bits < 1:
            raise ValueError(
                f"Expected 'word_bits' to be at least 1 (got {self.word_bits})"
            )

    @classmethod
    def from_dict(cls, values: Any) -> EnergyTable:
        """Makes a table of JSON types, such as :meth:`to_dict` returns.

        Args:
            values (Dict[str, Any]): The arguments by name; a source is one of them.

        Raises:
            ValueError: If one is missing, unknown or out of range.

        Example:
            >>> values = {'name': 'chip', 'source': 'data sheet, table 3', 'add': 0.1}
            >>> table = EnergyTable.from_dict({**values, 'multiply': 0.4, 'word': 2})
            >>> table.word_bits, table.to_dict()['source']
            (32, 'data sheet, table 3')
        """
        if not isinstance(values, dict):
            raise ValueError(
                "Expected 'values' to be a dictionary of an energy table (got "
                f'{type(values).__name__}); see EnergyTable.to_dict()'
            )
        names = [item.name for item in fields(cls)]
        unknown = [name for name in values if name not in names]
        missing = [name for name in _REQUIRED if name not in values]
        if unknown or missing:
            found = f'no {missing[0]!r}' if missing else f'{unknown[0]!r:.60}'
            raise ValueError(
                f'Expected an energy table to have {", ".join(_REQUIRED)}, and perhaps '
                f'{", ".join(n for n in names if n not in _REQUIRED)} (got {found})'
            )
        for name in ('name', 'source'):
            if not isinstance(values[name], str) or not values[name].strip():
                raise ValueError(
                    f"Expected '{name}' to be a text (got {values[name]!r:.60}); say "
                    'where the numbers come from'
                )
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """The table as JSON types."""
        return asdict(self)

    @property
    def mac(self) -> float:
        """One multiply-accumulate, in pJ."""
        return self.add + self.multiply

    @property
    def byte(self) -> float:
        """One access to a byte of memory, in pJ."""
        return self.word * _BYTE_BITS / self.word_bits

    @property
    def state_word(self) -> float:
        """One access to a membrane or a partial sum, in pJ."""
        return self.word if self.state is None else self.state

    @property
    def state_multiplication(self) -> float:
        """One multiplication of a membrane, in pJ."""
        return self.multiply if self.state_multiply is None else self.state_multiply

    def delay_pj(self, memory: bool = False) -> float:
        """The energy of one delay, in pJ: the waiting time of one spike, a byte, is read,
        added to the time of the other, and written where the product waits.

        Args:
            memory (bool, optional): Whether both accesses are billed.
                (default: :obj:`False`)
        """
        add = self.add if self.add_byte is None else self.add_byte
        return add + (_ACCESSES_PER_DELAY * self.byte if memory else 0.0)

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
            energy += counts.ann_aggregation_macs * (self.state_word - self.word)
        return energy

    def snn_pj(
        self, counts: Counts, memory: bool = False, machine: str = 'clocked'
    ) -> float:
        """The energy of the spiking network, in pJ.

        Args:
            counts (Counts): The operation counts.
            memory (bool, optional): Whether memory traffic, membrane updates
                and comparisons are billed too. (default: :obj:`False`)
            machine (str, optional): One of :obj:`MACHINES`.
                (default: :obj:`"clocked"`)

        Raises:
            ValueError: If there is no such machine.
        """
        check_bools(memory=memory)
        model = machine_of(machine)
        accumulates = counts.synops + model.accumulates(counts) + counts.adds
        macs = counts.snn_macs
        energy = accumulates * self.add + macs * self.mac
        energy += counts.scalings * self.multiply
        energy += counts.delays * self.delay_pj(memory)
        return model.add_memory(energy, counts, self) if memory else energy


_REQUIRED = ('name', 'source', 'add', 'multiply', 'word')
_OPTIONAL = ('add_byte', 'state', 'state_multiply')


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
