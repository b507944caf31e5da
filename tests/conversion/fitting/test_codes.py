import json
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch_geometric.nn.models import GAT

from spikegraph import ConversionConfig, convert, load, save
from spikegraph.coding import PhaseCode, Spikes
from spikegraph.conversion.fitting import codes as fitting
from spikegraph.conversion.fitting.codes import SortedValues, fit_code

TABLE = PhaseCode.from_levels([1.0, 0.75, 0.5, 0.25])
FLOOR = PhaseCode.from_levels(TABLE.levels, TABLE.levels)


def coding_error(rows, code, scale):
    positive = rows.clamp(min=0)
    coded = Spikes.from_values(rows, code, scale.view(-1, 1)).decode()
    return (coded - positive).square().sum(-1)


@pytest.mark.parametrize('num_rows, size', [(1, 1), (1, 500), (4, 63)])
def test_prefix_sums_give_the_error_of_any_code(num_rows, size):
    rows = torch.randn(num_rows, size, dtype=torch.float64) + 1
    data = SortedValues.of(rows)
    for code in (PhaseCode(1, 2), PhaseCode(9, 1.4), PhaseCode.from_levels([3.0, 1.0])):
        scale = torch.rand(num_rows, dtype=torch.float64) + 0.2
        levels = scale.view(-1, 1, 1) * code.levels
        thresholds = scale.view(-1, 1, 1) * code.thresholds
        expected = coding_error(rows, code, scale)
        found = data.error(levels, thresholds).view(-1)
        assert torch.allclose(found, expected, atol=1e-9)


@pytest.mark.parametrize('per_row', [False, True])
def test_mse_scale_is_near_the_best_of_a_dense_grid(per_row):
    rows = torch.rand(3 if per_row else 1, 400, dtype=torch.float64) ** 3
    config = ConversionConfig(num_steps=6, base=1.6)
    code, scale, error = fit_code(rows, config, signed=False)
    found = coding_error(rows, code, scale)
    assert torch.allclose(found.sum(), torch.tensor(error).double())
    grid = torch.linspace(0.05, 1.2, 400, dtype=torch.float64)
    dense = torch.stack([coding_error(rows, code, s.expand(len(rows))) for s in grid])
    assert (found <= 1.03 * dense.amin(dim=0)).all()


def test_auto_base_suits_the_range():
    wide = torch.logspace(-4, 0, 2000, dtype=torch.float64).view(1, -1)
    narrow = torch.linspace(0.8, 1, 2000, dtype=torch.float64).view(1, -1)
    config = ConversionConfig(num_steps=8)
    assert fit_code(wide, config, False)[0].base > 1.3
    assert fit_code(narrow, config, False)[0].base < 1.05


@pytest.mark.parametrize('levels', ['geometric', 'fitted'])
def test_rows_of_most_energy_decide_on_the_base(levels, monkeypatch):
    rows = torch.randn(40, 300, dtype=torch.float64).relu() ** 2
    rows[::2] *= 0.01  # What matters little.
    rows[1::2] = rows[1::2].clamp(min=0.3)
    config = ConversionConfig(num_steps=8, levels=levels)
    code, scale, error = fit_code(rows, config, False)
    searched = []
    search = fitting._search_base
    monkeypatch.setattr(fitting, 'NUM_ROWS', 20)
    monkeypatch.setattr(
        fitting,
        '_search_base',
        lambda data, *a: searched.append(data) or search(data, *a),
    )
    found, scales, some = fit_code(rows, config, False)
    assert [len(data.values) for data in searched] == [20]
    assert searched[0].energy.min() > rows[::2].square().sum(-1).max()
    assert torch.allclose(found.levels, code.levels, rtol=0.05)
    assert len(scales) == 40 and some == pytest.approx(error, rel=0.05)
    assert coding_error(rows, found, scales).sum().item() == pytest.approx(some)


def test_fitted_levels_satisfy_lloyds_conditions():
    rows = torch.randn(1, 5000, dtype=torch.float64).abs()
    config = ConversionConfig(num_steps=5, levels='fitted')
    code, scale, error = fit_code(rows, config, False)
    times = Spikes.from_values(rows, code, scale).spike_time
    for t, level in enumerate((scale * code.levels).tolist()):
        centroid = float(rows[times == t].mean())
        assert abs(centroid - level) < 0.02 * level
    geometric = fit_code(rows, ConversionConfig(num_steps=5), False)[2]
    assert error < 0.95 * geometric


@pytest.mark.parametrize('levels', ['geometric', 'fitted'])
@pytest.mark.parametrize('num_steps', [1, 8, 126])
def test_degenerate_rows(levels, num_steps):
    config = ConversionConfig(num_steps=num_steps, levels=levels)
    for rows in (
        torch.full((1, 10), 0.3),
        torch.tensor([[0.0, 0.0, 0.0], [1.0, 2.0, 4.0]]),  # A dead channel.
        torch.full((1, 1), 1e-6),
        torch.tensor([[1e6, 1e-6]]),
    ):
        code, scale, error = fit_code(rows, config, False)
        assert code.num_steps == num_steps and (scale > 0).all()
        assert scale.isfinite().all() and error >= -1e-3 * float(rows.square().sum())


@pytest.mark.parametrize(
    'kwargs, match',
    [
        (dict(num_steps=0), r"'num_steps' to be at least 1 \(got 0\)"),
        (dict(num_steps=127), r'at most 126.*\(got 127\)'),
        (dict(base=1.0), r"'base' to be greater than 1 \(got 1.0\)"),
        (dict(base='two'), r"'base' to be a number.*\(got 'two'\)"),
        (dict(scale=-1.0), r"'scale' to be 'mse', 'max' or.*\(got -1.0\)"),
        (dict(scale=('percentile', 101)), r'in \(0, 100\] \(got 101\)'),
        (dict(threshold_shift=0), r'in \(0, 1\] \(got 0\)'),
        (dict(levels='best'), r"'geometric', 'fitted', or a table: .* \(got 'best'\)"),
        (dict(compensate='all'), r"None, 'bias', 'ridge' \(got 'all'\)"),
        (dict(per_channel='yes'), r"'per_channel' to be a bool \(got 'yes'\)"),
        (dict(levels='fitted', base=2), r"\(got 2, None, 'mse'\)"),
        (dict(levels=TABLE), r"'num_steps' to be the number of .* 4 \(got 16\)"),
        (dict(levels=[1.0, 0.5], num_steps=2), r'\(got \[1.0, 0.5\]\)'),
        (dict(levels=replace(TABLE, signed=True), num_steps=4), 'got a signed table'),
        (dict(levels=TABLE, num_steps=4, base=2), r'\(got 2, None\)'),
        (dict(levels=TABLE, num_steps=4, threshold_shift=1.0), r"\(got 'auto', 1.0"),
        (dict(levels=TABLE, num_steps=4, relay_steps=7), r"'relay_steps'.*\(got 7\)"),
    ],
)
def test_config_errors(kwargs, match):
    with pytest.raises(ValueError, match=match):
        ConversionConfig(**kwargs)


def test_config_round_trip():
    config = ConversionConfig(num_steps=7, scale=('percentile', 99.0), base=1.5)
    assert ConversionConfig.from_dict(config.to_dict()) == config


def test_levels_beside_channels_that_died():
    """Their squared scales vanish beside those of the others, and sums cancel."""
    torch.manual_seed(0)
    torch.rand(40, 12), torch.randint(37, (2, 160)), torch.rand(160)
    x = torch.rand(3, 3, 13, 11)
    norm = nn.BatchNorm2d(8)
    torch.manual_seed(1)
    layers = [nn.Conv2d(3, 8, 3, padding=1), norm, nn.ReLU(), nn.Conv2d(8, 8, 3)]
    layers += [nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3)]
    torch.manual_seed(3)
    with torch.no_grad():
        norm.running_mean.uniform_(-0.3, 0.3)
        norm.running_var.uniform_(0.3, 2)
        norm.weight.uniform_(0.5, 1.5)
        norm.bias.uniform_(-0.3, 0.3)
        norm.weight[:4] = norm.bias[2:4] = 1e-8
        norm.bias[:2] = -1.0
    snn = convert(nn.Sequential(*layers).eval(), x)
    for neuron in snn.neurons.values():
        assert float(neuron.scale.max()) < 1e3


@pytest.mark.parametrize('table', [TABLE, FLOOR])
@pytest.mark.parametrize('scale', ['mse', 'max', ('percentile', 90)])
def test_scales_are_found_for_a_table(table, scale):
    rows = torch.rand(2, 300, dtype=torch.float64) ** 3
    config = ConversionConfig(num_steps=4, levels=table, scale=scale)
    code, scales, error = fit_code(rows, config, signed=False)
    assert code == table
    assert coding_error(rows, code, scales).sum().item() == pytest.approx(error)
    if scale == 'mse':
        largest = replace(config, scale='max')
        assert error < fit_code(rows, largest, signed=False)[2]
    elif scale == 'max':
        assert torch.allclose(scales, rows.amax(dim=1), rtol=1e-5)
    else:
        share = (rows > scales.view(-1, 1)).double().mean(dim=1)
        assert torch.allclose(share, torch.tensor(0.1).double(), atol=0.01)


@pytest.mark.parametrize('images', [False, True])
def test_a_table_is_every_populations(images):
    torch.manual_seed(0)
    first, x = nn.Linear(5, 8), torch.randn(40, 5)
    if images:
        first, x = nn.Conv2d(2, 8, 3), torch.randn(40, 2, 3, 3)
    model = nn.Sequential(first, nn.ReLU(), nn.Flatten(), nn.Linear(8, 3))
    config = ConversionConfig(num_steps=4, levels=FLOOR)
    snn = convert(model, x, config)
    signed, unsigned = (neuron.code for neuron in snn.neurons.values())
    assert signed == replace(FLOOR, signed=True) and unsigned == FLOOR
    assert 'codes         given levels' in str(snn.report)
    assert snn.report.levels == 'given' and 'fitted' not in str(snn.report)
    rounded = convert(model, x, replace(config, levels=TABLE))
    assert rounded.neurons.keys() == snn.neurons.keys()
    assert not torch.equal(snn(x), rounded(x))


def test_what_is_added_in_time_keeps_geometric_levels(graph):
    torch.manual_seed(0)
    model = GAT(graph.x.size(1), 8, 2, 3).to(graph.x.dtype).eval()
    snn = convert(model, graph, ConversionConfig(num_steps=4, levels=TABLE))
    codes = {name: neuron.code for name, neuron in snn.neurons.items()}
    assert codes['input_x'].base is None
    delayed = [code for name, code in codes.items() if name != 'input_x']
    assert len(delayed) > 1 and all(code.base is not None for code in delayed)
    relays = [codes[name] for name in snn.report.relays]
    assert relays and all(code.num_steps == 4 for code in relays)


@pytest.mark.parametrize('table', [TABLE, FLOOR])
def test_tables_are_kept_in_dictionaries_and_files(table, tmp_path):
    config = ConversionConfig(num_steps=4, levels=table)
    values = json.loads(json.dumps(config.to_dict()))
    assert values['levels'][0] == [1.0, 0.75, 0.5, 0.25]
    assert ConversionConfig.from_dict(values) == config
    model, x = (
        nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3)),
        torch.rand(9, 5),
    )
    snn = convert(model, x, config)
    save(snn, tmp_path / 'snn')
    loaded = load(tmp_path / 'snn', model)
    assert loaded.config == snn.config and loaded.config.levels == table
    assert torch.equal(loaded(x), snn(x))


def test_a_geometric_table_is_the_base():
    rows = torch.rand(2, 300, dtype=torch.float64)
    given = ConversionConfig(num_steps=5, levels=PhaseCode.nearest(5, 1.5))
    found = fit_code(rows, given, False)
    expected = fit_code(rows, ConversionConfig(num_steps=5, base=1.5), False)
    assert torch.equal(found[1], expected[1]) and found[2] == expected[2]
    assert given.resolve(True).relay_steps == 5
