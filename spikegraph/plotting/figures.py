"""What all pictures share: their colours, and the page that they are drawn on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ON, OFF, SILENT, CHARGE = '#0b5394', '#c0392b', '#c8c8c8', '#f1efe8'
FIRE = '#dceaf7'


def check_matplotlib() -> None:
    """Raises ``ImportError``, with the remedy, if matplotlib is missing."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise ImportError(
            'Expected matplotlib to be installed, for plots (got none); run '
            '"pip install \'spikegraph[plot]\'"'
        ) from error


def new_figure(width: float, height: float) -> Figure:
    """A page of this size, in inches."""
    check_matplotlib()
    from matplotlib.figure import Figure

    # Not through pyplot, which would keep every figure alive.
    return Figure(figsize=(width, height), dpi=120, layout='constrained')


def check_any(name: str, values: Any) -> None:
    """Raises ``ValueError`` if there is nothing to draw, or something else was given,
    such as the network and not its simulation."""
    if not isinstance(values, (Sequence, Mapping)):
        owner = name.partition('.')[0]
        raise ValueError(
            f"Expected '{owner}' to have '{name}' (got {type(values).__name__}); give it "
            "as 'simulate(snn, x)' or 'snn.report'"
        )
    if len(values) == 0:
        raise ValueError(f"Expected '{name}' to hold at least one entry (got none)")


def ticks(end: int, step: int) -> list[int]:
    """Multiples of ``step`` up to ``end``, at most about a dozen."""
    while end // step > 12:
        step *= 2
    return list(range(0, end + 1, step))
