"""Spike events as structured arrays, in files, and as other tools hold them."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from spikegraph.files import reading
from spikegraph.running.steps import EVENT_DTYPE, Simulation

#: What tonic's readers return; wider where a node or channel does not fit.
TONIC_DTYPE = np.dtype([('x', 'i2'), ('y', 'i2'), ('t', 'i8'), ('p', '?')])
_HDF5 = ('.h5', '.hdf5')
_FIELDS = {'x': 'channel', 'y': 'node', 't': 't', 'layer': 'layer'}


def save_events(events: np.ndarray, path: str | Path, layers: Sequence[str]) -> None:
    """Writes events and the names of their layers to a file.

    An HDF5 file holds ``events/x`` (channel), ``events/y`` (node), ``events/t`` (step)
    and ``events/p`` (1 ON, 0 OFF), as files of event cameras do, and beside them
    ``events/layer`` and ``layers``, the names.

    Args:
        events (numpy.ndarray): From :meth:`Simulation.events`.
        path (str or pathlib.Path): The file, ending in ``.npz``, or in ``.h5`` or
            ``.hdf5``, which needs h5py.
        layers (Sequence[str]): The name of each layer index.

    Raises:
        ValueError: If the events have other fields or the file another suffix.
        ImportError: If h5py is needed and missing.

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
    _check_events(events)
    suffix = Path(path).suffix
    if suffix not in ('.npz', *_HDF5):
        raise ValueError(
            f"Expected 'path' to end in '.npz', '.h5' or '.hdf5' (got '{path}')"
        )
    if suffix == '.npz':
        names = np.array(list(layers), dtype=np.str_)
        return np.savez_compressed(path, events=events, layers=names)
    h5py = _h5py()
    with h5py.File(path, 'w') as file:
        group = file.create_group('events')
        for name, own in _FIELDS.items():
            group.create_dataset(name, data=events[own], compression='gzip')
        is_on = (events['polarity'] > 0).astype(np.uint8)
        group.create_dataset('p', data=is_on, compression='gzip')
        file.create_dataset('layers', data=list(layers), dtype=h5py.string_dtype())
        group.attrs['t'] = 'step of the run'
        group.attrs['x'], group.attrs['y'] = 'channel', 'node'


def load_events(path: str | Path) -> tuple[np.ndarray, list[str]]:
    """Reads what :func:`save_events` wrote.

    Returns:
        Tuple[numpy.ndarray, List[str]]: The events and the layer names.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If the file does not hold events, or is damaged.
        ImportError: If h5py is needed and missing.
    """
    with reading(path, 'spike events'):
        if Path(path).suffix in _HDF5:
            with _h5py().File(path, 'r') as file:
                return _from_hdf5(file, path)
        with zipfile.ZipFile(path), np.load(path, allow_pickle=False) as file:
            if 'events' not in file or file['events'].dtype != EVENT_DTYPE:
                raise ValueError(
                    f"Expected '{path}' to hold spike events (got "
                    f'{", ".join(file.files)})'
                )
            return file['events'], file['layers'].tolist()


def _from_hdf5(file: Any, path: str | Path) -> tuple[np.ndarray, list[str]]:
    names: list[str] = []
    file.visit(names.append)
    missing = {'layers', 'events/p', *(f'events/{name}' for name in _FIELDS)} - {*names}
    if missing:
        raise ValueError(
            f"Expected '{path}' to hold spike events (got {', '.join(names)}, but no "
            f'{", ".join(sorted(missing))})'
        )
    events = np.empty(len(file['events/t']), dtype=EVENT_DTYPE)
    for name, own in _FIELDS.items():
        events[own] = file[f'events/{name}'][()]
    events['polarity'] = 2 * file['events/p'][()].astype(np.int8) - 1
    return events, [name.decode() for name in file['layers'][()]]


def to_tonic(events: np.ndarray, layer: int) -> np.ndarray:
    """The events of a population as tonic holds those of a camera: ``x`` (channel),
    ``y`` (node), ``t`` (step) and ``p`` (whether ON). The ``sensor_size`` that tonic's
    transforms ask for is then the number of channels, of nodes, and 2.

    Args:
        events (numpy.ndarray): From :meth:`Simulation.events`.
        layer (int): The index of the population in :attr:`Simulation.spikes`.

    Returns:
        numpy.ndarray: The events, ordered in time: of type :obj:`TONIC_DTYPE`, with
        ``x`` and ``y`` of four bytes where two are too few.

    Raises:
        ValueError: If :obj:`events` has other fields.

    Example:
        >>> events = np.array([(3, 0, 7, 2, -1)], dtype=EVENT_DTYPE)
        >>> found = to_tonic(events, layer=0)
        >>> found.dtype.names, found.tolist()
        (('x', 'y', 't', 'p'), [(2, 7, 3, False)])
        >>> from_tonic(found, layer=0) == events
        array([ True])
    """
    _check_events(events)
    chosen = events[events['layer'] == layer]
    largest = max(chosen[name].max(initial=0) for name in ('node', 'channel'))
    dtype = TONIC_DTYPE
    if largest > np.iinfo(TONIC_DTYPE['x']).max:
        dtype = np.dtype([('x', 'i4'), ('y', 'i4'), ('t', 'i8'), ('p', '?')])
    found = np.empty(len(chosen), dtype=dtype)
    for name in 'xyt':
        found[name] = chosen[_FIELDS[name]]
    found['p'] = chosen['polarity'] > 0
    return found


def from_tonic(events: np.ndarray, layer: int) -> np.ndarray:
    """The inverse of :func:`to_tonic`.

    Args:
        events (numpy.ndarray): Events with the fields ``x``, ``y``, ``t`` and ``p``.
        layer (int): The index of their population.

    Raises:
        ValueError: If a field is missing.
    """
    names = events.dtype.names or ()
    if not {'x', 'y', 't', 'p'} <= {*names}:
        raise ValueError(
            f"Expected 'events' to have the fields x, y, t and p (got {events.dtype})"
        )
    found = np.empty(len(events), dtype=EVENT_DTYPE)
    for name in 'xyt':
        found[_FIELDS[name]] = events[name]
    found['layer'] = layer
    found['polarity'] = np.where(events['p'], 1, -1)
    return found


def to_nir_data(simulation: Simulation, dt: float = 1.0) -> Any:
    """The spikes of every population as ``nir.NIRGraphData``, which ``nir.write_data``
    writes: an ``EventData`` called ``spikes`` of one sample, in which a neuron's index
    is that of its value in a flattened tensor; of a signed code a ``ValuedEventData``,
    whose values are 1 (ON) and -1 (OFF).

    Args:
        simulation (Simulation): The run.
        dt (float, optional): The seconds of a step. (default: :obj:`1.0`)

    Raises:
        ValueError: If :obj:`dt` is not positive.
        ImportError: If nir is missing, or older than its event data.
    """
    if not dt > 0:
        raise ValueError(f"Expected 'dt' to be positive (got {dt})")
    nir = _nir()
    all_events = simulation.events()
    nodes = {}
    for layer, (name, spikes) in enumerate(simulation.spikes.items()):
        events = all_events[all_events['layer'] == layer]
        num_neurons = spikes.shape.numel()
        width = num_neurons // max(1, len(spikes.spike_time)) if spikes.shape else 1
        index = events['node'].astype(np.int64) * width + events['channel']
        time = events['t'] * float(dt)
        end = simulation.num_steps * float(dt)
        fields: list[Any] = [index[None], time[None], num_neurons, end]
        kind = nir.EventData
        if spikes.code.signed:
            kind = nir.ValuedEventData
            fields.append(events['polarity'].astype(np.float32)[None])
        nodes[name] = nir.NIRNodeData({'spikes': kind(*fields)})
    return nir.NIRGraphData(nodes)


def from_nir_data(
    data: Any, shapes: Mapping[str, Sequence[int]], dt: float = 1.0
) -> np.ndarray:
    """The inverse of :func:`to_nir_data`: events as :meth:`Simulation.events` gives them.

    Args:
        data (nir.NIRGraphData): The spikes.
        shapes (Mapping[str, Sequence[int]]): The shape of each population, in order.
        dt (float, optional): The seconds of a step. (default: :obj:`1.0`)

    Raises:
        ValueError: If a population is missing, or has another number of neurons.
    """
    parts = []
    for layer, (name, shape) in enumerate(shapes.items()):
        found = data.nodes[name].observables['spikes'] if name in data.nodes else None
        num_neurons = int(np.prod(shape))
        if found is None or found.n_neurons != num_neurons:
            got = 'none' if found is None else found.n_neurons
            raise ValueError(
                f"Expected 'data' to have {num_neurons} neurons of '{name}' (got {got})"
            )
        is_spike = found.idx[0] >= 0
        width = num_neurons // max(1, shape[0]) if len(shape) else 1
        index = found.idx[0][is_spike]
        events = np.empty(len(index), dtype=EVENT_DTYPE)
        events['t'] = np.rint(found.time[0][is_spike] / dt)
        events['layer'] = layer
        events['node'], events['channel'] = np.divmod(index, max(1, width))
        values = getattr(found, 'value', None)
        events['polarity'] = 1 if values is None else np.sign(values[0][is_spike])
        parts.append(events)
    events = np.concatenate(parts) if parts else np.empty(0, dtype=EVENT_DTYPE)
    return events[np.argsort(events['t'], kind='stable')]


def _check_events(events: np.ndarray) -> None:
    if events.dtype != EVENT_DTYPE:
        raise ValueError(
            f"Expected 'events' of type {EVENT_DTYPE} (got {events.dtype})"
        )


def _h5py() -> Any:
    try:
        import h5py
    except ImportError as error:
        raise ImportError(
            "Expected 'h5py' to be installed, for HDF5 (got none); install it with 'pip "
            "install spikegraph[hdf5]', or write a '.npz' file"
        ) from error
    return h5py


def _nir() -> Any:
    try:
        import nir
    except ImportError as error:
        raise ImportError(
            "Expected 'nir' to be installed (got none); install it with 'pip install "
            "spikegraph[nir]'"
        ) from error
    if not hasattr(nir, 'NIRGraphData'):
        raise ImportError(
            "Expected 'nir' to have event data, as 1.0.8 does (got "
            f'{nir.__version__}); upgrade it'
        )
    return nir
