import dataclasses

import torch

from spikegraph import ConversionConfig, convert
from spikegraph.conversion.passes import order
from tests.conversion.zoo import make

DATA = (torch.rand(9, 5).double(), torch.randint(9, (2, 30)))


def test_the_list_is_what_runs(monkeypatch):
    """Each pass once, in order, those of options that are set."""
    ran = []

    def watched(each):
        def run(structure, signals):
            ran.append(each)
            each.run(structure, signals)

        return dataclasses.replace(each, run=run)

    passes = order.PASSES
    monkeypatch.setattr(order, 'PASSES', tuple(map(watched, passes)))
    for folds in (False, True):
        ran.clear()
        convert(make('F.relu'), DATA, ConversionConfig(num_steps=4, fold_degree=folds))
        assert ran == [p for p in passes if folds or p.option is None]


def test_reasons_and_options():
    options = {field.name for field in dataclasses.fields(ConversionConfig)}
    assert {each.option for each in order.PASSES} <= {None, *options}
    assert any(each.option for each in order.PASSES)
    assert all(each.why.endswith('.') for each in order.PASSES)
