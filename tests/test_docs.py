"""The page about arithmetic with spike times: its examples, links and names."""

import doctest
import re
from pathlib import Path

import spikegraph.nn

DOCS = Path(__file__).parents[1] / 'docs'
TEXT = (DOCS / 'arithmetic.md').read_text(encoding='utf-8')


def test_examples():
    blocks = re.findall(r'```python\n(.*?)```', TEXT, re.DOTALL)
    assert len(blocks) == 3
    parser = doctest.DocTestParser()
    test = parser.get_doctest('\n'.join(blocks), {}, 'arithmetic', 'arithmetic.md', 0)
    assert len(test.examples) >= 15
    failures = []
    doctest.DocTestRunner().run(test, out=failures.append)
    assert not failures, ''.join(failures)


def test_links_files_and_pictures():
    links = re.findall(r'\]\(([^)#]+)\)', TEXT)
    assert 'design.md' in links and 'arithmetic.png' in links
    for link in links:
        assert (DOCS / link).exists(), link
    for name in re.findall(r'`(conversion/\S+\.py)`', TEXT):
        assert (DOCS.parent / 'spikegraph' / name).exists(), name
    assert (DOCS / 'arithmetic.png').stat().st_size < 200_000


def test_gates_of_the_table():
    for name in re.findall(r'a (?:gate|product), `(\w+)`', TEXT):
        assert hasattr(spikegraph.nn, name), name
