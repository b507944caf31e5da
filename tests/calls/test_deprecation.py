import inspect
import re

import pytest
import torch
from torch import nn

import spikegraph
from spikegraph import convert
from spikegraph.zoo import datasets, experiment, models

NETWORK = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)).eval()


@pytest.mark.parametrize('wrap', [iter, list])
def test_a_callable_progress(wrap):
    x = torch.randn(20, 6)
    given = []
    expected = convert(NETWORK, x)(x)
    with pytest.warns(DeprecationWarning, match="pass 'progress=True'") as found:
        snn = convert(NETWORK, x, progress=lambda v: given.append(v) or wrap(v))
    assert [warning.filename for warning in found] == [__file__]
    assert len(given) == 1 and torch.equal(snn(x), expected)


def test_bars(capfd):
    x = torch.randn(20, 6)
    snn = convert(NETWORK, x)
    spikegraph.predict(snn, [x])
    assert capfd.readouterr() == ('', '')
    spikegraph.predict(convert(NETWORK, x, progress=True), [x], progress=True)
    out, err = capfd.readouterr()
    assert out == '' and 'Converting' in err and 'Inference' in err


def functions():
    places = (spikegraph, datasets, experiment, models)
    found = [getattr(p, name) for p in places for name in p.__all__]
    return [function for function in found if inspect.isfunction(function)]


@pytest.mark.parametrize(
    'function, option',
    [
        (function, name)
        for function in functions()
        for name, parameter in inspect.signature(function).parameters.items()
        if isinstance(parameter.default, bool)
    ],
)
@pytest.mark.parametrize('value', ['yes', 1, None])
def test_switches_are_bools(function, option, value):
    parameters = inspect.signature(function).parameters.values()
    given = {
        p.name: [] for p in parameters if p.default is p.empty and p.kind in (1, 3)
    }
    if 'snn' in given:
        given['snn'] = convert(NETWORK, torch.randn(20, 6))
    match = re.escape(f"Expected '{option}' to be a bool (got {value!r})")
    with pytest.raises(ValueError, match=match):
        function(**given, **{option: value})


def test_options_are_the_same_everywhere():
    """The same default, and the spiking network first."""
    found = 0
    for function in functions():
        names = inspect.signature(function).parameters
        if 'progress' in names:
            found += 1
            assert names['progress'].default is False, function
        if 'snn' in names:
            assert next(iter(names)) == 'snn', function
    assert found >= 5
