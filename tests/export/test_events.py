"""Spike events in files and as other tools hold them, there and back."""

import sys

import numpy as np
import pytest
import torch
from torch import nn

from spikegraph import ConversionConfig, convert, simulate
from spikegraph.export.events import (
    EVENT_DTYPE,
    TONIC_DTYPE,
    from_nir_data,
    from_tonic,
    load_events,
    save_events,
    to_nir_data,
    to_tonic,
)
from tests.conversion.zoo import make, randomize


@pytest.fixture(params=['graph', 'images', 'rows', 'silent'])
def simulation(request, graph):
    if request.param == 'graph':
        snn = convert(make('JK max'), graph, ConversionConfig(num_steps=8))
        return simulate(snn, graph)
    layers = nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.Flatten()
    x = torch.randn(3, 2, 5, 4, dtype=torch.float64)
    model = nn.Sequential(*layers, nn.Linear(80, 3))
    if request.param != 'images':
        x = torch.randn(6, 4, dtype=torch.float64)
        model = nn.Sequential(nn.Linear(4, 9), nn.ReLU(), nn.Linear(9, 3))
    snn = convert(randomize(model), x, ConversionConfig(num_steps=8))
    return simulate(snn, x * (request.param != 'silent'))


@pytest.mark.parametrize('suffix', ['npz', 'h5', 'hdf5'])
def test_files(simulation, suffix, tmp_path):
    if suffix != 'npz':
        pytest.importorskip('h5py')
    events, names = simulation.events(), list(simulation.spikes)
    path = tmp_path / f'events.{suffix}'
    save_events(events, path, names)
    loaded, layers = load_events(path)
    assert loaded.dtype == EVENT_DTYPE and layers == names
    assert np.array_equal(loaded, events)


def test_the_layout_of_hdf5(simulation, tmp_path):
    """As in files of event cameras: x, y, t and p below events, of one length."""
    h5py = pytest.importorskip('h5py')
    events = simulation.events()
    save_events(events, tmp_path / 'a.h5', list(simulation.spikes))
    with h5py.File(tmp_path / 'a.h5') as file:
        group = {name: file['events'][name][()] for name in 'xytp'}
        assert {len(value) for value in group.values()} == {len(events)}
        assert {*np.unique(group['p'])} <= {0, 1}
        for i, (t, _, node, channel, polarity) in enumerate(events.tolist()):
            found = [int(group[name][i]) for name in 'xytp']
            assert found == [channel, node, t, polarity > 0]


def rasters_of(simulation):
    """Every population as a raster of nodes and channels, read from spike times."""
    for name, spikes in simulation.spikes.items():
        phase = spikes.phase().flatten(1).numpy()
        sign = spikes.polarity().flatten(1).numpy()
        raster = np.zeros((simulation.num_steps, 2, *phase.shape), dtype=int)
        for node, channel in np.argwhere(phase < spikes.code.num_steps):
            step = simulation.start_step[name] + int(phase[node, channel])
            raster[step, int(sign[node, channel] > 0), node, channel] += 1
        yield raster


def test_tonic_and_back(simulation):
    events, parts = simulation.events(), []
    for layer, raster in enumerate(rasters_of(simulation)):
        found = to_tonic(events, layer)
        assert found.dtype == TONIC_DTYPE and (np.diff(found['t']) >= 0).all()
        again = np.zeros_like(raster)
        for x, y, t, p in found.tolist():
            again[t, int(p), y, x] += 1
        assert np.array_equal(again, raster)
        parts.append(from_tonic(found, layer))
    back = np.concatenate(parts)
    assert np.array_equal(back[np.argsort(back['t'], kind='stable')], events)


def test_tonic_reads_them(simulation):
    transforms = pytest.importorskip('tonic.transforms')
    events = simulation.events()
    for layer, raster in enumerate(rasters_of(simulation)):
        found = to_tonic(events, layer)
        if len(found) == 0:
            continue
        _, _, num_nodes, num_channels = raster.shape
        size = (num_channels, num_nodes, 2)
        frames = transforms.ToFrame(sensor_size=size, time_window=1)(found)
        first, last = int(found['t'].min()), int(found['t'].max())
        expected = raster[first : first + len(frames)]
        assert np.array_equal(frames, expected)
        assert len(frames) >= last - first  # It may leave the last step out.


def test_many_nodes_take_wider_fields():
    events = np.zeros(2, dtype=EVENT_DTYPE)
    events['node'], events['polarity'] = [32_767, 32_768], [1, -1]
    found = to_tonic(events, 0)
    assert found['y'].tolist() == [32_767, 32_768] and found['x'].dtype == np.int32
    assert np.array_equal(from_tonic(found, 0), events)
    assert to_tonic(events[:1], 0).dtype == TONIC_DTYPE
    assert len(to_tonic(events, 1)) == 0


@pytest.mark.parametrize('dt', [1.0, 1e-3, 0.3])
def test_nir_and_back(simulation, dt, tmp_path):
    nir = pytest.importorskip('nir')
    data = to_nir_data(simulation, dt)
    shapes = {name: tuple(s.shape) for name, s in simulation.spikes.items()}
    assert np.array_equal(from_nir_data(data, shapes, dt), simulation.events())
    nir.write_data(tmp_path / 'events.nir', data)
    read = nir.read_data(tmp_path / 'events.nir')
    assert np.array_equal(from_nir_data(read, shapes, dt), simulation.events())


def test_nir_spreads_them_over_time(simulation):
    """NIR's own raster is that of the spike times."""
    pytest.importorskip('nir')
    data = to_nir_data(simulation)
    pairs = zip(simulation.spikes.items(), rasters_of(simulation), strict=True)
    for (name, spikes), raster in pairs:
        found = data.nodes[name].observables['spikes']
        assert found.n_neurons == spikes.shape.numel()
        assert found.n_samples == 1 and found.t_max == simulation.num_steps
        grid = found.to_time_gridded(1.0).data[0]
        signed = raster[:, 1] - raster[:, 0]
        expected = signed if spikes.code.signed else signed != 0
        assert np.array_equal(grid, expected.reshape(len(grid), -1))


def test_errors(simulation, tmp_path, monkeypatch):
    events = simulation.events()
    with pytest.raises(ValueError, match=r"'.npz', '.h5' or '.hdf5' \(got '.*a.csv'\)"):
        save_events(events, tmp_path / 'a.csv', [])
    with pytest.raises(ValueError, match=r"'events' of type .*\(got int64\)"):
        to_tonic(np.zeros(3, dtype=np.int64), 0)
    with pytest.raises(ValueError, match=r'fields x, y, t and p \(got'):
        from_tonic(events, 0)
    with pytest.raises(ValueError, match=r"'dt' to be positive \(got 0\)"):
        to_nir_data(simulation, 0)
    for name in ('h5py', 'nir'):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r'pip install spikegraph\[hdf5\]'):
        save_events(events, tmp_path / 'a.h5', [])
    with pytest.raises(ImportError, match=r'spikegraph\[nir\]'):
        to_nir_data(simulation)


def test_another_hdf5_file(tmp_path):
    h5py = pytest.importorskip('h5py')
    with h5py.File(tmp_path / 'a.h5', 'w') as file:
        file['events/x'] = [1]
    with pytest.raises(ValueError, match=r'events/x, but no events/layer, events/p'):
        load_events(tmp_path / 'a.h5')


def test_other_neurons(simulation):
    pytest.importorskip('nir')
    data = to_nir_data(simulation)
    name = next(iter(simulation.spikes))
    with pytest.raises(ValueError, match=rf"to have 2 neurons of '{name}' \(got \d+\)"):
        from_nir_data(data, {name: (1, 2)})
    with pytest.raises(ValueError, match=r"neurons of 'other' \(got none\)"):
        from_nir_data(data, {'other': (1, 2)})
