"""The page about the design names what there is, and shows what happens."""

import re
from importlib import import_module
from pathlib import Path

from tests.test_layering import ORDER, ROOT

PAGE = Path(__file__).parents[1] / 'docs' / 'design.md'


def test_packages_come_in_the_order_of_the_layering():
    house = PAGE.read_text().split('## The house')[1].split('\n## ')[0]
    rows = re.findall(r'^\| (`.*?`) \|', house, re.MULTILINE)
    named = [name for row in rows for name in re.findall(r'`(\w+)`', row)]
    level = {name: i for i, names in enumerate(ORDER) for name in names}
    levels = [level[name] for name in named]
    assert levels == sorted(levels)
    every = {name for name in level if (ROOT / name).is_dir()}
    assert every <= {*named}
    beside = re.findall(r'`(\w+)`', house.strip().split('\n\n')[-1])
    assert {*level} == {*named, *beside}


def test_modules_of_the_diagrams_exist():
    text = ''.join(re.findall(r'```mermaid\n(.*?)```', PAGE.read_text(), re.DOTALL))
    names = re.findall(r'\b((?:running|calls|nn|kernels|conversion)\.[\w.]+)', text)
    assert len(names) >= 12
    for name in names:
        import_module(f'spikegraph.{name}')
