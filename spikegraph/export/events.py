"""Spike events as structured arrays, and in files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from spikegraph.running.steps import EVENT_DTYPE


def save_events(events: np.ndarray, path: str | Path, layers: list[str]) -> None:
    """Writes events and the names of their layers to a ``.npz`` file.

    Args:
        events (numpy.ndarray): From :meth:`Simulation.events`.
        path (str or pathlib.Path): The file, ending in ``.npz``.
        layers (List[str]): The name of each layer index.

    Raises:
        ValueError: If the events have other fields or the file another suffix.
    """
    if events.dtype != EVENT_DTYPE:
        raise ValueError(
            f"Expected 'events' of type {EVENT_DTYPE} (got {events.dtype})"
        )
    if Path(path).suffix != '.npz':
        raise ValueError(f"Expected 'path' to end in '.npz' (got '{path}')")
    np.savez_compressed(path, events=events, layers=np.array(layers, dtype=np.str_))


def load_events(path: str | Path) -> tuple[np.ndarray, list[str]]:
    """Reads what :func:`save_events` wrote.

    Returns:
        Tuple[numpy.ndarray, List[str]]: The events and the layer names.

    Raises:
        ValueError: If the file does not hold events.
    """
    with np.load(path, allow_pickle=False) as file:
        if 'events' not in file or file['events'].dtype != EVENT_DTYPE:
            raise ValueError(
                f"Expected '{path}' to hold spike events (got {', '.join(file.files)})"
            )
        return file['events'], file['layers'].tolist()
