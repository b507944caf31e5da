"""README and the pages of the site: their code runs, their commands and links exist."""

import argparse
import copy
import doctest
import importlib
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch_geometric.nn.models import GCN

import spikegraph
from spikegraph.cli.arguments import make_parser
from tests.cli.launching import free_port

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / 'README.md', *sorted((ROOT / 'docs').rglob('*.md'))]
PAGES = [page for page in PAGES if page.parent.name != 'examples']
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
# Packages that a block may need beyond those of the tests.
OPTIONAL = ('neurobench',)
SETUP = """
import torch, spikegraph
from torch_geometric.nn.models import GCN
from spikegraph.zoo.datasets import load_dataset
torch.manual_seed(0)
data = load_dataset('digits').data
model = GCN(64, 16, 2, 10).eval()
snn = spikegraph.convert(model, data)
"""


def blocks_of(page, language):
    text = page.read_text(encoding='utf-8')
    return re.findall(rf'^```{language}\n(.*?)^```', text, re.DOTALL | re.MULTILINE)


WITH_CODE = [page for page in PAGES if blocks_of(page, 'python')]


def missing(block):
    return any(
        f'import {name}' in block or f'from {name}' in block
        for name in OPTIONAL
        if importlib.util.find_spec(name) is None
    )


def run_examples(block, namespace, page):
    test = doctest.DocTestParser().get_doctest(block, namespace, page.name, None, 0)
    failures = []
    doctest.DocTestRunner().run(test, out=failures.append, clear_globs=False)
    assert not failures, ''.join(failures)
    namespace.update(test.globs)


def run_in_processes(block, tmp_path):
    """A block for scripts that torchrun starts."""
    start = "import torch\ntorch.distributed.init_process_group('gloo')\n"
    names = 'from torch_geometric.loader import DataLoader\nann = model\nloader = '
    script = tmp_path / 'script.py'
    script.write_text(f'{start}{SETUP}{names}DataLoader([data])\n{block}')
    launcher = ['-m', 'torch.distributed.run', '--nproc-per-node', '2']
    launcher += ['--master-port', str(free_port())]
    result = subprocess.run(
        [sys.executable, *launcher, str(script)],
        env={**os.environ, 'PYTHONPATH': str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr


@pytest.fixture(scope='module')
def converted(digits):
    model = GCN(64, 16, 2, 10).eval()
    return model, spikegraph.convert(model, digits.data)


@pytest.fixture
def namespace(monkeypatch, tmp_path, digits, converted):
    """What the quick start has made, in a module, since PyG looks for the modules of
    classes; and a folder to write to."""
    monkeypatch.chdir(tmp_path)
    module = ModuleType('page')
    monkeypatch.setitem(sys.modules, 'page', module)
    names = dict(zip(('model', 'snn'), copy.deepcopy(converted), strict=True))
    data = digits.data.clone()
    vars(module).update(torch=torch, spikegraph=spikegraph, data=data, **names)
    yield vars(module)
    from spikegraph.conversion.operations.rules import RULES

    RULES.pop(vars(module).get('TwoHops'), None)


@pytest.mark.slow
@pytest.mark.parametrize(
    'page', WITH_CODE, ids=[str(page.relative_to(ROOT)) for page in WITH_CODE]
)
def test_code_runs(page, namespace, tmp_path, capsys):
    for block in blocks_of(page, 'python'):
        if missing(block):
            continue
        if block.startswith('>>>'):
            run_examples(block, namespace, page)
        elif 'init_process_group' in block:
            run_in_processes(block, tmp_path)
        else:
            exec(compile(block, page.name, 'exec'), namespace)


@pytest.mark.parametrize('page', PAGES, ids=NAMES)
def test_no_other_code(page):
    """Code in a language that no test looks at is code that nobody runs."""
    text = page.read_text(encoding='utf-8')
    found = set(re.findall(r'^```(.*)$', text, re.MULTILINE)) - {''}
    directives = {name for name in found if name.startswith('{')}
    assert found - directives <= {'python', 'bash', 'json', 'text', 'mermaid'}


@pytest.mark.parametrize('page', PAGES, ids=NAMES)
def test_links(page):
    text = re.sub(r'```.*?```', '', page.read_text(encoding='utf-8'), flags=re.DOTALL)
    for link in re.findall(r'\]\(([^)\s]+)\)', text):
        if link.startswith('https://'):
            continue
        path, _, anchor = link.partition('#')
        target = page.parent / path if path else page
        generated = target.parent.name == 'examples' and target.suffix == '.ipynb'
        if generated:
            target = ROOT / 'examples' / target.name
        assert target.exists(), link
        if anchor and target.suffix == '.md':
            assert anchor in anchors(target), link


def anchors(page):
    text = re.sub(r'```.*?```', '', page.read_text(encoding='utf-8'), flags=re.DOTALL)
    titles = re.findall(r'^#+ (.*)$', text, re.MULTILINE)
    plain = [re.sub(r'[^\w\- ]', '', title).strip().lower() for title in titles]
    return {title.replace(' ', '-') for title in plain}


def commands_of(page):
    for block in blocks_of(page, 'bash'):
        for line in block.replace('\\\n', ' ').splitlines():
            words = shlex.split(line, comments=True)
            if words:
                yield words


@pytest.mark.parametrize('page', PAGES, ids=NAMES)
def test_commands_exist(page, monkeypatch):
    def error(parser, message):
        raise AssertionError(message)

    monkeypatch.setattr(argparse.ArgumentParser, 'error', error)
    for words in commands_of(page):
        if 'spikegraph' in words:
            words = words[words.index('spikegraph') :]
        if words[0] == 'spikegraph':
            numbers = {'T': '16', 'N': '2'}
            make_parser().parse_args([numbers.get(word, word) for word in words[1:]])
        elif words[0] == 'python':
            scripts = [word for word in words if word.endswith('.py')]
            assert scripts and all((ROOT / s).exists() for s in scripts), words
        else:
            known = {'pip', 'pytest', 'bash', 'ruff', 'mypy', 'git', 'sphinx-build'}
            assert words[0] in known, words
        for extras in re.findall(r'\[([\w,]+)\]', ' '.join(words)):
            text = (ROOT / 'pyproject.toml').read_text()
            for extra in extras.split(','):
                assert re.search(rf'^{extra} = \[', text, re.MULTILINE), extra
