"""What a run over several processes took, and what it sent."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from spikegraph.coding import Spikes
from spikegraph.tables import Column, Part, Shown, Table

_COLUMNS = (
    Column('stage', 32, is_text=True),
    Column('rows sent', 10),
    Column('kB sent', 10),
    Column('B/row', 7),
    Column('float', 6),
    Column('local s', 8),
    Column('fire s', 8),
    Column('exch. s', 8),
)


@dataclass
class StageReport:
    """What a stage of one process took.

    Args:
        stage (str): What it makes.
        local_s (float): Seconds of computing, without firing.
        fire_s (float): Seconds in populations, and in sums that are made where they fire.
        exchange_s (float): Seconds of packing, waiting and unpacking.
        rows_sent (int): Rows that are sent, once for each process that needs them.
        bytes_sent (int): Their bytes.
        float_bytes (int): The bytes of the same rows as real values.
        is_kept (bool): Whether it was read from the disk.
    """

    stage: str
    local_s: float = 0.0
    fire_s: float = 0.0
    exchange_s: float = 0.0
    rows_sent: int = 0
    bytes_sent: int = 0
    float_bytes: int = 0
    is_kept: bool = False

    @property
    def row_bytes(self) -> float:
        """The bytes of a row that is sent."""
        return self.bytes_sent / max(1, self.rows_sent)


@dataclass
class PartResult(Shown):
    """What a process has computed: its rows of the outputs.

    Args:
        values (Any): What the network returns, with the rows of this process.
        rows (Dict[str, torch.Tensor]): Which rows these are, by the input whose rows the
            outputs have.
        stages (List[StageReport]): What each stage took.
        spikes (Dict[str, Tuple[torch.Tensor, Spikes]]): The rows, and the spikes, of each
            population, if asked for.
        found (Dict[Step, Any]): The rows of each step that is returned.
    """

    values: Any
    rows: dict[str, Tensor]
    stages: list[StageReport] = field(default_factory=list)
    spikes: dict[str, tuple[Tensor, Spikes]] = field(default_factory=dict)
    found: dict[Any, Any] = field(default_factory=dict, repr=False)

    @property
    def bytes_sent(self) -> int:
        """The bytes that were sent."""
        return sum(stage.bytes_sent for stage in self.stages)

    def _title(self) -> str:
        return f'{self.bytes_sent / 1e3:,.1f} kB sent'

    def _parts(self) -> list[Part]:
        """A row for each stage."""
        rows = []
        for stage in self.stages:
            less = stage.float_bytes / stage.bytes_sent if stage.bytes_sent else None
            name = f'{stage.stage} (kept)' if stage.is_kept else stage.stage
            sent = (f'{stage.rows_sent:,}', f'{stage.bytes_sent / 1e3:,.1f}')
            ratio = '' if less is None else f'{less:.1f} x'
            seconds = (stage.local_s, stage.fire_s, stage.exchange_s)
            row = [_short(name), *sent, f'{stage.row_bytes:.1f}', ratio]
            rows.append([*row, *(f'{value:.3f}' for value in seconds)])
        return [Table(_COLUMNS, rows)]


def _short(text: str, width: int = 32) -> str:
    return text if len(text) <= width else f'{text[: width - 3]}...'
