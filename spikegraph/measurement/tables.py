"""Energies of single operations, with their sources, and how others are read."""

from __future__ import annotations

import json
from os import PathLike
from pathlib import Path
from typing import Any

from spikegraph.measurement.energy import EnergyTable

_ADD_INT8 = 0.03
_HOROWITZ = (
    "M. Horowitz, Computing's energy problem (and what we can do about it), "
    'ISSCC 2014: 45 nm, {}; 8 KB SRAM, 10 pJ per 64-bit access'
)
_SPIKINGJELLY = (
    'SpikingJelly, SimpleEnergyCostConfig.{}(): {} pJ per multiply-accumulate, {} per '
    'accumulate, 24.96 pJ per byte moved (3.12 per bit); a multiplication is the '
    'difference of the first two'
)
_SPIKINGJELLY_BYTE = 24.96

HOROWITZ_45NM_FP32 = EnergyTable(
    'Horowitz 45 nm fp32',
    _HOROWITZ.format('32-bit floating point'),
    add=0.9,
    multiply=3.7,
    word=5.0,
    word_bits=32,
    add_byte=_ADD_INT8,
)
HOROWITZ_45NM_FP16 = EnergyTable(
    'Horowitz 45 nm fp16',
    _HOROWITZ.format('16-bit floating point'),
    add=0.4,
    multiply=1.1,
    word=2.5,
    word_bits=16,
    add_byte=_ADD_INT8,
)
HOROWITZ_45NM_INT32 = EnergyTable(
    'Horowitz 45 nm int32',
    _HOROWITZ.format('32-bit integer'),
    add=0.1,
    multiply=3.1,
    word=5.0,
    word_bits=32,
    add_byte=_ADD_INT8,
)
HOROWITZ_45NM_INT8 = EnergyTable(
    'Horowitz 45 nm int8',
    _HOROWITZ.format('8-bit integer'),
    add=_ADD_INT8,
    multiply=0.2,
    word=1.25,
    word_bits=8,
)
#: Eight-bit weights and activations, sums and membranes of 32 bits, in both networks.
HOROWITZ_45NM_INT8_INT32 = EnergyTable(
    'Horowitz 45 nm int8, 32-bit sums',
    _HOROWITZ.format(
        'weights and activations of 8 bits, sums and membranes of 32 bits (integers)'
    ),
    add=0.1,
    multiply=0.2,
    word=1.25,
    word_bits=8,
    add_byte=_ADD_INT8,
    state=5.0,
    state_multiply=3.1,
)
SPIKINGJELLY_FP32 = EnergyTable(
    'SpikingJelly fp32',
    _SPIKINGJELLY.format('fp32', 4.6, 0.9),
    add=0.9,
    multiply=3.7,
    word=4 * _SPIKINGJELLY_BYTE,
    word_bits=32,
)
SPIKINGJELLY_FP16 = EnergyTable(
    'SpikingJelly fp16',
    _SPIKINGJELLY.format('fp16', 1.5, 0.4),
    add=0.4,
    multiply=1.1,
    word=2 * _SPIKINGJELLY_BYTE,
    word_bits=16,
)
SPIKINGJELLY_INT8 = EnergyTable(
    'SpikingJelly int8',
    _SPIKINGJELLY.format('int8', 0.23, 0.03),
    add=0.03,
    multiply=0.2,
    word=_SPIKINGJELLY_BYTE,
    word_bits=8,
)

#: All tables by name, for the command line and files.
ENERGY_TABLES: dict[str, EnergyTable] = {
    'horowitz-fp32': HOROWITZ_45NM_FP32,
    'horowitz-fp16': HOROWITZ_45NM_FP16,
    'horowitz-int32': HOROWITZ_45NM_INT32,
    'horowitz-int8': HOROWITZ_45NM_INT8,
    'horowitz-int8-int32': HOROWITZ_45NM_INT8_INT32,
    'spikingjelly-fp32': SPIKINGJELLY_FP32,
    'spikingjelly-fp16': SPIKINGJELLY_FP16,
    'spikingjelly-int8': SPIKINGJELLY_INT8,
}


def energy_table(given: str | PathLike[str] | dict[str, Any]) -> EnergyTable:
    """The energy table of a name, of a JSON file, or of a dictionary.

    Args:
        given (str, os.PathLike or Dict[str, Any]): One of :obj:`ENERGY_TABLES`, the path
            of a JSON file, or what :meth:`EnergyTable.from_dict` takes.

    Raises:
        ValueError: If there is no such table, or it is not valid.
        FileNotFoundError: If there is no such file.

    Example:
        >>> energy_table('horowitz-fp16').mac
        1.5
    """
    if isinstance(given, dict):
        return EnergyTable.from_dict(given)
    if not isinstance(given, (str, PathLike)):
        raise ValueError(
            "Expected an energy table's name, the path of a JSON file or a dictionary "
            f'(got {type(given).__name__})'
        )
    if isinstance(given, str) and given in ENERGY_TABLES:
        return ENERGY_TABLES[given]
    path = Path(given)
    if path.suffix != '.json':
        raise ValueError(
            f'Expected an energy table to be one of {", ".join(ENERGY_TABLES)}, or a '
            f"file that ends in '.json' (got {str(given)!r:.200})"
        )
    try:
        values = json.loads(path.read_text(encoding='utf-8'))
    except ValueError as error:  # No JSON, or no text.
        raise ValueError(
            f"Expected '{path}' to hold an energy table as JSON (got {error})"
        ) from error
    try:
        return EnergyTable.from_dict(values)
    except ValueError as error:
        raise ValueError(f"'{path}': {error}") from error
