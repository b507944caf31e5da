"""The site builds without a warning, its links lead somewhere, and it names all that
is public."""

import os
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import spikegraph

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.slow


@pytest.fixture(scope='module')
def site(tmp_path_factory):
    """Built from a copy, as the builder puts notebooks beside the pages."""
    pytest.importorskip('sphinx')
    source = tmp_path_factory.mktemp('source')
    for name in ('docs', 'examples', 'benchmarks'):
        shutil.copytree(ROOT / name, source / name)
    for path in (*ROOT.glob('*.md'), *ROOT.glob('*.cff')):
        shutil.copyfile(path, source / path.name)
    command = ['-m', 'sphinx', '-q', '-W', '--keep-going', 'docs', 'site']
    result = subprocess.run(
        [sys.executable, *command],
        cwd=source,
        env={**os.environ, 'PYTHONPATH': str(ROOT)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert result.returncode == 0, result.stderr
    return source / 'site'


class Page(HTMLParser):
    """The targets and links of a page."""

    def __init__(self, path):
        super().__init__()
        self.targets, self.links = set(), []
        self.feed(path.read_text(encoding='utf-8'))

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.targets.update(attributes.get(key) for key in ('id', 'name'))
        if tag in ('a', 'img', 'link', 'script'):
            link = attributes.get('href') or attributes.get('src')
            if link is not None:
                self.links.append(link)


def test_links_lead_somewhere(site):
    paths = [path for path in site.rglob('*.html') if '_static' not in path.parts]
    pages = {path: Page(path) for path in paths}
    assert len(pages) > 40
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                assert parts.scheme in ('http', 'https', 'mailto', 'data'), link
                continue
            target = path if not parts.path else path.parent / unquote(parts.path)
            target = target.resolve()
            assert target.exists(), (path.name, link)
            if parts.fragment and target in pages:
                found = unquote(parts.fragment)
                assert found in pages[target].targets, (path.name, link)


def test_every_public_name_has_an_entry(site):
    from sphinx.util.inventory import InventoryFile

    with (site / 'objects.inv').open('rb') as file:
        inventory = InventoryFile.load(file, '', lambda _, target: target)
    described = {
        name.rpartition('.')[2]
        for kind in ('class', 'function', 'data', 'exception')
        for name in inventory.get(f'py:{kind}', {})
    }
    names = set(spikegraph.__all__)
    for package in ('coding', 'kernels', 'measurement', 'export', 'plotting', 'nn'):
        names |= set(getattr(spikegraph, package).__all__)
    modules = {name for name in names if _is_module(name)}
    assert len(names - modules) > 100
    assert names - modules <= described, names - modules - described


def _is_module(name):
    path = Path(spikegraph.__file__).parent
    folders = (path, path / 'nn')
    return any(
        (folder / name).is_dir() or (folder / f'{name}.py').exists()
        for folder in folders
    )
