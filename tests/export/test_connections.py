"""Networks as text, run by a simulator that knows nothing but the text."""

import math
from collections import defaultdict

import numpy as np
import pytest
import torch
from torch import nn

from spikegraph import ConversionConfig, convert, simulate
from spikegraph.export.connections import (
    load_connections,
    load_header,
    save_connections,
)
from tests.conversion.zoo import make, randomize


@pytest.fixture
def graph(graph):
    """Fewer nodes, each of which fires by itself."""
    return graph.subgraph(torch.arange(60) % 3 == 0)


def run_text(folder):
    """Runs every step of the network: spikes by population, and the potentials that are
    read at the end. Nothing but the files is read.
    """
    header = load_header(folder / 'populations.txt')
    header.pop('read_outs')
    neurons = defaultdict(list)
    for line in (folder / 'populations.txt').read_text().splitlines():
        if not line.startswith('#'):
            name, index, node, channel, *numbers = line.split('\t')
            assert int(index) == len(neurons[name])
            width = math.prod(header[name]['shape'][1:])
            assert int(index) == int(node) * width + int(channel)
            neurons[name].append([float(v) for v in numbers])
    arriving = defaultdict(lambda: defaultdict(list))  # By source neuron.
    for path in sorted(folder.glob('*-*.txt')):
        about = load_header(path)
        for i, j, weight, delay in load_connections(path).tolist():
            item = (about['target'][0], int(j), weight, int(delay))
            arriving[about['source'][0]][int(i)].append(item)
    end = max(about['start'] for about in header.values())
    membrane = {name: [row[0] for row in rows] for name, rows in neurons.items()}
    pending = defaultdict(list)
    spikes = defaultdict(dict)
    latest = 0
    for step in range(end + max(h['num_steps'] for h in header.values())):
        for name, about in header.items():
            phase = step - about['start']
            if not 0 <= phase < about['num_steps']:
                continue
            steps = about['num_steps']
            for index, row in enumerate(neurons[name]):
                if index in spikes[name]:
                    continue
                v, tables = membrane[name][index], row[3:]
                sign = int(v >= tables[phase])
                if about['has_off']:
                    high, low = tables[steps + phase], tables[2 * steps + phase]
                    sign -= int(low <= v <= high)
                if sign:
                    spikes[name][index] = (phase, sign)
                    for target, j, weight, delay in arriving[name][index]:
                        value = sign * weight * about['levels'][phase]
                        pending[step + delay].append((target, j, value))
        for target, j, value in pending.pop(step, ()):
            assert step < header[target]['start'], 'it would come too late'
            membrane[target][j] += value
            latest = max(latest, step)
    assert not pending and latest < end
    return spikes, membrane, neurons, header


@pytest.mark.parametrize('name', ['F.relu', 'residual', 'JK cat', 'images', 'GELU'])
def test_the_text_is_the_network(name, graph, tmp_path):
    if name == 'images':
        layers = nn.Conv2d(2, 3, 3), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten()
        model = randomize(nn.Sequential(*layers, nn.Linear(3, 2)))
        args = (torch.randn(2, 2, 4, 4, dtype=torch.float64),)
    elif name == 'GELU':
        layers = nn.Linear(4, 6), nn.GELU(), nn.Linear(6, 3), nn.Tanh()
        model = randomize(nn.Sequential(*layers, nn.Linear(3, 2)))
        args = (torch.randn(5, 4, dtype=torch.float64),)
    else:
        model, args = make(name), (graph,)
    snn = convert(model, *args, ConversionConfig(num_steps=6))
    files = save_connections(snn, tmp_path / 'net', *args)
    assert {*files} == {*(tmp_path / 'net').iterdir()}
    spikes, membrane, neurons, header = run_text(tmp_path / 'net')
    simulation = simulate(snn, *args)
    for label, found in simulation.spikes.items():
        times, signs = found.phase().flatten(), found.polarity().flatten()
        expected = {
            i: (int(times[i]), int(signs[i]))
            for i in range(len(times))
            if times[i] < found.code.num_steps
        }
        assert spikes[label] == expected, label
        for i, row in enumerate(neurons[label]):
            assert (int(row[1]), int(row[2])) == (int(times[i]), int(signs[i]))
    out = torch.tensor(membrane['output'], dtype=torch.float64)
    out = out.view(header['output']['shape'])
    if load_header(tmp_path / 'net/populations.txt')['read_outs']:
        out = out.log_softmax(-1)
    assert torch.allclose(out, simulation.output, rtol=1e-9, atol=1e-9)


def test_spikes_wait_for_those_of_later_populations(graph, tmp_path):
    snn = convert(make('residual'), graph, ConversionConfig(num_steps=6))
    files = save_connections(snn, tmp_path, graph)
    delays = {f.name: {*load_connections(f)[:, 3].tolist()} for f in files[1:]}
    assert all(len(found) == 1 for found in delays.values())
    assert {d for found in delays.values() for d in found} >= {0.0, 6.0}


def test_as_pynn_reads_them(graph, tmp_path):
    """A header of names, one equals sign each; numbers, of which indices are whole."""
    snn = convert(make('F.relu'), graph, ConversionConfig(num_steps=6))
    for path in save_connections(snn, tmp_path, graph)[1:]:
        lines = path.read_text().splitlines()
        header = [line for line in lines if line.startswith('#')]
        assert all(line.count('=') == 1 for line in header)
        assert header[0] == "# columns = ['i', 'j', 'weight', 'delay']"
        found = np.loadtxt(path)
        assert found.shape == (len(lines) - len(header), 4)
        about = load_header(path)
        assert {type(value) for value in about.values()} == {list}
        for column, key in ((0, 'source'), (1, 'target')):
            index = found[:, column]
            assert (index == index.astype(int)).all() and index.max() < about[key][1]
        assert (found[:, 2] != 0).all() and (found[:, 3] >= 0).all()
        pairs = [tuple(row) for row in found[:, :2].tolist()]
        assert len({*pairs}) == len(pairs) and pairs == sorted(pairs)


def test_too_large(graph, tmp_path):
    snn = convert(make('F.relu'), graph, ConversionConfig(num_steps=6))
    num = graph.num_nodes * (5 + 8)
    message = rf"write {num} neurons as text: at most {num - 1} are; .*'max_neurons'"
    with pytest.raises(NotImplementedError, match=message):
        save_connections(snn, tmp_path, graph, max_neurons=num - 1)
    assert not any(tmp_path.iterdir())
    with pytest.raises(
        NotImplementedError, match=r'connections as text.*spikegraph\.sav'
    ):
        save_connections(snn, tmp_path, graph, max_neurons=num, max_connections=10)


def test_pynn_takes_them(graph, tmp_path):
    sim = pytest.importorskip('pyNN.mock')
    snn = convert(make('F.relu'), graph, ConversionConfig(num_steps=6))
    path = save_connections(snn, tmp_path, graph)[1]
    about, expected = load_header(path), load_connections(path)
    sim.setup()
    populations = [
        sim.Population(about[end][1], sim.IF_cond_exp()) for end in ('source', 'target')
    ]
    connector = sim.FromFileConnector(str(path))
    made = sim.Projection(*populations, connector, sim.StaticSynapse())
    found = np.array(made.get('weight', format='list'))
    assert sorted(map(tuple, found)) == [tuple(row) for row in expected[:, :3]]
