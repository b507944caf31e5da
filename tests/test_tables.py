"""Reports in notebooks: the HTML says what the text says, whatever things are called."""

import re
from html.parser import HTMLParser

import pytest
import torch
from IPython.lib.pretty import pretty
from torch import nn
from torch_geometric.nn import GAT

from spikegraph import ConversionConfig, PhaseCode, Spikes, convert, measure, simulate
from spikegraph.network.report import ConversionReport, PopulationReport
from spikegraph.running.distributed.reports import PartResult, StageReport
from spikegraph.tables import Column, Facts, Prose, Table, as_html, as_text

NAME = '<b>&loud</b>'


class Page(HTMLParser):
    """Checks that tags are closed in order; keeps text, attributes and rows."""

    def __init__(self, html):
        super().__init__()
        self.open, self.tags, self.texts, self.rows, self.styles = [], set(), [], [], []
        self.summaries = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        self.tags.add(tag)
        self.styles += [value for name, value in attrs if name == 'style']
        assert {name for name, _ in attrs} <= {'style', 'scope', 'colspan'}
        if tag == 'tr':
            self.rows.append([])
        if tag in ('td', 'th'):
            self.rows[-1].append('')

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1] == 'summary':
            self.summaries.append(data)
        else:
            self.texts.append(data)
        if self.open[-1] in ('td', 'th'):
            self.rows[-1][-1] += data

    @property
    def text(self):
        return ' '.join(self.texts)


def words(text):
    return re.findall(r'[^\s]+', text)


@pytest.fixture(scope='module')
def network():
    torch.manual_seed(0)
    model = nn.Sequential()
    model.add_module('first', nn.Linear(4, 8))
    model.add_module(NAME, nn.ReLU())
    model.add_module('last', nn.Linear(8, 3))
    x = torch.rand(20, 4) - 0.3
    return model.eval(), convert(model, x, ConversionConfig(num_steps=6)), x


@pytest.fixture(scope='module')
def shown(network):
    """All that people end a cell with."""
    model, snn, x = network
    simulation = simulate(snn, x)
    stages = [StageReport('relu', 1.0, 2.0, 0.5, 3, 1200, 4800), StageReport(NAME)]
    return {
        'report': snn.report,
        'measurement': measure(snn, x, model),
        'network': snn,
        'simulation': simulation,
        'signed spikes': simulation.spikes['input_input'],
        'spikes': [*simulation.spikes.values()][-1],
        'part': PartResult(None, {}, stages),
    }


NAMES = (
    *('report', 'measurement', 'network', 'simulation'),
    *('signed spikes', 'spikes', 'part'),
)


@pytest.mark.parametrize('name', NAMES)
def test_html_says_what_the_text_says(shown, name):
    page = Page(shown[name]._repr_html_())
    title, *rest = page.texts
    assert title and 'table' in page.tags
    assert sorted(words(' '.join(rest))) == sorted(words(str(shown[name])))
    assert pretty(shown[name], max_width=300) == str(shown[name])


@pytest.mark.parametrize('name', NAMES)
def test_rows_are_rectangular_and_have_heads(shown, name):
    html = shown[name]._repr_html_()
    for table in re.findall(r'<table.*?</table>', html):
        rows = [row for row in Page(table).rows if len(row) > 1]
        assert len({len(row) for row in rows}) == 1 and len(rows) >= 2
        assert all(rows[0])


@pytest.mark.parametrize('name', NAMES)
def test_it_suits_light_and_dark_pages(shown, name):
    page = Page(shown[name]._repr_html_())
    style = ' '.join(page.styles)
    assert not re.search(r'#[0-9a-f]{3}|rgb|white(?!-space)|black|background', style)
    assert 'currentColor' in style or name == 'network'
    assert not {'script', 'style', 'link', 'img'} & page.tags
    assert 'max-width:700px' in style and 'overflow-x:auto' in style


@pytest.mark.parametrize('name', ['report', 'network', 'part'])
def test_names_are_escaped(shown, name):
    html = shown[name]._repr_html_()
    assert '<b>' not in html and '&lt;b&gt;' in html
    assert '<b>' in Page(html).text


def test_titles_and_notes_are_escaped():
    parts = [
        Table([Column(NAME)], [[NAME], NAME, [NAME]], note=NAME),
        Facts([(NAME, NAME)]),
        Prose([NAME], NAME),
    ]
    page = Page(as_html(NAME, parts))
    assert 'b' not in page.tags
    assert page.texts.count(NAME) == 9 and page.summaries == [NAME]


def test_text_of_a_table():
    columns = [Column('name', 6, True), Column('n', 4), Column('long head')]
    table = Table(columns, [['a', '1', 'x'], 'group', ['bc', '12345', 'y']], note='end')
    assert as_text([table, Prose(['word ' * 30], wraps=True)]).splitlines() == [
        'name        n  long head',
        'a           1          x',
        'group',
        '  bc    12345          y',
        'end',
        ('word ' * 17).rstrip(),
        '  ' + ('word ' * 13).rstrip(),
    ]


def test_the_simulation_counts_its_spikes(network):
    _, snn, x = network
    simulation = simulate(snn, x)
    rows = Page(simulation._repr_html_()).rows
    for row, (name, spikes) in zip(rows[1:-1], simulation.spikes.items(), strict=True):
        start, phase = simulation.start_step[name], spikes.phase()
        assert row[:2] == [name, f'{start} to {start + 5}']
        assert row[2:4] == [str(phase.numel()), str(spikes.num_spikes)]
        mean = float(phase[phase < 6].double().mean())
        assert float(row[5]) == pytest.approx(mean, abs=0.006)
    assert rows[-1][:2] == ['total', '0 to 17']
    assert rows[-1][3] == str(len(simulation.events()))
    num = len(simulation.events())
    assert repr(simulation) == f'Simulation(18 steps, populations=2, num_spikes={num})'


def test_spikes_are_counted_by_step_and_sign():
    code = PhaseCode(3, 2.0, signed=True)
    spikes = Spikes.from_values(torch.tensor([1.0, 0.5, -0.5, -0.25, 0.0]), code)
    assert Page(spikes._repr_html_()).rows == [
        ['step', 'level', 'ON spikes', 'OFF spikes', 'neurons, %'],
        ['0', '1', '1', '0', '20.0'],
        ['1', '0.5', '1', '1', '40.0'],
        ['2', '0.25', '0', '1', '20.0'],
        ['silent', '0', '1', '', '20.0'],
    ]


def test_nothing_fired_and_nothing_there():
    code = PhaseCode(2, 2.0)
    for size in (0, 3):
        spikes = Spikes.from_values(torch.zeros(size, 2), code)
        assert Page(spikes._repr_html_()).rows[-1][2] == str(2 * size)
    empty = Page(ConversionReport('Net')._repr_html_())
    assert 'logit error nan %' in empty.text


def test_gates_and_products_have_their_rows(graph):
    """Of attention: relays, ramps, gates, products, and what is read out."""
    model = GAT(5, 8, 2, 3).double().eval()
    snn = convert(model, graph, ConversionConfig(num_steps=6))
    rows = Page(snn._repr_html_()).rows
    roles = {row[1] for row in rows if len(row) == 5}
    assert {'population', 'gate', 'layer', 'read-out'} <= roles
    assert sum(row[1:2] == ['population'] for row in rows) == len(snn.neurons)
    last = max(
        int(row[4].split(' to ')[1])
        for row in rows
        if len(row) == 5 and ' to ' in row[4]
    )
    assert last + 1 + 6 == snn.latency_steps


def test_scales_of_many_nodes():
    population = PopulationReport(
        NAME, 'relu', False, 6, None, (0.5, 2.0), True, False, 0.01, 0.5
    )
    row = Page(ConversionReport('N', populations=[population])._repr_html_()).rows[1]
    assert row == [NAME, 'relu', '6', 'fitted', '0.5..2 x node', '1.00 %', '0.500']
