"""Old names of modules, which work for one release, with a warning."""

import importlib
import sys

import pytest

import spikegraph
from spikegraph.moved import MOVED

NAMES = {
    'datasets': ('load_dataset', 'DATASETS'),
    'models': ('GCN', 'RECIPES'),
    'training': ('TrainedModel', 'train'),
    'experiment': ('run_experiment',),
    'simulation': ('Simulation', 'simulate', 'save_events', 'load_events'),
    'inference': ('layerwise', 'predict'),
}


@pytest.fixture(autouse=True)
def not_imported_yet():
    def forget():
        for first in MOVED:
            vars(spikegraph).pop(first, None)
            for name in [*sys.modules]:
                if f'{name}.'.startswith(f'spikegraph.{first}.'):
                    del sys.modules[name]

    forget()
    yield
    forget()


def test_every_old_name_is_tried():
    assert {*NAMES} == {*MOVED}


@pytest.mark.parametrize('old', NAMES)
def test_old_names_hold_what_they_held(old):
    new = [f'spikegraph.{name}' for name in MOVED[old]]
    with pytest.warns(DeprecationWarning, match=f"'spikegraph.{old}' is now '{new[0]}"):
        module = importlib.import_module(f'spikegraph.{old}')
    found = {}
    for name in reversed(new):
        package = importlib.import_module(name)
        found |= {name: getattr(package, name) for name in dir(package)}
    for name in NAMES[old]:
        assert getattr(module, name) is found[name]


def test_modules_inside_and_attributes():
    with pytest.warns(DeprecationWarning) as caught:
        from spikegraph.datasets.node import draw_split as found
    assert "is now 'spikegraph.zoo.datasets.node'" in str(caught[1].message)
    from spikegraph.zoo.datasets.node import draw_split

    assert found is draw_split
    with pytest.warns(DeprecationWarning, match="'spikegraph.zoo.models'"):
        assert spikegraph.models.GCN is spikegraph.zoo.models.GCN


def test_the_warning_names_the_line_that_imports():
    with pytest.warns(DeprecationWarning) as caught:
        importlib.import_module('spikegraph.inference')
        from spikegraph import simulation  # noqa: F401
    assert [each.filename for each in caught] == [__file__] * 2
    assert caught[1].lineno == caught[0].lineno + 1


def test_names_inside_that_never_were():
    with pytest.warns(DeprecationWarning), pytest.raises(ModuleNotFoundError):
        importlib.import_module('spikegraph.datasets.nothing')
