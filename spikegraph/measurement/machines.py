"""What neurons cost: on a machine that updates them at every step, or when a spike
arrives.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spikegraph.measurement.counts import Counts

if TYPE_CHECKING:
    from spikegraph.measurement.energy import EnergyTable


@dataclass(frozen=True)
class Machine:
    """How a spiking network is run, as far as its energy goes.

    Args:
        name (str): Its name.
        key (str): How it is called in the keys of energies and ratios.
        description (str): What it assumes, in words.
        accumulates (Callable): The additions of sums along edges that are made.
        add_memory (Callable): Adds the energy of memory traffic and neurons to that of
            computing, in pJ, given counts and an :class:`EnergyTable`.
    """

    name: str
    key: str
    description: str
    accumulates: Callable[[Counts], int]
    add_memory: Callable[[float, Counts, EnergyTable], float]


def machine_of(name: str) -> Machine:
    """The machine of a name.

    Raises:
        ValueError: If there is none.
    """
    if not isinstance(name, str) or name not in MACHINES:
        raise ValueError(
            f"Expected 'machine' to be one of {', '.join(map(repr, MACHINES))} (got "
            f'{name!r:.60})'
        )
    return MACHINES[name]


def _clocked_pj(energy: float, counts: Counts, table: EnergyTable) -> float:
    # A weight per synaptic operation, a partial sum per edge, a byte
    # out and in per spike, state read, scaled and written per update.
    words = (
        counts.synops + counts.accumulates + counts.snn_macs + 2 * counts.analog_values
    )
    energy += words * table.word + 2 * counts.spikes * table.byte
    energy += counts.accumulates * (table.state_word - table.word)
    energy += counts.comparisons * table.add
    return energy + counts.membrane_updates * (
        2 * table.state_word + table.state_multiplication
    )


def _event_driven_pj(energy: float, counts: Counts, table: EnergyTable) -> float:
    # A weight per synaptic operation, a partial sum per edge that one moves along, a
    # byte out and in per spike; per touch a membrane and the step of its last touch,
    # read and written; both read once more when a window opens.
    words = counts.synops + counts.snn_macs + 2 * counts.analog_values
    states = counts.moved + 2 * counts.touches + counts.openings
    num_bytes = 2 * counts.spikes + 2 * counts.touches + counts.openings
    energy += words * table.word + states * table.state_word + num_bytes * table.byte
    energy += counts.searches * table.add
    return energy + counts.decays * table.state_multiplication


#: The machines by name.
MACHINES: dict[str, Machine] = {
    'clocked': Machine(
        'clocked',
        '',
        'every neuron is read, multiplied by the level ratio and written at every step '
        'of its charge window (one window per source) and until it fires, whether or '
        'not a spike arrives, input neurons included; what arrives in one step is '
        'added up on the way. It is compared with its threshold at every step of its '
        'fire window.',
        lambda counts: counts.accumulates,
        _clocked_pj,
    ),
    'event-driven': Machine(
        'event-driven',
        'event_',
        'nothing happens where no spike arrives. One that arrives has a weight, or a '
        'partial sum, read, and the membrane and the step of its last touch (a byte) '
        'read and written, with one multiplication by the level ratio to the power of '
        'the steps in between, also where there are none. When the window opens, the '
        'membrane of a neuron that has received a spike is read, brought up to date by '
        'one multiplication, and its firing time found by bisection in the table of '
        'thresholds, as nothing more arrives; the time waits as a byte. A neuron that '
        'receives nothing keeps its bias, so its firing time is known beforehand. '
        'Encoders look at values that are not zero and write events. Tables of T '
        'thresholds or powers are held in registers.',
        lambda counts: counts.moved,
        _event_driven_pj,
    ),
}
