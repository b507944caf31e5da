"""Codes side by side: what they send, the reference, the rival, and the page."""

import importlib
import json
import re
import sys
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from spikegraph import ConversionConfig, Spikes, convert, measure
from spikegraph.zoo.models import RECIPES, ResNet20

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / 'benchmarks'
PAGE = (ROOT / 'docs' / 'codes.md').read_text(encoding='utf-8')


@pytest.fixture
def benchmark(monkeypatch):
    """Returns a function that imports a script."""
    monkeypatch.syspath_prepend(str(FOLDER))
    yield importlib.import_module
    for path in FOLDER.glob('*.py'):
        sys.modules.pop(path.stem, None)


def test_levels_and_spikes(benchmark):
    tables = benchmark('code_tables')
    ranks = torch.arange(16)
    sent = {
        kind: tables.UniformCode(kind, 4).spikes(ranks).tolist()
        for kind in tables.KINDS
    }
    assert sent['linear'] == [0] + 15 * [1] and sent['rate'] == ranks.tolist()
    bits = [bin(k).count('1') for k in range(16)]
    assert sent['binary'] == sent['few spikes'] == bits
    assert tables.UniformCode('binary', 32).spikes(torch.tensor([2**32 - 1])) == 32
    assert tables.UniformCode('rate', 5).num_levels == 5
    assert tables.UniformCode('binary', 7).table() is None
    assert tables.UniformCode('binary', 6).table().num_steps == 63


@pytest.mark.parametrize('kind', ['linear', 'rate', 'binary', 'few spikes'])
def test_ranks_are_those_of_the_table(benchmark, kind):
    tables = benchmark('code_tables')
    code, scale = tables.UniformCode(kind, 4), torch.tensor(2.0).double()
    x = torch.linspace(0, 3, 1001, dtype=torch.float64)
    spikes = Spikes.from_values(x, code.table(), scale)
    ranks = code.ranks(x, scale)
    assert torch.equal(ranks.long(), code.num_levels - spikes.spike_time.long())
    torch.testing.assert_close(spikes.decode(), scale * ranks / code.num_levels)
    assert torch.equal(tables.num_sent(spikes, code), code.spikes(ranks))
    if kind == 'few spikes':
        assert (spikes.decode() <= x).all()


def test_few_spikes_are_what_their_neurons_send(benchmark):
    """Threshold, reset and weight of step t are all alpha 2^-t."""
    code = benchmark('code_tables').UniformCode('few spikes', 5)
    alpha, x = 3.0, torch.linspace(-1, 4, 777, dtype=torch.float64)
    membrane, out, number = x.clone(), torch.zeros_like(x), torch.zeros(777).long()
    for step in range(1, 6):
        size = alpha * 2.0**-step
        fires = membrane >= size
        membrane, out = membrane - size * fires, out + size * fires
        number += fires
    scale = torch.tensor(alpha * 31 / 32).double()
    ranks = code.ranks(x, scale)
    torch.testing.assert_close(scale * ranks / 31, out)
    assert torch.equal(code.spikes(ranks), number)


def test_features_that_are_flags_take_one_spike(benchmark):
    tables = benchmark('code_tables')
    ranks = torch.tensor([0, 8, 8, 0])
    assert tables.without_repeats(ranks, ranks).tolist() == [0, 1, 1, 0]
    ranks = torch.tensor([0, 8, 7])
    assert tables.without_repeats(ranks, ranks) is ranks


def test_the_reference_fits_scales_as_the_library(benchmark):
    quantised, tables = benchmark('quantised'), benchmark('code_tables')
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3)).double()
    x = torch.randn(200, 5, dtype=torch.float64)
    code = tables.UniformCode('binary', 4)
    for per_channel in (False, True):
        options = dict(compensate=None, per_channel=per_channel, levels=code.table())
        snn = convert(model, x, ConversionConfig(code.num_levels, **options))
        network = quantised.Quantised(snn, code, [(x,)])
        torch.testing.assert_close(network(x), snn(x))
        for node, scale in network.scales.items():
            found = snn.network.operation(node).scale
            torch.testing.assert_close(scale, found)
    many = quantised.Quantised(snn, tables.UniformCode('binary', 16), [(x,)])
    torch.testing.assert_close(many(x), model(x), atol=2e-3, rtol=0)
    assert (many(x) - model(x)).norm() < 0.1 * (snn(x) - model(x)).norm()


@pytest.fixture
def quick(benchmark, monkeypatch):
    """The script, with a small network for the embedded images."""
    script = benchmark('codes')
    recipe = benchmark('spikegraph.zoo.models.recipes').IMAGE_RECIPES
    small = replace(recipe['digits'], epochs=2, hidden_channels=4)
    monkeypatch.setitem(recipe, 'digits', small)
    return script


def arguments_of(tmp_path, **changes):
    values = dict(num_steps=[4, 8], more_steps=[16], cells=None, images=60, root=None)
    return Namespace(**{**values, 'weights': None, 'output': tmp_path, **changes})


def test_cells(benchmark):
    cells = benchmark('codes').cells_of(arguments_of('.'))
    assert len(cells) == 2 * 2 * 3 + (2 * 3 + 2 * 2) + (3 + 2) + 2 * 2 + 2
    assert not [
        name for name in cells if 'binary T=8 r' in name or 'binary T=16' in name
    ]
    for name, (code, steps, options) in cells.items():
        assert f'T={steps}' in name.split()
        assert (options['compensate'] == 'ridge') == name.endswith('ridge')
        assert (code is None) == name.startswith('one spike')
    assert cells['rate, 99.9 % T=8'][2]['scale'] == ('percentile', 99.9)
    only = arguments_of('.', cells=['linear T=4'])
    assert list(benchmark('codes').cells_of(only)) == ['linear T=4']


def test_codes_on_images(quick, tmp_path, capsys):
    names = ['one spike T=4', 'linear T=4 ridge', 'rate T=4 ridge', 'binary T=8']
    arguments = arguments_of(tmp_path, cells=names[:2])
    quick.run_network('digits_cnn', 0, arguments)
    arguments.cells = names
    record = quick.run_network('digits_cnn', 0, arguments)
    assert record['checked'] and record['num_tested'] == 60
    assert list(record['seeds']['0']['cells']) == names
    cells = record['seeds']['0']['cells']
    linear, rate, binary = (cells[name] for name in names[1:])
    same = ('snn_accuracy', 'agreement', 'logit_relative_error', 'network_steps')
    assert all(linear[key] == rate[key] for key in same)
    for key in ('spikes_per_neuron', 'hidden_spikes_per_neuron', 'synops'):
        assert linear[key] < rate[key], key
    assert linear['hidden_spikes_per_neuron'] <= 1 < binary['hidden_spikes_per_neuron']
    assert binary['network_steps'] == 2 * linear['network_steps'] > 0
    assert binary['logit_relative_error'] < 0.2 * linear['logit_relative_error']
    quick.print_table('digits_cnn', record)
    assert 'binary T=8' in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"'--images' to be 60 .*\(got 61\)"):
        quick.run_network('digits_cnn', 0, arguments_of(tmp_path, images=61))


def test_events_of_neurons_that_fire_often(quick, tmp_path):
    task = quick.Task('digits_cnn', 0, arguments_of(tmp_path))
    snn = task.converted(4)
    ((x,),) = task.measured
    sent = quick.sent_by(snn, (x,), None)
    once = quick.Numbers(snn, snn.bind(x), sent)
    twice = quick.Numbers(snn, snn.bind(x), {k: 2 * v for k, v in sent.items()})
    counts = [sum(r.counts.synops for r in c.rows.values()) for c in (once, twice)]
    assert counts[1] == 2 * counts[0] == 2 * measure(snn, [(x,)]).total.synops


def test_codes_on_a_graph(benchmark, monkeypatch, tmp_path):
    script = benchmark('codes')
    monkeypatch.setitem(RECIPES, 'digits', replace(RECIPES['digits'], epochs=3))
    arguments = arguments_of(tmp_path, cells=['one spike T=4', 'few spikes T=8'])
    record = script.run_network('digits_gcn', 0, arguments)
    few = record['summary']['few spikes T=8']
    assert few['agreement']['mean'] >= 98 and record['checked']


def test_the_rival_is_skipped_visibly(benchmark, monkeypatch, tmp_path, capsys):
    rival = benchmark('spikingjelly_rival')
    monkeypatch.setattr(rival, 'is_installed', lambda: False)
    monkeypatch.setattr(sys, 'argv', ['', '--output', str(tmp_path)])
    rival.main()
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith('SpikingJelly is not installed') and '==2.0.0' in line
    assert not list(tmp_path.iterdir())


def test_modules_for_the_rival_are_the_network(benchmark):
    rival = benchmark('spikingjelly_rival')
    torch.manual_seed(0)
    model = ResNet20().train()
    x = torch.randn(6, 3, 32, 32)
    model(x)  # Moves the statistics of batch norms.
    modules = rival.of_modules(model.eval())
    with torch.no_grad():
        torch.testing.assert_close(modules(x), model(x), rtol=1e-4, atol=1e-4)
    relus = [m for m in modules.modules() if type(m) is nn.ReLU]
    assert len(relus) == 19


def test_our_cells_of_the_rivals_networks(benchmark):
    rival = benchmark('spikingjelly_rival')
    given = Namespace(root=None, images=50, epochs=20, weights=None)
    ((name, model, modules, batches, x, y),) = rival.networks(given)
    assert name == 'digits_mlp' and modules is model and len(x) == len(y) == 50
    with torch.no_grad():
        ann = model(x)
    cells = rival.our_cells(model, ann, batches, x, y, [4, 16], {})
    few, many = cells['T=4'], cells['T=16']
    assert many['logit_relative_error'] < few['logit_relative_error']
    assert 0 < few['spikes_per_neuron'] <= 1 and many['network_steps'] == 64


def test_late_outputs_of_the_rival(benchmark):
    rival = benchmark('spikingjelly_rival')
    torch.manual_seed(0)
    outs, y = torch.randn(4, 9, 3), torch.zeros(9).long()
    sums, spikes = outs.cumsum(0), torch.tensor([1.0, 2.0, 3.0, 5.0])
    found = rival.their_cells(sums, spikes, outs[2:].mean(0), y, [2, 4], {4: 2})
    assert found['T=4']['logit_relative_error'] < 1e-6
    assert found['T=4']['read_from_step'] == 2 and found['T=2']['read_from_step'] == 0
    assert found['T=4']['spikes_per_neuron'] == 5.0
    assert found['T=2']['logit_relative_error'] > 0.1


def test_the_rival(benchmark, monkeypatch, tmp_path, capsys):
    pytest.importorskip('spikingjelly')
    rival = benchmark('spikingjelly_rival')
    argv = '--images 40 --num-steps 4 32 --our-steps 8 --timed-images 4 --repeats 1'
    argv = [*argv.split(), '--timed-steps', '4', '--output', str(tmp_path)]
    monkeypatch.setattr(sys, 'argv', ['', *argv])
    rival.main()
    record = json.loads((tmp_path / 'spikingjelly.json').read_text())
    row = record['networks']['digits_mlp']
    assert row['as_written'] == {'populations': 2} and row['populations'] == 2
    assert record['versions']['spikingjelly'] == '2.0.0'
    cells = row['cells']['rate, max']
    assert cells['T=32']['agreement'] > 90
    assert cells['T=4']['spikes_per_neuron'] < cells['T=32']['spikes_per_neuron'] <= 32
    assert all('error' in found['as it is'] for found in record['graphs'].values())
    assert 'ms' in capsys.readouterr().out


def test_fronts(benchmark):
    pages = benchmark('code_pages')
    found = {
        ('a', 4): {'agreement': 90.0, 'cost': 1.0},
        ('b', 4): {'agreement': 95.0, 'cost': 1.0},
        ('c', 4): {'agreement': 95.0, 'cost': 2.0},
        ('d', 4): {'agreement': 96.0, 'cost': 3.0},
        ('e', 4): {'agreement': 91.0, 'cost': 0.5},
        ('f', 4): {'agreement': 80.0, 'cost': 0.1},
    }
    found['a', 4]['agreement'] = 94.0
    assert [k for k, _ in pages.front(found, 'cost')] == ['e', 'b', 'd']
    assert pages.split('rate, 99.9 % T=16 ridge') == ('rate, 99.9 %', 16, True)
    cells = {'a T=4': {'agreement': 1.0}, 'a T=4 ridge': {'agreement': 2.0}}
    assert pages.points(cells) == {('a', 4): {'agreement': 2.0}}


def test_the_sooner_way_to_run_counts(benchmark):
    fast, slow = {'min': 1.0, 'median': 3.0}, {'min': 2.0, 'median': 2.5}
    times = {'A T=8, at once': slow, 'A T=8, step by step': fast, 'B': slow}
    assert benchmark('code_pages')._shortest(times) == {'A T=8': fast, 'B': slow}


def test_the_page_is_what_was_measured(benchmark):
    pages = benchmark('code_pages')
    text = (ROOT / 'docs' / 'codes.md').read_text(encoding='utf-8')
    found = pages.parts(FOLDER / 'results')
    assert {'tables', 'fronts', 'rival'} == set(found)
    assert pages.written(text, found) == text
    assert len(text.splitlines()) <= 150
    assert (ROOT / 'docs' / 'codes.png').stat().st_size <= 200_000
    for link in re.findall(r'\]\(([^)#]+)\)', text):
        assert (ROOT / 'docs' / link).exists() or link.startswith('http'), link


def test_the_picture(benchmark, tmp_path):
    pytest.importorskip('matplotlib')
    pages = benchmark('code_pages')
    pages.draw(pages.load(FOLDER / 'results'), tmp_path / 'codes.png')
    assert (tmp_path / 'codes.png').stat().st_size > 10_000


def groups(pages):
    records = pages.load(FOLDER / 'results')
    found = {group: pages.means(records, group) for group in pages.GROUPS}
    return {group: pages.points(cells) for group, cells in found.items() if cells}


def test_what_the_page_says_of_all_networks(benchmark):
    """Claims in words, which no cell alone shows."""
    pages = benchmark('code_pages')
    for group, found in groups(pages).items():
        for (code, steps), row in found.items():
            if code.startswith('one spike') or code == 'linear':
                assert row[pages.SPIKES] <= 1
            one = found.get(('one spike', steps))
            if code == 'binary' and one is not None and steps <= 8:
                assert row['agreement'] > one['agreement'], (group, steps)
                assert row[pages.SPIKES] > one[pages.SPIKES], (group, steps)
        for cost in (pages.SPIKES, pages.STEPS):
            assert not [c for c, _ in pages.front(found, cost) if c.startswith('rate')]
        spikes = {True: [], False: []}
        for code, steps in pages.front(found, pages.SPIKES):
            is_one = code.startswith('one spike') or code == 'linear'
            spikes[is_one].append(found[code, steps][pages.SPIKES])
        assert 1.5 * max(spikes[True]) < min(spikes[False], default=99), group
        if group == 'GIN, Cora':
            for steps in (4, 8, 16, 32):
                one, linear = (found[c, steps] for c in ('one spike', 'linear'))
                assert one['agreement'] > linear['agreement']
        first = pages.front(found, pages.SPIKES)[0]
        assert first[0] == 'one spike, not shifted', group
        base = {t: row['agreement'] for (c, t), row in found.items() if 'base 2' in c}
        assert base[32] < base[8] + 0.2
        for steps in (16, 32):
            assert base[steps] < found['one spike', steps]['agreement'], group


def test_what_the_page_says_of_the_shift(benchmark):
    pages = benchmark('code_pages')
    records = pages.load(FOLDER / 'results')
    for group in pages.GROUPS:
        cells = pages.means(records, group)

        def at(how, group=cells):
            return group[how]['agreement']

        for steps in (4, 8, 16, 32):
            plain = f'one spike, not shifted T={steps}'
            assert at(plain) < at(f'one spike T={steps}'), (group, steps)
            least = 2.4 if group.startswith('ResNet') else 0.5
            if steps >= 16:
                ridge = at(f'{plain} ridge')
                assert ridge > at(f'one spike T={steps} ridge') - least, (group, steps)


def test_what_the_page_says_of_the_rival():
    record = json.loads((FOLDER / 'results' / 'spikingjelly.json').read_text())
    for name, found in record['graphs'].items():
        assert 'error' in found['as it is'], name
        if name.startswith('GAT'):
            assert found['graph inside']['error'] == 'TraceError'
        elif name.startswith('GCN'):
            assert 'propagate' in found['graph inside']['message']
    resnet = record['networks']['cifar10_resnet20']
    ours = resnet['cells']['spikegraph, pixels as spikes']['T=16']
    theirs = [
        (cell['agreement'], cell['spikes_per_neuron'])
        for how, cells in resnet['cells'].items()
        for cell in cells.values()
        if not how.startswith('spikegraph')
    ]
    assert max(theirs)[0] < ours['agreement']
    assert (
        f'for {max(theirs)[0]:.1f} %' in PAGE and f'{max(theirs)[1]:.1f} spikes' in PAGE
    )
    assert f'{ours["spikes_per_neuron"]:.2f} for {ours["agreement"]:.1f} %' in PAGE
    assert resnet['as_written']['error'] == 'ValueError'
    assert "'relu'" in resnet['as_written']['message']
