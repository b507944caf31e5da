"""The page of results is made from the results, and says when it is not."""

import json
import re
import shutil
import sys

import pytest

from tests.numbers import ROOT

RESULTS = ROOT / 'benchmarks' / 'results'
PAGE = ROOT / 'docs' / 'results.md'


@pytest.fixture
def report(benchmark, monkeypatch):
    """Runs the script, and returns its exit code."""

    def run(*arguments):
        monkeypatch.setattr(sys, 'argv', ['report', *map(str, arguments)])
        return benchmark('report').main()

    return run


def test_the_page_is_up_to_date(report, capsys):
    pytest.importorskip('matplotlib')
    assert report('--check') == 0, capsys.readouterr().out


def test_what_is_out_of_date_is_found(report, tmp_path, capsys):
    results, page = tmp_path / 'results', tmp_path / 'docs' / 'results.md'
    results.mkdir()
    names = ('gcn_accuracy_cora', 'energy', 'first_call')
    for name in names:
        shutil.copy(RESULTS / f'{name}.json', results)
    arguments = '--results', results, '--page', page
    assert report(*arguments) == 0 and report('--check', *arguments) == 0
    text = page.read_text()
    assert (page.parent / 'results' / 'energy.png').read_bytes()[1:4] == b'PNG'
    (page.parent / 'results' / 'energy.png').unlink()
    assert report('--check', *arguments) == 1
    assert 'energy.png is not there' in capsys.readouterr().out
    assert report(*arguments) == 0
    record = json.loads((results / 'gcn_accuracy_cora.json').read_text())
    cell = record['summary']['T=16 geometric']['loss_points']
    shown = f'{cell["mean"]:.2f} ± {cell["std"]:.2f}'
    assert shown in text
    cell['mean'] += 0.5
    (results / 'gcn_accuracy_cora.json').write_text(json.dumps(record))
    assert report('--check', *arguments) == 1
    out = capsys.readouterr().out
    assert (
        f'+| Cora | {record["summary"]["T=16 geometric"]["ann_accuracy"]["mean"]:.2f}'
        in out
    )
    assert page.read_text() == text  # Checking writes nothing.


def test_results_that_no_section_knows_get_a_table(report, tmp_path):
    results, page = tmp_path / 'results', tmp_path / 'page.md'
    results.mkdir()
    rows = {'a': {'loss': 0.25, 'spikes': 1234}, 'b': {'loss': 1e-5, 'spikes': 7}}
    seconds = {'x': {'min': 0.5, 'median': 0.75}, 'y': {'min': 1.0, 'median': 2.0}}
    record = {'rows': rows, 'seconds': seconds, 'commit': 'abc1234'}
    (results / 'other_cora.json').write_text(json.dumps(record))
    (results / 'unknown.json').write_text(json.dumps({'cells': rows}))
    assert report('--results', results, '--page', page) == 0
    text = page.read_text()
    assert '### Without a section' in text and '**other_cora**' in text
    assert '| a | 0.250 | 1,234 |' in text and 'commit abc1234' in text
    assert text.count('| loss | spikes |') == 2
    assert re.search(r'\| x \| 0\.500 +\| 0\.750 \|', text) or '0.500 (0.750)' in text
    assert '### Energy ratios' not in text


def test_the_readme_shows_rows_of_the_page():
    text = PAGE.read_text(encoding='utf-8').split('### Loss, spikes, energy')[1]
    readme = (PAGE.parents[1] / 'README.md').read_text(encoding='utf-8')
    rows = [line for line in readme.splitlines() if line.startswith('|')]
    assert len(rows) == 2 + 5
    for row in rows:
        assert f'{row}\n' in text, row


def test_links_titles_and_pictures():
    text = PAGE.read_text(encoding='utf-8')
    titles = re.findall(r'^##+ (.*)$', text, re.MULTILINE)
    anchors = re.findall(r'^ *\* \[.*\]\(#([\w-]+)\)', text, re.MULTILINE)
    assert set(re.findall(r'\]\(#([\w-]+)\)', text)) <= set(anchors)
    made = [re.sub(r'[^\w\- ]', '', t.lower()).replace(' ', '-') for t in titles]
    assert made == anchors and len(set(made)) == len(made) > 20
    links = re.findall(r'\]\(([^)#]+)\)', text)
    for link in {link for link in links if not link.startswith('http')}:
        assert (PAGE.parent / link).exists(), link
    pictures = [link for link in links if link.endswith('.png')]
    assert len(pictures) >= 4
    for picture in pictures:
        assert (PAGE.parent / picture).stat().st_size < 100_000, picture


def test_every_section_says_how_it_was_made():
    parts = re.split(r'^### ', PAGE.read_text(encoding='utf-8'), flags=re.MULTILINE)[1:]
    for part in parts:
        title = part.splitlines()[0]
        assert '| --- |' in part and '*[' in part, title
        if title != 'Without a section':
            commands = re.search(r'```bash\n(.*?)```', part, re.DOTALL)
            assert commands and len(commands[1]) > 10, title
        if 'commit not recorded' in part:
            assert title == 'Runs of the command line'


def test_commands_of_files(benchmark):
    commands = benchmark('sections.common').commands_for
    assert commands('node_accuracy_cora_gat_T24.json') == [
        'python benchmarks/node_accuracy.py --datasets cora --models gat transformer '
        'resgated film --num-steps 24'
    ]
    assert commands('scaling_products.json') == [
        'python benchmarks/scaling.py --products'
    ]
    (found,) = commands('weight_bits_cifar10_resnet20.json')
    assert '--weights resnet20.th' in found
    (found,) = commands('energy.json')
    assert found.startswith('python benchmarks/energy.py --datasets cora')
    assert commands('unknown.json') == []


@pytest.mark.parametrize(
    'value, text',
    [
        (0.0146, '0.0146'),
        (159.03, '159'),
        (1234567.0, '1,234,567'),
        (19100.2, '19,100'),
        (0.649, '0.649'),
        (100, '100'),
        (5.0, '5.00'),
        (0.00743, '0.00743'),
    ],
)
def test_figures_have_three_digits(benchmark, value, text):
    found = benchmark('sections.common').figure(value)
    expected = text if value < 1e6 else '1,230,000'
    assert found == expected


def test_zero_has_no_sign(benchmark):
    common = benchmark('sections.common')
    assert common.fixed(-0.001) == '0.00' and common.fixed(-0.25) == '-0.25'
    assert common.listed(['a', 'b', 'c']) == 'a, b and c'
    assert common.table(['', ''], [['a', '']]).splitlines()[0] == '| | |'
