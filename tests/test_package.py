"""What is published: one version, the citation, and the archives."""

import datetime
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import spikegraph

ROOT = Path(__file__).parents[1]
CITATION = (ROOT / 'CITATION.cff').read_text()
PROJECT = (ROOT / 'pyproject.toml').read_text()
VERSION = spikegraph.__version__
TIMEOUT = 120


def field(name, text=CITATION):
    (found,) = re.findall(rf'^{name}: "?([^"\n]+)"?$', text, re.MULTILINE)
    return found


def test_version_is_written_once():
    assert re.fullmatch(r'\d+\.\d+\.\d+', VERSION)
    init = 'spikegraph/__init__.py'
    assert f"__version__ = '{VERSION}'" in (ROOT / init).read_text()
    assert 'dynamic = ["version"]' in PROJECT
    assert f'[tool.hatch.version]\npath = "{init}"' in PROJECT
    assert not re.search(r'^version = ', PROJECT, re.MULTILINE)


def test_the_release_is_dated_everywhere():
    text = (ROOT / 'CHANGELOG.md').read_text()
    releases = re.findall(r'^## \[(.*?)\](?: - (.*))?$', text, re.MULTILINE)
    assert releases[0] == ('Unreleased', '')
    assert releases[1] == (VERSION, field('date-released'))
    datetime.date.fromisoformat(releases[1][1])
    assert field('version') == VERSION
    latest = text.partition(f'## [{VERSION}]')[2].partition('\n## ')[0]
    groups = re.findall(r'^### (\w+)$', latest, re.MULTILINE)
    assert groups and {*groups} <= {
        *('Added', 'Changed', 'Deprecated', 'Removed', 'Fixed', 'Security')
    }


def test_citation():
    """What the schema of the format requires; ``cffconvert --validate`` knows all."""
    keys = re.findall(r'^([a-z-]+):', CITATION, re.MULTILINE)
    assert len(keys) == len({*keys})
    assert {'cff-version', 'message', 'title', 'authors'} <= {*keys}
    assert field('cff-version') == '1.2.0' and field('type') == 'software'
    assert field('title') == 'spikegraph'
    assert field('license') == re.search(r'^license = "(.*)"', PROJECT, re.M)[1]
    (author,) = re.findall(r'^  - name: (.*)$', CITATION, re.MULTILINE)
    assert f'authors = [{{ name = "{author}" }}]' in PROJECT
    paper = CITATION.partition('references:\n')[2]
    assert 'https://arxiv.org/abs/2403.08786' in paper and '- family-names' in paper


@pytest.mark.parametrize('command', [['-m', 'spikegraph'], ['-c', 'CALL']])
def test_version_on_the_command_line(command):
    call = (
        'import sys, spikegraph.cli\n'
        'sys.argv[0] = "spikegraph"\n'
        'try:\n    spikegraph.cli.main(sys.argv[1:])\n'
        'finally:\n    assert not {"torch", "numpy"} & {*sys.modules}\n'
    )
    command = [call if part == 'CALL' else part for part in command]
    found = subprocess.run(
        [sys.executable, *command, '--version'],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )
    assert (found.returncode, found.stderr) == (0, '')
    assert found.stdout == f'spikegraph {VERSION}\n'


@pytest.fixture(scope='module')
def archives(tmp_path_factory):
    """The wheel and the source distribution, made of this folder."""
    pytest.importorskip('hatchling')
    folder = tmp_path_factory.mktemp('dist')
    return built(ROOT, folder, 'wheel'), built(ROOT, folder, 'sdist')


def built(root, folder, target):
    command = [sys.executable, '-m', 'hatchling', 'build', '-t', target]
    found = subprocess.run(
        [*command, '-d', str(folder)],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )
    assert found.returncode == 0, found.stderr
    ending = {'wheel': '-py3-none-any.whl', 'sdist': '.tar.gz'}[target]
    return folder / f'spikegraph-{VERSION}{ending}'


def files_of(folder):
    """The files that belong to a folder of this repository."""
    found = (path for path in (ROOT / folder).rglob('*') if path.is_file())
    left_out = {'__pycache__', '.ipynb_checkpoints', '.hypothesis'}
    copies = ROOT / 'docs' / 'examples'  # Of notebooks, where a site was built.
    return {
        str(path.relative_to(ROOT))
        for path in found
        if not left_out & {*path.parts} and copies not in path.parents
    }


def test_wheel(archives):
    """The package, all of it and nothing else."""
    info = f'spikegraph-{VERSION}.dist-info'
    with zipfile.ZipFile(archives[0]) as wheel:
        names = {*wheel.namelist()}
        metadata = wheel.read(f'{info}/METADATA').decode()
        scripts = wheel.read(f'{info}/entry_points.txt').decode()
    package = {name for name in names if not name.startswith(info)}
    assert package == files_of('spikegraph')
    assert {'spikegraph/py.typed', 'spikegraph/__init__.pyi'} <= package
    assert 'spikegraph/export/schema.json' in package
    assert {f'{info}/licenses/LICENSE', f'{info}/RECORD'} <= names
    assert 'spikegraph = spikegraph.cli:main' in scripts
    for line in (f'Version: {VERSION}', 'License-Expression: MIT'):
        assert f'\n{line}\n' in metadata
    assert 'Requires-Python: >=3.10\n' in metadata


def test_source_distribution(archives, tmp_path):
    """All that tests need, and the same wheel again."""
    with tarfile.open(archives[1]) as sdist:
        sdist.extractall(tmp_path, filter='data')
    root = tmp_path / f'spikegraph-{VERSION}'
    names = {str(p.relative_to(root)) for p in root.rglob('*') if p.is_file()}
    for folder in ('spikegraph', 'tests', 'docs', 'examples', 'benchmarks'):
        assert {name for name in names if name.startswith(f'{folder}/')} == files_of(
            folder
        )
    top = {'README.md', 'CHANGELOG.md', 'CITATION.cff', 'CONTRIBUTING.md', 'LICENSE'}
    assert {*top, 'constraints.txt', 'pyproject.toml', 'PKG-INFO'} <= names
    # What tests read besides.
    assert {'.ci/run', '.github/workflows/checks.yml'} <= names
    assert '.pre-commit-config.yaml' in names
    again = built(root, tmp_path, 'wheel')
    with zipfile.ZipFile(again) as one, zipfile.ZipFile(archives[0]) as other:
        assert [i.CRC for i in one.infolist()] == [i.CRC for i in other.infolist()]
        assert one.namelist() == other.namelist()


@pytest.mark.parametrize('name', ['gcn', 'cnn'])
def test_networks_that_an_earlier_version_saved(name):
    """Files of format version 4 stay readable; a new format needs a new number, and a
    way to read this one.
    """
    folder = ROOT / 'tests' / 'saved'
    held = load_file(folder / 'outputs_0.1.0.safetensors')
    snn = spikegraph.load(folder / f'{name}_0.1.0.safetensors')
    call = (held['x'], held['edge_index']) if name == 'gcn' else (held['images'],)
    assert torch.allclose(snn(*call), held[name], rtol=1e-5, atol=1e-6)
    assert snn.config.num_steps == 8 and snn.report.populations
