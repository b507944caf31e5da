import builtins
import io
import re

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from torch import nn

from spikegraph import ConversionConfig, PhaseCode, Spikes, convert, simulate
from spikegraph.plotting import (
    SWEEP_VALUES,
    plot_attention,
    plot_coding_error,
    plot_exchange,
    plot_neuron,
    plot_raster,
    plot_spike_times,
    plot_sweep,
)
from spikegraph.running.steps import Simulation
from spikegraph.zoo.models import GCN

PNG = b'\x89PNG\r\n\x1a\n'


def render(figure):
    """Draws a figure and checks that no text of it leaves the canvas."""
    file = io.BytesIO()
    canvas = FigureCanvasAgg(figure)
    canvas.print_png(file)
    assert file.getvalue().startswith(PNG)
    renderer = canvas.get_renderer()
    page = figure.bbox
    for axes in figure.axes:
        for text in [axes.title, axes._left_title, axes.xaxis.label, axes.yaxis.label]:
            box = text.get_window_extent(renderer)
            assert box.width == 0 or (box.x0 >= page.x0 and box.x1 <= page.x1), text
    return figure


@pytest.fixture
def snn(digits):
    torch.manual_seed(0)
    model = GCN(64, 8, 10, num_layers=3).eval()
    return convert(model, digits.data, ConversionConfig(num_steps=6))


def test_raster_shows_the_spikes_of_the_simulation(snn, digits):
    simulation = simulate(snn, digits.data)
    figure = render(plot_raster(simulation, max_neurons=10**6))
    assert len(figure.axes) == 3
    assert figure.axes[-1].get_xlim() == (0, 4 * 6)
    for axes, (name, spikes) in zip(
        figure.axes, simulation.spikes.items(), strict=True
    ):
        points = axes.collections[-1].get_offsets()
        assert len(points) == spikes.num_spikes
        neuron, step = points[:, 1] - 0.5, points[:, 0] - 0.5
        expected = spikes.spike_time.view(-1)[torch.as_tensor(neuron).long()]
        start = simulation.start_step[name]
        assert np.array_equal(step - start, expected.numpy())
        assert name in axes.get_title(loc='left')


def test_raster_beyond_step_255():
    # Spike times are bytes; the steps of a run are not.
    code = PhaseCode(100, 1.1)
    torch.manual_seed(0)
    simulation = Simulation(None, num_steps=400)
    for i, name in enumerate(['input_x', 'relu', 'relu_1']):
        spikes = Spikes.from_values(torch.rand(5, 7), code)
        simulation.spikes[name], simulation.start_step[name] = spikes, 100 * i
    axes = render(plot_raster(simulation)).axes[-1]
    points = axes.collections[-1].get_offsets()
    expected = 200 + spikes.phase().view(-1)[spikes.polarity().view(-1) != 0].long()
    assert int(expected.max()) > 255
    assert (points[:, 0] - 0.5).tolist() == expected.tolist()


def test_many_populations_fit_on_a_page():
    code = PhaseCode(4, 2.0)
    spikes = {
        f'relu_{i}': Spikes.from_values(torch.rand(3, 2), code) for i in range(20)
    }
    start = {name: 4 * i for i, name in enumerate(spikes)}
    simulation = Simulation(None, spikes, {}, start, 84)
    names = [f'relu_{i}' for i in (0, 2, 4, 6, 8, 11, 13, 15, 17, 19)]
    for figure, panels in (
        (render(plot_raster(simulation)), slice(None)),
        (render(plot_spike_times(spikes)), slice(None, None, 2)),
    ):
        assert figure.get_figheight() < 14
        assert figure.get_suptitle() == '10 of 20 populations, evenly chosen'
        titles = [axes.get_title(loc='left') for axes in figure.axes[panels]]
        assert [title.split(':')[0] for title in titles] == names
    few = plot_raster(Simulation(None, {'relu_0': spikes['relu_0']}, {}, start, 8))
    assert few.get_suptitle() == ''


def test_gates_have_no_charge_window():
    torch.manual_seed(0)
    layers = nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()
    x = torch.rand(3, 1, 8, 8)
    snn = convert(nn.Sequential(*layers, nn.Linear(18, 2)).eval(), x)
    figure = render(plot_raster(simulate(snn, x)))
    shaded = [len(axes.patches) for axes in figure.axes]
    assert shaded == [1, 2, 1]  # Input, activation, pool.


def test_raster_samples_large_populations(snn, digits):
    figure = render(plot_raster(simulate(snn, digits.data), max_neurons=7))
    assert [axes.get_ylim() for axes in figure.axes] == [(7, 0)] * 3
    assert '7 of 115,008 neurons' in figure.axes[0].get_title(loc='left')


def test_signed_spikes_are_told_apart():
    code = PhaseCode(4, 2.0, signed=True)
    spikes = Spikes.from_values(torch.tensor([[1.0, -1.0, 0.0, -0.25]]), code)
    simulation = Simulation(None, {'input_x': spikes}, {}, {'input_x': 0}, 8)
    axes = render(plot_raster(simulation)).axes[0]
    on, off = axes.collections
    assert len(on.get_offsets()) == 1 and len(off.get_offsets()) == 2
    histogram, side = render(plot_spike_times({'input_x': spikes})).axes
    heights = [patch.get_height() for patch in histogram.patches]
    assert heights == [25, 0, 0, 0, 25, 0, 25, 0]  # ON, then OFF, percent.
    assert [patch.get_height() for patch in side.patches] == [25, 50, 25]


def test_spike_times_add_up(snn, digits):
    spikes = snn.spikes(digits.data)
    figure = render(plot_spike_times(spikes))
    for (axes, side), each in zip(
        zip(figure.axes[::2], figure.axes[1::2], strict=True),
        spikes.values(),
        strict=True,
    ):
        fired = sum(patch.get_height() for patch in axes.patches)
        assert fired == pytest.approx(100 * each.num_spikes / each.shape.numel())
        assert sum(patch.get_height() for patch in side.patches) == pytest.approx(100)
        silent = re.fullmatch(r'silent (.*) %', side.get_title())
        assert float(silent[1]) == pytest.approx(100 - fired, abs=0.06)


def test_silent_population():
    code = PhaseCode(1, 2.0)
    spikes = Spikes.from_values(torch.zeros(3, 2), code)
    simulation = Simulation(None, {'relu': spikes}, {}, {'relu': 1}, 3)
    render(plot_raster(simulation))
    assert render(plot_spike_times({'relu': spikes})).axes[1].get_title() == (
        'silent 100.0 %'
    )


SCORES, VALUES = torch.tensor([1.2, 0.4, -0.7]), torch.tensor([0.3, 1.0, 0.4])
CODE = PhaseCode(8, 1.4)


def marks(axes, marker, is_grey=False):
    """The step and the height of each mark of a kind."""
    return [
        (float(line.get_xdata()[0]) - 0.5, float(line.get_ydata()[0]))
        for line in axes.lines
        if line.get_marker() == marker and (line.get_color() == '#c8c8c8') is is_grey
    ]


def test_attention_shows_what_gates_and_neurons_do():
    figure = render(plot_attention(SCORES, VALUES, CODE))
    ramp, delay, threshold = figure.axes
    spikes = marks(ramp, 'o')
    assert [score for _, score in spikes] == SCORES.tolist()
    falls = ramp.patches[1].get_data().values
    assert np.allclose(np.diff(falls), -np.log(1.4))
    for step, score in spikes:  # The first threshold that the score reaches.
        assert score >= falls[int(step)] and score < falls[int(step) - 1]
    late = [step - spikes[0][0] for step, _ in spikes]
    window = ramp.patches[0]
    assert (window.get_x(), window.get_width()) == (spikes[0][0], 8)
    waits = [step for step, _ in marks(delay, '|', True)]
    assert waits == late
    comes = Spikes.from_values(VALUES, CODE).phase().tolist()
    for k in range(3):
        steps = [step for step, row in marks(delay, '|') if row == k]
        assert {comes[k], comes[k] + late[k]} == set(steps)
    e = 1.4 ** -np.array(late)
    total, norm = e @ (1.4 ** -np.array(comes)), e.sum()
    assert f'V / Z = {total / norm:.2f} ' in threshold.get_title(loc='left')
    ((step, height),) = marks(threshold, 'o')
    assert height == pytest.approx(total, rel=1e-5)
    expected = Spikes.from_values(torch.tensor([total / norm]), CODE).phase()
    assert step - 15 == int(expected)
    sums = [patch.get_data().values for patch in threshold.patches[2:4]]
    assert sums[0][-1] == pytest.approx(total) and sums[1][-1] == pytest.approx(norm)
    moved, unmoved = (p.get_data().values for p in threshold.patches[4:6])
    assert np.allclose(moved, unmoved * norm)


def test_attention_to_one_and_to_many():
    one = render(plot_attention(torch.tensor([3.0]), torch.tensor([2.0]), CODE))
    assert 'fires at step 0 and stands for 2.00' in one.axes[2].get_title(loc='left')
    scores, values = torch.linspace(4, -4, 8), torch.linspace(-1, 1, 8)
    many = render(plot_attention(scores, values, PhaseCode(4, 1.5)))
    texts = [text.get_text() for text in many.axes[0].texts]
    assert texts.count('silent') == 6  # Too late for the window.
    assert 'stays silent' in many.axes[2].get_title(loc='left')


def test_neuron_shows_what_arrives_and_when_it_fires():
    values, weights = torch.tensor([1.0, 0.5, 0.01]), torch.tensor([0.9, -0.4, 0.7])
    code = PhaseCode(8, 1.5)
    spikes = Spikes.from_values(values, code)
    figure = render(plot_neuron(values, weights, code))
    arrivals, membrane = figure.axes
    assert marks(arrivals, '|') == [(float(spikes.phase()[k]), k) for k in (0, 1)]
    texts = [text.get_text() for text in arrivals.texts]
    assert texts == ['1, weight 0.9', '0.444, weight -0.4', 'silent']
    decoded = spikes.decode()
    potential = float(decoded @ weights)
    charged, thresholds = (p.get_data().values for p in membrane.patches[2:4])
    for step, height in enumerate(charged):  # What has arrived up to this step.
        here = spikes.phase() <= step
        assert height == pytest.approx(float((decoded * weights)[here].sum()))
    assert np.allclose(thresholds, code.thresholds)
    ((step, height),) = marks(membrane, 'o')
    assert height == pytest.approx(potential)
    first = int(Spikes.from_values(torch.tensor([potential]), code).phase())
    assert step - 8 == first and 'fires at step' in membrane.get_title(loc='left')


def test_neuron_that_stays_silent():
    figure = render(plot_neuron(torch.ones(2), torch.tensor([0.1, -0.9]), CODE))
    assert (
        figure.axes[1].get_title(loc='left').endswith('stands for 0; without spikes 0')
    )
    assert not marks(figure.axes[1], 'o')
    assert figure.axes[1].get_ylim()[0] < -0.8


def test_coding_error_shows_the_report(snn):
    axes = render(plot_coding_error(snn.report)).axes[0]
    widths = [patch.get_width() for patch in axes.patches]
    errors = [100 * p.coding_error for p in snn.report.populations]
    assert widths == pytest.approx([*errors, 100 * snn.report.logit_relative_error])
    labels = [text.get_text() for text in axes.get_yticklabels()]
    assert labels == ['input_x', 'relu', 'relu_1', 'output']


@pytest.mark.parametrize('value', SWEEP_VALUES)
def test_sweep_annotates_every_cell(value):
    rows = [
        {'num_steps': 4, 'base': 'auto', value: {'mean': 0.5, 'std': 0.25}},
        {'num_steps': 4, 'base': 1.41, value: {'mean': -1.0, 'std': 0.0}},
        {'num_steps': 8, 'base': 'auto', value: 2.0},
    ]
    figure = render(plot_sweep(rows, value))
    axes = figure.axes[0]
    assert len(axes.texts) == 3  # One cell is not there.
    assert axes.get_title() == SWEEP_VALUES[value][0]
    assert [t.get_text() for t in axes.get_xticklabels()] == ['auto', '1.41']
    assert [t.get_text() for t in axes.get_yticklabels()] == ['4', '8']
    number, spread = axes.texts[0].get_text().split('\n± ')
    assert float(number) == pytest.approx(0.5, abs=0.5)
    assert float(spread) == pytest.approx(0.25, abs=0.25)


def test_exchange_shows_what_is_sent():
    rows = [
        {
            'method': method,
            'parts': parts,
            'num_steps': steps,
            'bytes': parts * steps * 1e6,
            'float_bytes': parts * 64e6,
        }
        for method in ('metis', 'hash')
        for parts in (8, 2, 4)
        for steps in (16, 8)
    ]
    panels = render(plot_exchange(rows)).axes
    assert [axes.get_title() for axes in panels] == ['METIS', 'hash']
    for axes in panels:
        lines = {line.get_label(): line.get_xydata().tolist() for line in axes.lines}
        assert list(lines) == ['real values', 'T = 16', 'T = 8']
        assert lines['real values'] == [[n, 64 * n] for n in (2, 4, 8)]
        assert lines['T = 8'] == [[n, 8 * n] for n in (2, 4, 8)]
    labels = [text.get_text() for text in panels[1].get_legend().get_texts()]
    assert labels == ['real values', 'T = 16', 'T = 8']


@pytest.mark.parametrize(
    'call, match',
    [
        (lambda: plot_exchange([]), r"'rows' .*\(got none\)"),
        (
            lambda: plot_raster(Simulation(None), max_neurons=0),
            r"'max_neurons' to be at least 1 \(got 0\)",
        ),
        (lambda: plot_raster(Simulation(None)), r"'simulation.spikes' .*\(got none\)"),
        (lambda: plot_spike_times({}), r"'spikes_by_name' .*\(got none\)"),
        (lambda: plot_sweep([]), r"'rows' .*\(got none\)"),
        (
            lambda: plot_sweep([{'num_steps': 1, 'base': 2.0}], 'lost'),
            r"'value' to be one of loss_points, .*\(got 'lost'\)",
        ),
        (
            lambda: plot_attention(torch.zeros(9), torch.ones(9), CODE),
            r"'scores' to be 1 to 8 numbers \(got shape \[9\]\)",
        ),
        (
            lambda: plot_attention(SCORES, VALUES[:2], CODE),
            r"'values' to be 3 numbers, one of them positive \(got \[0.3",
        ),
        (
            lambda: plot_attention(SCORES, -VALUES, CODE),
            r"'values' to be 3 numbers, one of them positive \(got \[-0.3",
        ),
        (
            lambda: plot_attention(SCORES, VALUES, PhaseCode(8, 1.4, signed=True)),
            r"'code' to be an unsigned geometric code \(got .*signed",
        ),
        (
            lambda: plot_neuron(torch.ones(13), torch.ones(13), CODE),
            r"'values' to be 1 to 12 numbers \(got shape \[13\]\)",
        ),
        (
            lambda: plot_neuron(-VALUES, SCORES, CODE),
            r"one of 'values' to be positive \(got \[-0.3",
        ),
        (
            lambda: plot_neuron(VALUES, SCORES[:2], CODE),
            r"'weights' to be 3 numbers \(got shape \[2\]\)",
        ),
        (
            lambda: plot_neuron(VALUES, SCORES, PhaseCode(8, 1.4, signed=True)),
            r"'code' to be unsigned \(got .*signed",
        ),
    ],
)
def test_plot_errors(call, match):
    with pytest.raises(ValueError, match=match):
        call()


def test_without_matplotlib(monkeypatch):
    real = builtins.__import__

    def fail(name, *args, **kwargs):
        if name.startswith('matplotlib'):
            raise ModuleNotFoundError(f"No module named '{name}'")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, '__import__', fail)
    with pytest.raises(ImportError, match=r"pip install 'spikegraph\[plot\]'"):
        plot_sweep([{'num_steps': 4, 'base': 2.0, 'loss_points': 0.0}])


@pytest.mark.parametrize('other', [None, 'snn', 3])
def test_other_things_are_named(other):
    x = torch.rand(6, 4)
    snn = convert(torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU()), x)
    value = snn if other == 'snn' else other
    for plot, name in ((plot_raster, 'simulation'), (plot_coding_error, 'report')):
        with pytest.raises(ValueError, match=f"Expected '{name}' to have '{name}."):
            plot(value)
