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

    Example:
        >>> import tempfile
        >>> import torch
        >>> from torch import nn
        >>> from spikegraph import convert, simulate
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
        >>> x = torch.rand(5, 4)
        >>> simulation = simulate(convert(model, x), x)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = f'{folder}/events.npz'
        ...     save_events(simulation.events(), path, list(simulation.spikes))
        ...     events, layers = load_events(path)
        >>> layers
        ['input_input', '_1']
        >>> events.dtype.names
        ('t', 'layer', 'node', 'channel', 'polarity')
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
