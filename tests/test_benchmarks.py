import json
import shlex
import sys
import warnings
from argparse import ArgumentParser
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch_geometric.data import Data
from torch_geometric.nn import GCNConv, InnerProductDecoder

from spikegraph import (
    ConversionConfig,
    PhaseCode,
    SpikeNoise,
    Spikes,
    convert,
    measure,
)
from spikegraph.cli import _MODELS
from spikegraph.kernels import info
from spikegraph.measurement import Counts, EnergyTable
from spikegraph.zoo.datasets import GraphDataset, ImageDataset, power_law_graph
from spikegraph.zoo.models import (
    GRAPH_MODELS,
    IMAGE_MODELS,
    NODE_MODELS,
    RECIPES,
    GraphRecipe,
    ImageRecipe,
    get_recipe,
    recipes,
)
from tests.conversion.zoo import make

FOLDER = Path(__file__).parents[1] / 'benchmarks'


@pytest.fixture
def run(benchmark, monkeypatch, tmp_path):
    """Returns a function that runs a script and returns what it has written."""
    limits = benchmark('limits')
    monkeypatch.setattr(limits, 'COPIED', 1 << 20)
    monkeypatch.setattr(limits, 'PRODUCTS', ((64, 64, 64), (128, 32, 32)))

    def run_script(name, *arguments):
        argv = [name, *arguments, '--threads', '1', '--output', str(tmp_path)]
        monkeypatch.setattr(sys, 'argv', argv)
        benchmark(name).main()
        return json.loads((tmp_path / f'{name}.json').read_text())

    return run_script


def quick(benchmark, name):
    """The arguments of the smallest run, which run_all.py gives, too."""
    return shlex.split(benchmark('scripts').SCRIPTS[name].quick)


def test_models_of_the_command_line():
    models = dict.fromkeys((*NODE_MODELS, *GRAPH_MODELS, *IMAGE_MODELS))
    assert tuple(models) == _MODELS


def test_interrupted_runs_go_on(benchmark, tmp_path):
    records = benchmark('records')
    path, seeds = tmp_path / 'a' / 'record.json', []

    def run_seed(seed):
        if seed == 2 and len(seeds) == 2:
            raise KeyboardInterrupt
        seeds.append(seed)
        return {'value': seed}

    options = dict(summarize=lambda seeds: {'count': len(seeds)}, dataset='cora')
    with pytest.raises(KeyboardInterrupt):
        records.run_seeds(path, 'title', 3, run_seed, **options)
    seeds.append('again')
    record = records.run_seeds(path, 'title', 3, run_seed, **options)
    assert seeds == [0, 1, 'again', 2] and list(record['seeds']) == ['0', '1', '2']
    assert record['summary'] == {'count': 3} and record['dataset'] == 'cora'
    with pytest.raises(ValueError, match=r"'dataset' to be cora .*\(got pubmed\)"):
        records.run_seeds(path, '', 3, run_seed, **{**options, 'dataset': 'pubmed'})


@pytest.mark.parametrize(
    'script', ['node_accuracy', 'molecule_accuracy', 'image_accuracy']
)
def test_defaults(benchmark, script, monkeypatch):
    module, found = benchmark(script), {}
    monkeypatch.setattr(module, 'run_networks', lambda *a: found.update(a=a) or {})
    monkeypatch.setattr(sys, 'argv', [script])
    module.main()
    prefix, arguments = found['a']
    assert prefix == script and arguments.num_steps == 16
    first = 'vit' if script == 'image_accuracy' else 'gcn'
    assert arguments.weights is None and first in arguments.models


def test_trained_and_loaded_networks_give_the_same(
    benchmark, monkeypatch, tmp_path, capsys
):
    records = benchmark('records')
    quick = replace(RECIPES['digits'], epochs=10, hidden_channels=4)
    monkeypatch.setitem(RECIPES, 'digits', quick)
    dataset, recipe = records.prepared('digits', 'gcn', None)
    for seed in range(2):
        state = records.train(dataset, recipe, seed, progress=False).model.state_dict()
        torch.save(state, tmp_path / f'digits_gcn_{seed}.pt')
    parser = ArgumentParser()
    records.add_arguments(parser, datasets=['digits'], models=['gcn'], seeds=2)
    summaries = []
    for name, more in [('a', []), ('b', ['--weights', str(tmp_path)])]:
        args = ['--num-steps', '4', '--output', str(tmp_path / name), *more]
        found = records.run_networks('nodes', parser.parse_args(args))
        assert (tmp_path / name / 'nodes_digits_gcn_T4.json').exists()
        summaries.append(found['digits', 'gcn']['summary'])
    for name in ('ann_accuracy', 'loss_points', 'agreement'):
        assert summaries[0][name] == summaries[1][name]
    node_accuracy = benchmark('node_accuracy')
    records.print_table(found, node_accuracy.COLUMNS)
    accuracy = f'{summaries[0]["ann_accuracy"]["mean"]:.2f} ± '
    assert accuracy in capsys.readouterr().out


def test_link_prediction(benchmark, monkeypatch, tmp_path):
    script = benchmark('link_prediction')
    monkeypatch.setattr(script, 'EPOCHS', 5)
    data = script.load_dataset('digits').data
    training, validation, testing = script.split(data, 0)
    known, *others = [
        {tuple(pair) for pair in pairs.t().tolist()}
        for pairs in (testing.edge_index, testing.pos_edge_label_index)
    ]
    assert known.isdisjoint(*others)  # No edge is seen before it is predicted.
    model = script.train(training, 0)
    x, edge_index, pairs = script.inputs(testing)
    with torch.no_grad():
        z = model.encoder(x, edge_index)
        expected = InnerProductDecoder()(z, pairs, sigmoid=False)
        torch.testing.assert_close(model(x, edge_index, pairs), expected)
    torch.save(model.state_dict(), tmp_path / 'digits_gae_0.pt')
    records = []
    for name, more in [('a', []), ('b', ['--weights', str(tmp_path)])]:
        folder = str(tmp_path / name)
        argv = ['', '--dataset', 'digits', '--seeds', '1', '--output', folder, *more]
        monkeypatch.setattr(sys, 'argv', argv)
        script.main()
        path = tmp_path / name / 'link_prediction_digits.json'
        records.append(json.loads(path.read_text())['seeds']['0'])
    assert records[0] == pytest.approx(records[1])
    assert abs(records[0]['loss_points']) < 3 and records[0]['delays'] > 0


def test_competitors_sum_like_a_convolution(benchmark):
    competitors = benchmark('competitors')
    edge_index, code = power_law_graph(200, 900), PhaseCode(15, 2**0.5)
    spikes = Spikes.from_values(torch.randn(200, 20).relu(), code, 3.0)
    graph, x = competitors.Graph.from_edges(edge_index, 200), spikes.decode()
    conv = GCNConv(20, 20, bias=False)
    torch.nn.init.eye_(conv.lin.weight)
    with torch.no_grad():
        expected = conv(x, edge_index)
    rows, sums = competitors.sums_of_some(edge_index, spikes)
    torch.testing.assert_close(sums.float(), expected[rows])
    assert set(range(200)) == set(rows.tolist())
    for name, variants in competitors.sums(graph, x).items():
        tolerance = 0.02 if name.startswith('8-bit') else 1e-5
        for variant, (operation, _) in variants.items():
            error = (operation() - expected).norm() / expected.norm()
            assert error < tolerance, (name, variant)
    with pytest.raises(AssertionError):
        competitors.relative_error(1.001 * expected, rows, sums)


def test_too_large_competitors_are_left_out(benchmark, monkeypatch):
    competitors = benchmark('competitors')
    monkeypatch.setattr(competitors, 'available_memory', lambda: 2e9)
    variants = {'small': (lambda: 1, 1.5e9), 'large': (lambda: 2, 1.7e9)}
    best, error, seconds, skipped = competitors.pick(variants, lambda found: 10 * found)
    assert (best, error, list(seconds)) == ('small', 10, ['small'])
    assert skipped == {'large': 'takes 1.7 GB; 2.0 GB are available'}
    assert competitors.pick({'large': variants['large']}, float)[0] is None


def test_networks_are_the_same_in_every_form(benchmark):
    networks = benchmark('networks')
    x, edge_index = torch.randn(100, 12), power_law_graph(100, 400)
    with torch.no_grad():
        model = networks.untrained_gcn((12, 16, 16, 5), x, edge_index)
        expected = model(x, edge_index)
        for make in networks.PASSES.values():
            forward = make(model, model, x, edge_index)
            for _ in range(2):
                torch.testing.assert_close(forward(), expected, rtol=1e-4, atol=1e-5)


def test_peak_memory(benchmark):
    memory = benchmark('memory')
    held = np.ones(30_000_000)  # 240 MB.
    del held
    before = memory.process_peak()
    peak, result = memory.peak_memory(lambda: np.ones(12_500_000).sum())
    assert peak == pytest.approx(100e6, rel=0.1) and result == 12_500_000
    assert memory.process_peak() >= before
    assert memory.in_fresh_process(memory.process_peak) < before


def test_aggregation_speed(run, benchmark, monkeypatch):
    script = benchmark('aggregation_speed')
    monkeypatch.setattr(script, 'GENERATED', {'arxiv-128': (4000, 20_000, 24)})
    rates = {'copied_bytes_per_second': 1e9, 'multiply_adds_per_second': 1e9}
    monkeypatch.setattr(script.limits, 'rates', lambda num_threads: rates)
    record = run('aggregation_speed', *quick(benchmark, 'aggregation_speed'))
    (row,) = record['rows']
    assert (row['nodes'], row['edges_with_loops'], row['width']) == (400, 4400, 24)
    assert row['bytes_moved'] == 4400 * (24 + 8) + 400 * (4 * 24 + 12)
    least = 4400 * 8 + 400 * (5 * 24 + 12)
    assert row['limit']['bytes'] == least and row['limit']['multiply_adds'] == 0
    for key, seconds in row['seconds']['spikes'].items():
        assert row['times_limit'][key] == pytest.approx(1e9 * seconds / least)
    assert row['seconds'].keys() == {'spikes', *row['ratios']}
    assert row['variants'].keys() == row['ratios'].keys() and len(row['ratios']) == 5
    assert row['skipped'] == {} and row['relative_errors']['spikes'] < 1e-5
    for name, ratio in row['ratios'].items():
        expected = row['seconds'][name]['min'] / row['seconds']['spikes']['min']
        assert ratio['min'] == pytest.approx(expected)
    assert {'versions', 'device', 'commit', 'kernels'} <= record.keys()
    assert record['processor']['forced'] is None
    assert record['processor']['levels'] == info()['levels']
    assert record['processor']['model'] and record['processor']['cores'] > 0
    assert record['arguments']['num_steps'] == 15


def test_gcn_speed(run, benchmark):
    record = run('gcn_speed', *quick(benchmark, 'gcn_speed'))
    (row,) = record['rows']
    assert row['sizes'] == [128, 256, 256, 40] and row['nodes'] == 846
    (found,) = row['by_threads']
    names = set(benchmark('networks').PASSES)
    assert found['seconds'].keys() == names
    assert found['ratios'].keys() == names - {'SNN, edge_index'}
    assert row['errors']['logit_relative_error'] < 0.15
    products = 846 * (128 * 256 + 256 * 256 + 256 * 40)
    assert found['limit']['multiply_adds'] == products
    moved = 4 * (846 * (128 + 40) + row['edges']) + 8 * 846
    # Weights, biases and norms; spikes are written and read: half a byte each, and one
    # where features have signs.
    moved += 4 * (products // 846 + 256 * 2 + 40 + 4 * 256) + 846 * (2 * 128 + 512)
    assert found['limit']['bytes'] == moved


def test_attention_speed(run, benchmark):
    record = run('attention_speed', *quick(benchmark, 'attention_speed'))
    (row,) = record['rows']
    assert row['sizes'] == [128, 64, 64, 40] and row['nodes'] == 846
    (found,) = row['by_threads']
    names = benchmark('attention_speed').NAMES
    assert found['seconds'].keys() == set(names)
    assert row['errors']['logit_relative_error'] < 0.3


def test_attention_in_other_ways(benchmark, monkeypatch, tmp_path):
    script = benchmark('attention_ablation')
    quick = replace(get_recipe('digits', 'gat'), epochs=10, hidden_channels=8)
    monkeypatch.setitem(recipes._OTHERS, 'gat', quick)
    arguments = ['--datasets', 'digits', '--models', 'gat', '--seeds', '1']
    argv = ['attention_ablation', *arguments, '--output', str(tmp_path)]
    monkeypatch.setattr(sys, 'argv', argv)
    script.main()
    found = {}
    for variant in script.VARIANTS:
        path = tmp_path / f'attention_ablation_digits_gat_{variant}.json'
        found[variant] = json.loads(path.read_text())['seeds']['0']
    delays = {variant: record['delays'] for variant, record in found.items()}
    assert delays['analog'] == 0 < delays['spiking'] < delays['coded']
    analog = {variant: record['num_analog'] for variant, record in found.items()}
    assert analog.pop('analog') > 0 and set(analog.values()) == {0}
    errors = {v: record['logit_relative_error'] for v, record in found.items()}
    assert errors['spiking'] < errors['coded'] < 1


def test_exponents(benchmark):
    sizes, exponent_of = [1e4, 1e5, 1e6, 1e7], benchmark('scaling').exponent_of
    # A fixed cost of 1 second, and a share of it that shrinks.
    found = exponent_of(sizes, [1 + 1e-5 * n for n in sizes])
    assert found['exponent_of_large'] is None and found['large_sizes'] == [1e6, 1e7]
    assert 0 < found['exponent'] < 0.8
    found = exponent_of(sizes, [1e-9 * n**1.05 for n in sizes])
    assert found['exponent'] == pytest.approx(1.05)
    assert found['exponent_of_large'] == pytest.approx(1.05)
    assert found['local_slopes'] == pytest.approx([1.05] * 3)
    assert exponent_of(sizes, [0, 0, 0, 0])['local_slopes'] == [0, 0, 0]


@pytest.mark.slow
def test_scaling(run, benchmark, monkeypatch):
    monkeypatch.setattr(benchmark('scaling'), 'CALIBRATION', 500)
    record = run('scaling', *quick(benchmark, 'scaling'))
    assert [row['edges'] for row in record['rows']] == [2000, 10_000]
    for row in record['rows']:
        assert row['relative_error'] < 1e-5
        assert row['seconds'].keys() == {'draw', 'prepare', 'aggregate', 'forward'}
        assert row['process_bytes'] > max(1e8, row['peak_bytes']['all'])
    assert record['exponents']['seconds']['forward']['large_sizes'] in ([], [10_000])


def test_reordering(run, benchmark):
    graphs = ['communities', 'plane', 'power law']
    record = run('reordering', *quick(benchmark, 'reordering'))
    found = [(row['graph'], row['width']) for row in record['rows']]
    assert found == [(graph, width) for graph in graphs for width in (128, 256)]
    for row in record['rows']:
        assert row['nodes'] <= 400 and row['edges'] > 2000
        assert row['ratios'].keys() == {'rcm', 'degree'}


def test_layer_speed(run, benchmark):
    record = run('layer_speed', *quick(benchmark, 'layer_speed'))
    found = [(row['network'], row['nodes'], row['edges']) for row in record['rows']]
    assert found == [(name, 200, 3200) for name in ('GCN', 'GIN', 'GraphSAGE')]
    for row in record['rows']:
        assert 0 < row['median_relative_error'] < 0.25
        assert row['ratios'].keys() == {'SNN, CSR', 'ANN, edge_index', 'ANN, CSR'}
        products = 64 * 64 + 64 * 10
        if row['network'] == 'GIN':
            products += 64 * 64 + 10 * 10
        elif row['network'] == 'GraphSAGE':
            products *= 2
        assert row['limit']['multiply_adds'] == 200 * products
        assert row['times_limit']['min'] > 0


def test_multiply_adds_of_products(benchmark):
    limits = benchmark('limits')
    model = torch.nn.Sequential(
        torch.nn.Conv2d(4, 8, 3, padding=1, groups=2),
        torch.nn.ReLU(),
        torch.nn.Flatten(),
        torch.nn.Linear(8 * 25, 7),
    )
    x = torch.randn(2, 4, 5, 5)
    expected = 2 * (8 * 25 * 2 * 9 + 8 * 25 * 7)
    assert limits.multiply_adds(model, x) == expected
    assert limits.multiply_adds(model, x[:1]) == expected // 2  # No hook is left.


def test_the_limit_is_the_longer_time(benchmark, monkeypatch):
    limits = benchmark('limits')
    rates = {'copied_bytes_per_second': 1e3, 'multiply_adds_per_second': 1e6}
    monkeypatch.setattr(limits, 'rates', lambda num_threads: rates)
    seconds = {'min': 4.0, 'median': 6.0}
    found = limits.distance(seconds, {'bytes': 2e3, 'multiply_adds': 1e6})
    assert found['times_limit'] == {'min': 2, 'median': 3}
    found = limits.distance(seconds, {'bytes': 0, 'multiply_adds': 4e6})
    assert found['times_limit'] == {'min': 1, 'median': 1.5}


@pytest.mark.slow
@pytest.mark.parametrize('name', ['avx2', 'generic'])
def test_other_processors(run, monkeypatch, tmp_path, name):
    if name == 'avx2' and info()['levels'] == 'memory':
        pytest.skip('this processor has no AVX2')
    arguments = ['--graphs', '1000', '--shrink', '5', '--repeats', '1']
    with pytest.raises(SystemExit) as error:
        run('layer_speed', *arguments, '--processor', name)
    assert error.value.code == 0 and not (tmp_path / 'layer_speed.json').exists()
    record = json.loads((tmp_path / f'layer_speed_{name}.json').read_text())
    found, native = record['processor'], run('layer_speed', *arguments)['processor']
    assert (found.pop('levels'), found.pop('torch')) == {
        'avx2': ('avx2', 'AVX2'),
        'generic': ('memory', 'DEFAULT'),
    }[name]
    assert found.pop('forced') == name
    assert {key: native[key] for key in found} == found  # The same machine.
    assert len(record['rows']) == 3


def test_processors_without_what_is_asked_for(run, benchmark, monkeypatch, capsys):
    records = benchmark('records')
    monkeypatch.setattr(records, 'info', lambda: {'levels': 'memory'})
    with pytest.raises(SystemExit):
        run('layer_speed', '--processor', 'avx2')
    assert 'processor without AVX2 (got avx2)' in capsys.readouterr().err
    monkeypatch.setattr(records, 'info', dict)
    with pytest.raises(SystemExit):
        run('layer_speed', '--processor', 'generic')
    assert 'native without Numba (got generic)' in capsys.readouterr().err


def check_speeds(row, ours):
    """Both times of all that was timed, and their ratios."""
    seconds = row['seconds']
    assert row['ratios'].keys() == seconds.keys() - {ours}
    for name, ratio in row['ratios'].items():
        for key in ('min', 'median'):
            expected = seconds[name][key] / seconds[ours][key]
            assert ratio[key] == pytest.approx(expected)
    assert 0 < row['times_limit']['min'] <= row['times_limit']['median']


@pytest.mark.parametrize('name', ['resnet20', 'cnn'])
def test_cnn_speed(run, benchmark, monkeypatch, name):
    script = benchmark('cnn_speed')
    channels, number = (3, 40) if name == 'resnet20' else (1, 150)
    generator = torch.Generator().manual_seed(0)
    # Every class is bright elsewhere.
    y = torch.arange(number) % 10
    x = torch.randint(100, (number, channels, 8, 8), generator=generator)
    x.view(number, channels, -1)[torch.arange(number), :, 5 * y] += 150
    x = x.to(torch.uint8)
    images = ImageDataset('images', x, y, x, y, 10, 'dots')
    recipe = ImageRecipe(name, epochs=0 if name == 'resnet20' else 8, batch_size=30)
    monkeypatch.setattr(script, 'prepare', lambda *args, **kwargs: (images, recipe))
    arguments = ['--networks', name, '--batch-sizes', '1', '3', '--repeats', '2']
    rows = run('cnn_speed', *arguments)['rows']
    assert [row['batch_size'] for row in rows] == [1, 3]
    first, second = (row['limit']['multiply_adds'] for row in rows)
    assert second == 3 * first > 0
    for row in rows:
        check_speeds(row, 'SNN, contiguous')
        assert len(row['seconds']) == 5
        assert row['weights'] == ('drawn' if name == 'resnet20' else 'trained')


def molecules(number):
    generator = torch.Generator().manual_seed(0)
    graphs = []
    for i in range(number):
        size = 3 + i % 5
        row = torch.arange(size - 1)
        edge_index = torch.stack([row, row + 1])
        edge_index = torch.cat([edge_index, edge_index.flip(0)], dim=1)
        draw = dict(generator=generator)
        x = torch.randint(2, (size, 9), **draw)
        edge_attr = torch.randint(2, (edge_index.size(1), 3), **draw)
        graphs.append(Data(x, edge_index, edge_attr, y=torch.zeros(1, 1)))
    return graphs


@pytest.mark.parametrize('name', ['gin', 'gcn'])
def test_molecule_speed(run, benchmark, monkeypatch, name):
    script, graphs = benchmark('molecule_speed'), molecules(60)
    dataset = GraphDataset(
        'chains', graphs, [], graphs, 1, 'classification', 'rocauc', None, 'chains'
    )
    recipe = GraphRecipe(name, hidden_channels=16, num_layers=3, dropout=0.0)
    monkeypatch.setattr(script, 'data_and_recipe', lambda *args: (dataset, recipe))
    arguments = ['--models', name, '--batch-size', '15', '--repeats', '2']
    record = run('molecule_speed', *arguments, '--batches', '4')
    one, stream = record['rows']
    assert (one['mode'], stream['mode']) == ('one batch', 'stream')
    assert (one['molecules'], stream['molecules']) == (15, 60)
    assert stream['nodes'] == sum(graph.num_nodes for graph in graphs)
    assert stream['limit']['multiply_adds'] > one['limit']['multiply_adds'] > 0
    for row in (one, stream):
        check_speeds(row, 'SNN')
        assert row['ratios'].keys() == {'ANN, edge_index', 'ANN, embedding_bag'}
    with pytest.raises(ValueError, match=r"'--batches' to be at most 4, .*\(got 5\)"):
        run('molecule_speed', *arguments, '--batches', '5')


@pytest.mark.slow
def test_memory_of_a_forward_pass(benchmark, tmp_path):
    script, memory = benchmark('gcn_speed'), benchmark('memory')
    model, graph, _ = script.generated(200, script.untrained_gcn)
    snn = script.spikegraph.convert(model, graph)
    script.leave(tmp_path, model, snn, graph)
    peaks = memory.in_fresh_process(script.memory_of, 'ANN, edge_index', tmp_path, 1)
    # A message and a weighted one, 256 wide, for each edge and self-loop.
    least = 4 * 256 * 2 * (graph[1].size(1) + 846)
    assert least < peaks['first'] < 2 * least and least < peaks['second'] < 2 * least


@pytest.mark.slow
def test_first_call(run, benchmark):
    record = run('first_call', *quick(benchmark, 'first_call'))
    cases = record['cases']
    assert list(cases) == ['compiled', 'cached', 'without Numba']
    for name, case in cases.items():
        assert len(case['warnings']) == (name == 'without Numba')
        assert case['relative_error'] < 1e-2
    first, cached = (cases[k]['seconds']['first call'] for k in ('compiled', 'cached'))
    assert cached < first
    assert record['import_seconds_beyond'].keys() == {'min', 'median'}


@pytest.mark.slow
def test_distributed(benchmark, monkeypatch, tmp_path):
    """Two processes, and what is projected from them."""
    argv = ['distributed', '--graphs', 'arxiv', '--shrink', '200', '--models', 'gcn']
    argv += ['--num-steps', '15', '--processes', '1', '2', '--repeats', '1']
    argv += ['--parts', '2', '4', '--plot', str(tmp_path / 'plot.png')]
    monkeypatch.setattr(sys, 'argv', [*argv, '--output', str(tmp_path)])
    benchmark('distributed').main()
    record = json.loads((tmp_path / 'distributed_arxiv.json').read_text())
    one, two = record['rows']
    assert one['cut']['cut_edges'] == 0 < two['cut']['cut_edges']
    assert {stage['bytes_sent'] for stage in one['stages']} == {0}
    hidden = [stage for stage in two['stages'] if stage['float_bytes'] > 0][1]
    assert hidden['float_bytes'] == 8 * hidden['bytes_sent']  # Half a byte each.
    counted = {(row['method'], row['parts']): row for row in record['counted']}
    assert len(counted) == 6
    sent = sum(stage['bytes_sent'] for stage in two['stages'])
    assert counted['metis', 2]['bytes'] == pytest.approx(sent)
    assert counted['hash', 4]['bytes'] > counted['metis', 2]['bytes']
    assert (tmp_path / 'plot.png').read_bytes()[1:4] == b'PNG'

    script = benchmark('papers100m')
    known = FOLDER / 'results' / 'out_of_core.json'
    (tmp_path / 'out_of_core.json').write_text(known.read_text())
    argv = ['papers100m', '--results', str(tmp_path), '--output', str(tmp_path)]
    argv += ['--shrink', '100']
    monkeypatch.setattr(sys, 'argv', argv)
    script.main()
    record = json.loads((tmp_path / 'papers100m.json').read_text())
    one, four, *_ = record['projected']
    assert one['bytes_15'] == 0 and four['bytes_15'] > 0
    assert four['bytes_float'] / four['bytes_15'] == pytest.approx(
        hidden_ratio(two['stages'])
    )
    assert one['compute_seconds'] == pytest.approx(4 * four['compute_seconds'])


def hidden_ratio(stages):
    floats, sent = (sum(s[k] for s in stages) for k in ('float_bytes', 'bytes_sent'))
    return floats / sent


def test_rows_that_a_hash_sends(benchmark, monkeypatch):
    """The bound holds on a graph that is divided, and is near where degrees are alike."""
    script = benchmark('papers100m')
    num_nodes, degree = 3000, 8
    source = torch.arange(num_nodes).repeat_interleave(degree)
    regular = source, torch.randint(num_nodes, source.shape)
    power_law = power_law_graph(num_nodes, num_nodes * degree // 2)
    for (source, target), is_near in ((regular, True), (power_law, False)):
        monkeypatch.setattr(script, 'NODES', num_nodes)
        monkeypatch.setattr(script, 'EDGES', len(source))
        for size in (2, 5):
            owner = torch.randint(size, (num_nodes,))
            is_cut = owner[source] != owner[target]
            sent = torch.stack([source, owner[target]])[:, is_cut].unique(dim=1).size(1)
            most = script.halo_rows(size)
            assert sent < 1.03 * most and (sent > 0.97 * most) == is_near


@pytest.mark.slow
def test_out_of_core(run, tmp_path):
    folder = str(tmp_path / 'graph')
    sizes = ['--shrink', '100', '--block-size', '256', '--limit', '0.5']
    record = run('out_of_core', *sizes, '--folder', folder)
    assert record['largest_difference'] == 0
    assert record['peak_bytes'] <= record['bound_bytes'] < record['feature_bytes']


def test_weight_precision(run, benchmark, monkeypatch):
    script = benchmark('weight_precision')
    monkeypatch.setattr(script, 'PRODUCTS', ((20, 8, 16),))
    monkeypatch.setattr(script, 'CONVOLUTIONS', ((2, 4, 5),))
    monkeypatch.setattr(script, 'BATCH', 4)
    torch.manual_seed(0)
    x, y = torch.randint(256, (12, 3, 8, 8), dtype=torch.uint8), torch.arange(12) % 10
    images = ImageDataset('images', x, y, x, y, 10, 'dots')
    recipe = ImageRecipe('resnet20', epochs=0, batch_size=6)
    cnn = benchmark('cnn_speed')
    monkeypatch.setattr(cnn, 'prepare', lambda *args, **kwargs: (images, recipe))
    record = run('weight_precision', '--repeats', '2', '--images', '10')
    assert [row['kind'] for row in record['rows'][:2]] == ['product', 'convolution']
    for row in record['rows']:
        seconds, ratios = row['seconds'], row['times_as_fast']
        assert len(seconds) == (4 if row['kind'] == 'product' else 2)
        for name, ratio in ratios.items():
            expected = seconds[script.BASE]['median'] / seconds[name]['median']
            assert ratio['median'] == pytest.approx(expected)
    found = record['network']
    assert found['images'] == 10 and 0 <= found['silent_channels'] < found['channels']
    moved = found['spikes_moved']
    assert 0 < moved['bfloat16'] < 100 and 0 < moved['int8'] < 100


def test_energies_on_both_machines(benchmark, monkeypatch, tmp_path, capsys):
    script = benchmark('energy')
    quick = replace(RECIPES['digits'], epochs=20, hidden_channels=8)
    monkeypatch.setitem(RECIPES, 'digits', quick)
    argv = ['', '--datasets', 'digits', '--num-steps', '4', '--output', str(tmp_path)]
    monkeypatch.setattr(sys, 'argv', argv)
    script.main()
    record = json.loads((tmp_path / 'energy.json').read_text())
    (row,) = record['rows'].values()
    assert set(row['energy_pj']) == set(record['tables']) and record['processor']
    out = capsys.readouterr().out
    for key in script.SHOWN:
        table, counts = EnergyTable.from_dict(record['tables'][key]), row['counts']
        pj, total = row['energy_pj'][key], Counts(**counts)
        for memory, what in ((False, 'compute'), (True, 'memory')):
            for machine, name in (('clocked', ''), ('event-driven', 'event_')):
                expected = table.snn_pj(total, memory, machine) / 1797
                found = pj[f'snn_{name}{what}']
                assert found == pytest.approx(expected) and found > 0
                dense = pj[f'ann_{what}'] / found
                zeros = pj[f'ann_{what}_sparse'] / found
                assert f'{dense:.3g} ({zeros:.3g})' in out and zeros <= dense
    assert 0 < row['share_of_input_neurons'] < 1 and 0 < row['density'] < 1
    before = (tmp_path / 'energy.json').read_bytes()
    monkeypatch.setattr(script, 'trained', None)  # Nothing is done again.
    script.main()
    assert (tmp_path / 'energy.json').read_bytes() == before
    assert 'digits T=4' in capsys.readouterr().out
    monkeypatch.setattr(sys, 'argv', [*argv, '--weights', 'cifar10'])
    with pytest.raises(SystemExit):
        script.main()
    assert 'DATASET=FILE (got cifar10)' in capsys.readouterr().err


def test_energies_have_to_make_sense(benchmark, graph):
    script = benchmark('energy')
    model = make('F.relu')
    measured = measure(convert(model, graph), graph, model)
    script.check(measured)
    measured.layers[-1].counts.moved = measured.total.accumulates + 1
    with pytest.raises(AssertionError):
        script.check(measured)


def test_neurobench_counts(benchmark, run, monkeypatch):
    """The script itself compares all figures."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        pytest.importorskip('neurobench.benchmarks')
    script = benchmark('neurobench_counts')
    torch.manual_seed(0)
    x, y = torch.randint(256, (12, 3, 8, 8), dtype=torch.uint8), torch.arange(12) % 10
    images = ImageDataset('images', x, y, x, y, 10, 'dots')
    recipe = ImageRecipe('cnn', epochs=1, batch_size=6)
    monkeypatch.setattr(script, 'prepare', lambda *args: (images, recipe))
    arguments = ['--datasets', 'images', '--models', 'cnn', '--images', '10']
    record = run('neurobench_counts', *arguments, '--batch-size', '4')
    found = record['networks']['images_cnn']
    assert found['NeuroBench_alone']['Effective_ACs'] == 0
    assert found['with_the_adapter']['Effective_ACs'] > 0
    assert found['measure_tensors']['samples'] == 10
    assert record['versions'].keys() >= {'torch', 'neurobench', 'snntorch'}


def test_nir_rates(run, benchmark):
    pytest.importorskip('nir')
    record = run('nir_rates', *quick(benchmark, 'nir_rates'))
    assert [*record['networks']] == ['perceptron', 'CNN', 'GCN']
    for name, found in record['networks'].items():
        short, long = found['rate_steps'].values()
        assert long['relative_error'] < short['relative_error']
        assert long['layout'] == ('all nodes' if name == 'GCN' else 'one sample')
    assert 'nir' in record['versions']


def cells_of(benchmark, monkeypatch, path, name, *arguments):
    """The summary that a script writes about one small GCN on digits."""
    argv = [name, '--datasets', 'digits', '--seeds', '1', '--output', str(path)]
    monkeypatch.setattr(sys, 'argv', [*argv, *arguments])
    benchmark(name).main()
    return json.loads((path / f'{name}_digits_gcn.json').read_text())['summary']


def test_weight_bits(benchmark, monkeypatch, tmp_path, capsys):
    arguments = ['--num-steps', '4', '--bits', '0', '8', '2']
    cells = cells_of(benchmark, monkeypatch, tmp_path, 'weight_bits', *arguments)
    plain, fine, coarse = (cells[f'T=4 bits={bits}'] for bits in (0, 8, 2))
    assert plain['loss_of_rounding_points']['mean'] == 0
    errors = [row['logit_relative_error']['mean'] for row in (plain, fine, coarse)]
    assert abs(errors[1] - errors[0]) < 0.01 < errors[2] - errors[0]
    assert 'digits' in capsys.readouterr().out


def test_integers(benchmark, monkeypatch, tmp_path, capsys):
    arguments = ['--num-steps', '8', '--bits', '8', '--widths', '16']
    cells = cells_of(benchmark, monkeypatch, tmp_path, 'integers', *arguments)
    assert [*cells] == ['8 bits, 16, held', '8 bits, 16, growing']
    assert cells['8 bits, 16, held']['agreement_with_snn'] > 98
    record = json.loads((tmp_path / 'integers_digits_gcn.json').read_text())
    bundle = record['seeds']['0']['cells']['8 bits, 16, held']['bundle']
    assert bundle['cycles_per_inference'] == 24 and bundle['folder_bytes'] > 0
    assert '8 bits, 16, held' in capsys.readouterr().out


def test_noise(benchmark, monkeypatch, tmp_path, capsys):
    noise = benchmark('noise')
    monkeypatch.setattr(noise, 'NETWORKS', ('digits_gcn',))
    for kind in noise.LEVELS:
        monkeypatch.setitem(noise.LEVELS, kind, (0.01, 0.4))
    argv = ['noise', '--networks', 'digits_gcn', '--seeds', '1', '--num-steps', '8']
    argv += ['--bits', '8', '--output', str(tmp_path)]
    monkeypatch.setattr(sys, 'argv', argv)
    noise.main()
    cells = json.loads((tmp_path / 'noise_digits_gcn.json').read_text())['summary']
    found = {cell: row['agreement']['mean'] for cell, row in cells.items()}
    assert found['ann'] == 100 and 'phase drop 0.4' in capsys.readouterr().out
    for code in ('phase', 'rate'):
        assert found[code] > 95
        for kind in noise.LEVELS:
            few, many = (found[f'{code} {kind} {level}'] for level in (0.01, 0.4))
            assert few + 1 > many and few > 80, (code, kind)
        assert found[f'{code} drop 0.4'] < found[f'{code} drop_corrected 0.4'] + 1
    assert found['rate jitter 0.4'] > found['phase jitter 0.4']
    assert found['phase bits 8'] > 95
    alone = [cell for cell in found if cell.startswith('phase drop 0.2 @')]
    assert len(alone) == 2


def test_noise_of_rates(benchmark):
    noise = benchmark('noise')
    config = ConversionConfig(num_steps=4)
    code, scale, _ = noise.linear_code(torch.rand(1, 500), config, signed=True)
    assert code.levels.tolist() == [1, 0.75, 0.5, 0.25] and code.signed
    assert 0.8 < float(scale) < 1.1
    phase = torch.arange(5).byte().repeat(20_000)  # 4, 3, 2, 1 and 0 spikes.
    spikes = Spikes(phase, code, torch.tensor(1.0))
    counts = 4 - phase.double()

    def sent(**kwargs):
        disturbance = noise.RateDisturbance(SpikeNoise(**kwargs), 0, False)
        return disturbance.sent('name', spikes, True)

    for count in range(5):
        rows = counts == count
        left = 4 - sent(drop=0.3).phase()[rows].double()
        assert abs(float(left.mean()) - 0.7 * count) < 0.05
        assert abs(float(left.var()) - 0.21 * count) < 0.05
        left = 4 - sent(jitter=0.8).phase()[rows].double()
        assert set(left.tolist()) <= {count, count - 1}
        assert abs(float(left.mean()) - (count - 0.4 * count / 4)) < 0.02
        more = 4 - sent(extra=1 - 0.9**4).phase()[rows].double()
        assert abs(float(more.mean()) - (count + 0.1 * (4 - count))) < 0.02
    silent = sent(extra=0.5).polarity()[counts == 0]
    assert abs(int((silent == 1).sum()) - int((silent == -1).sum())) < 500
    assert sent(drop=1.0).num_spikes == 0
    corrected = noise.CorrectedRate(SpikeNoise(drop=0.2), 0, False)
    assert float(corrected.sent('name', spikes, True).scale) == 1.25


def test_drawn_inputs(benchmark, monkeypatch, tmp_path):
    """Blocks add up, and an interrupted run goes on."""
    pytest.importorskip('hypothesis')
    script = benchmark('fuzz')
    options = ['--targets', 'spike_times', '--block', '4', '--output', str(tmp_path)]
    for cases, blocks in ((4, 1), (8, 2), (8, 2)):
        argv = ['fuzz', '--cases', str(cases), *options]
        monkeypatch.setattr(sys, 'argv', argv)
        script.main()
        found = json.loads((tmp_path / 'fuzz.json').read_text())['targets']
        assert found['spike_times']['blocks'] == blocks
        outcomes = found['spike_times']['outcomes']
        assert {*outcomes} <= {'signed', 'unsigned'}
        assert sum(outcomes.values()) == found['spike_times']['cases'] >= cases
