"""Pictures of spikes on graphs, still and moving, show what a simulation did."""

import re
import runpy
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from torch import nn
from torch_geometric.data import Data, HeteroData
from torch_geometric.datasets import KarateClub
from torch_geometric.nn import GAT
from torch_geometric.nn.models import GCN

from spikegraph import ConversionConfig, Simulation, convert, simulate
from spikegraph.plotting import animate, plot_spikes_on_graph
from spikegraph.plotting.travel import CLASS_COLORS, stress_layout, travel_of

ROOT = Path(__file__).parents[1]
SVG = '{http://www.w3.org/2000/svg}'


@pytest.fixture(scope='module')
def run():
    torch.manual_seed(0)
    data = KarateClub()[0]
    data.x = torch.rand(34, 4)
    config = ConversionConfig(num_steps=5)
    snn = convert(GCN(4, 6, 2, 3).eval(), data, config)
    return simulate(snn, data.x, data.edge_index), data


def test_every_spike_is_counted_where_and_when_it_fires(run):
    simulation, data = run
    travel = travel_of(simulation, data)
    expected = np.zeros((10, 34), dtype=int)
    for event in simulation.events():
        expected[event['t'], event['node']] += 1
    assert np.array_equal(travel.counts, expected) and expected.sum() > 34
    assert travel.windows == [('input_x', 0, 5), ('act', 5, 10)]
    levels = [spikes.code.levels.numpy() for spikes in simulation.spikes.values()]
    assert np.allclose(travel.levels, np.concatenate(levels))
    assert np.array_equal(travel.predicted, simulation.output.argmax(dim=1))
    assert travel.sizes().max() == 1


def test_one_neuron_of_each_node_fires_once(run):
    simulation, data = run
    travel = travel_of(simulation, data, channel=2)
    for start in (0, 5):
        assert travel.counts[start : start + 5].sum(axis=0).max() == 1
    times = simulation.spikes['act'].phase()[:, 2]
    node = int((times < 5).nonzero()[0])
    assert travel.counts[5 + int(times[node]), node] == 1


def flashes(svg, kind):
    """Of each step, the places of what flashes."""
    found = {}
    for group in ElementTree.fromstring(svg).iter(f'{SVG}g'):
        step = group.get('class', '')
        shapes = [shape for shape in group if shape.get('class') == kind]
        if step.startswith('s') and shapes:
            found[int(step[1:])] = shapes
    return found


def test_the_animation_shows_the_spikes_of_each_step(run):
    simulation, data = run
    svg = animate(simulation, data, title='<b>&', labels={'act': 'hidden <i>'}).svg
    travel = travel_of(simulation, data)
    nodes = {step: len(shapes) for step, shapes in flashes(svg, 'f').items()}
    assert nodes == {
        step: int((row > 0).sum())
        for step, row in enumerate(travel.counts)
        if row.any()
    }
    for step, pulses in flashes(svg, 'p').items():
        senders = travel.counts[step][travel.edges[0]] > 0
        assert len(pulses) == senders.sum()
        # They start where something flashes, in its colour.
        places = {
            (f'M{c.get("cx")},{c.get("cy")}', c.get('fill'))
            for c in flashes(svg, 'f')[step]
        }
        starts = {(p.get('d').split('L')[0], p.get('stroke')) for p in pulses}
        assert starts <= places
    texts = [text.text for text in ElementTree.fromstring(svg).iter(f'{SVG}text')]
    for step, row in enumerate(travel.counts):
        noun = 'spike' if row.sum() == 1 else 'spikes'
        assert f'step {step}: {row.sum()} {noun}' in texts
    assert {'<b>&', 'input_x', 'hidden <i>'} < {*texts}
    total = len(simulation.events())
    assert f'{total} spikes in all, and the classes' in texts


def test_names_of_windows_do_not_overlap(run):
    simulation, data = run
    label = (
        'a name that is much too long for a window of five steps of the ten that ' * 2
    )
    svg = animate(simulation, data, labels={'act': label}).svg
    texts = [text.text for text in ElementTree.fromstring(svg).iter(f'{SVG}text')]
    (shown,) = [text for text in texts if text and text.startswith('a name')]
    assert shown[:-1] in label and shown[-1] == '…' and len(shown) < 60
    both = Simulation(
        simulation.output, simulation.spikes, {}, dict.fromkeys(simulation.spikes, 0), 5
    )
    svg = animate(both, data).svg
    assert 'input_x, act</text>' in svg and svg.count('class="w"') == 1


def test_steps_follow_each_other_and_fade(run):
    svg = animate(*run, step_s=0.5).svg
    delays = dict(re.findall(r'\.s(\d+) \*\{animation-delay:([\d.]+)s', svg))
    assert [float(delays[str(step)]) for step in range(10)] == [
        t / 2 for t in range(10)
    ]
    assert float(re.search(r'-f ([\d.]+)s', svg)[1]) == 0.5 * (10 + 7)
    bright = [float(b) for b in re.findall(r'--o:([\d.]+)', svg)]
    assert (
        bright[:5] == sorted(bright[:5], reverse=True) and bright[0] == bright[5] == 1
    )


def test_the_answer_has_the_colours_of_the_classes(run):
    simulation, data = run
    root = ElementTree.fromstring(animate(simulation, data).svg)
    (group,) = [g for g in root.iter(f'{SVG}g') if g.get('class') == 'a']
    expected = [CLASS_COLORS[k] for k in simulation.output.argmax(dim=1).tolist()]
    assert [shape.get('fill') for shape in group] == expected


def test_pictures_are_still_images_without_scripts_and_links(run, tmp_path):
    picture = animate(*run)
    picture.save(tmp_path / 'a.svg')
    assert (tmp_path / 'a.svg').read_text(encoding='utf-8') == picture._repr_svg_()
    assert not re.search(r'<script|href|url\(|@import|ID\b', picture.svg)
    assert 'prefers-color-scheme:dark' in picture.svg
    assert 'prefers-reduced-motion' in picture.svg
    assert repr(picture) == f'Animation({len(picture.svg):,} characters)'
    names = {re.search(r'id="(\w+)"', animate(*run, title=t).svg)[1] for t in 'ab'}
    assert len(names) == 2  # Both on one page.
    with pytest.raises(ValueError, match=r"end in '.svg' \(got 'a.gif'\)"):
        picture.save('a.gif')


def test_panels_show_the_steps(run):
    simulation, data = run
    travel = travel_of(simulation, data)
    figure = plot_spikes_on_graph(simulation, data, steps=[1, 7])
    FigureCanvasAgg(figure).draw()
    first, second, answer = figure.axes
    assert first.get_title(loc='left').startswith('step 1, input_x: ')
    assert second.get_title(loc='left').startswith('step 7, act: ')
    for axes, step in ((first, 1), (second, 7)):
        places = axes.collections[-1].get_offsets()
        assert np.array_equal(places, travel.position[travel.counts[step] > 0])
    assert answer.get_title(loc='left') == 'classes'
    default = plot_spikes_on_graph(simulation, data)
    titles = [axes.get_title(loc='left') for axes in default.axes]
    assert len(titles) == 6 and titles[4].startswith('step 9, act')


def test_places_are_given_or_follow_the_edges(run):
    simulation, data = run
    given = torch.rand(34, 2)
    found = travel_of(simulation, data, position=given).position
    assert found.min() == 0 and found.max() == 1
    assert np.argsort(found[:, 0]).tolist() == given[:, 0].argsort().tolist()
    placed = Data(x=data.x, edge_index=data.edge_index, pos=given)
    assert np.array_equal(travel_of(simulation, placed).position, found)


def test_the_layout_of_a_path_is_a_line():
    edges = np.array([[0, 1, 2, 3], [1, 2, 3, 4]])
    place = stress_layout(edges, 5)
    steps = np.diff(place[:, 0])
    assert np.allclose(np.abs(steps), 1, atol=0.02) and abs(steps.sum()) > 3.9
    assert np.abs(place[:, 1]).max() < 0.1
    alone = stress_layout(np.empty((2, 0), dtype=int), 3)
    apart = np.linalg.norm(alone[:, None] - alone[None], axis=2)
    assert apart[~np.eye(3, dtype=bool)].min() > 0.5
    assert stress_layout(np.empty((2, 0), dtype=int), 1).shape == (1, 2)


def test_silence_and_outputs_that_are_no_classes(run):
    _, data = run
    model = GCN(4, 6, 2, 1).eval()
    snn = convert(model, data, ConversionConfig(num_steps=5))
    simulation = simulate(snn, torch.zeros(34, 4), data.edge_index)
    simulation.spikes = {'input_x': simulation.spikes['input_x']}
    assert travel_of(simulation, data).predicted is None
    (axes,) = plot_spikes_on_graph(simulation, data).axes
    assert axes.get_title(loc='left') == 'step 0, input_x: 0 spikes'
    assert '0 spikes in all<' in animate(simulation, data).svg


def test_of_attention_only_nodes_are_drawn(run):
    _, data = run
    snn = convert(GAT(4, 6, 2, 3).eval(), data, ConversionConfig(num_steps=5))
    simulation = simulate(snn, data)
    names = {name for name, _, _ in travel_of(simulation, data).windows}
    assert 'act' in names and len(names) < len(simulation.spikes)


def test_the_committed_picture(tmp_path, monkeypatch, capsys):
    path = ROOT / 'docs' / 'spikes.svg'
    assert path.stat().st_size < 400_000
    root = ElementTree.fromstring(path.read_text(encoding='utf-8'))
    assert sum(c.get('class') == 'n' for c in root.iter(f'{SVG}circle')) == 34
    output = tmp_path / 'spikes.svg'
    monkeypatch.setattr(sys, 'argv', ['spikes_on_a_graph.py', '--output', str(output)])
    runpy.run_path(str(ROOT / 'examples' / 'spikes_on_a_graph.py'))
    assert re.search(r'SNN: (19|20|21|22) of 22', capsys.readouterr().out)
    again = ElementTree.fromstring(output.read_text(encoding='utf-8'))
    # Other versions train other weights; graph, windows and style are the same.
    texts = [[t.text for t in r.iter(f'{SVG}text')] for r in (root, again)]
    assert [t for t in texts[0] if 'fire' in t] == [t for t in texts[1] if 'fire' in t]
    assert len(texts[0]) == len(texts[1])


def no_graph():
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)).eval()
    x = torch.rand(5, 4)
    return simulate(convert(model, x), x), x


@pytest.mark.parametrize('show', [animate, plot_spikes_on_graph])
def test_errors_of_what_is_no_small_graph(run, show):
    simulation, data = run
    with pytest.raises(ValueError, match=r"'edge_index' \(got Tensor\); .*plot_raster"):
        show(*no_graph())
    with pytest.raises(ValueError, match=r"'edge_index' \(got HeteroData\)"):
        show(simulation, HeteroData())
    other = Data(x=torch.rand(7, 4), edge_index=torch.tensor([[0], [1]]))
    with pytest.raises(ValueError, match=r'the 7 nodes .*\(got shapes \[\(34, 4\), '):
        show(simulation, other)
    large = Data(x=torch.rand(101, 4), edge_index=torch.tensor([[0], [1]]))
    with pytest.raises(ValueError, match=r'\(got 101 and 1\); .*data.subgraph'):
        show(simulation, large)
    for channel in (4, -1, 1.0, 'a'):
        match = rf"'channel' .* less than 4, .*\(got {channel!r}\)"
        with pytest.raises(ValueError, match=match):
            show(simulation, data, channel=channel)
    with pytest.raises(ValueError, match=r'of shape \[34, 2\] \(got shape \[3, 2\]\)'):
        show(simulation, data, position=torch.rand(3, 2))


def test_errors_of_times(run):
    with pytest.raises(ValueError, match=r'steps from 0 to 9 \(got \[10\]\)'):
        plot_spikes_on_graph(*run, steps=[10])
    with pytest.raises(ValueError, match=r"'steps' to be 1 to 12 .*\(got \[\]\)"):
        plot_spikes_on_graph(*run, steps=[])
    with pytest.raises(ValueError, match=r"'step_s' to be positive \(got 0\)"):
        animate(*run, step_s=0)
