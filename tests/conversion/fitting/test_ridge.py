"""Corrections of weights by ridge regression."""

import pytest
import torch

from spikegraph.conversion.fitting.equations import (
    Batch,
    Equations,
    Rows,
    Sums,
    Total,
    Units,
    Weighed,
    find_units,
)
from spikegraph.conversion.fitting.ridge import find_change
from spikegraph.conversion.ranks import Ranks
from tests.nn.exactness import real


def change_of(features, residual, goal, num_batches=1, **options):
    """The correction for rows that come in a number of batches."""
    ranks = Ranks()
    ranks.total = num_batches
    parts = [
        (None,) * num_batches if v is None else v.tensor_split(num_batches)
        for v in (features, residual, goal)
    ]
    rows = [Rows(*each) for each in zip(*parts, strict=True)]
    equations = Equations.over('correcting', lambda: rows, ranks, **options)
    return find_change(equations, 'correcting', ranks)


def test_ridge_finds_the_weights_behind_noisy_features():
    torch.manual_seed(0)
    x, weight = torch.randn(500, 6), torch.randn(3, 6)
    target = x @ weight.t() + 0.5
    wrong = weight + 0.3 * torch.randn(3, 6)
    delta, shift = change_of(x, target - x @ wrong.t(), target)
    assert (wrong + delta - weight).norm() < 0.01 * weight.norm()
    assert (shift - 0.5).abs().max() < 0.01
    nothing, shift = change_of(None, target - x @ weight.t(), target)
    assert nothing is None
    assert torch.allclose(shift, torch.full((3,), 0.5).double(), atol=1e-5)


def test_ridge_corrects_each_group_by_itself():
    torch.manual_seed(0)
    x, weight = torch.randn(500, 2, 4), torch.randn(6, 4)
    target = torch.einsum('ngf,gof->ngo', x, weight.view(2, 3, 4)).flatten(1)
    delta, shift = change_of(x, target, target)
    assert (delta - weight).norm() < 0.01 * weight.norm()
    assert shift.abs().max() < 0.01


def test_correction_that_does_not_hold_up_is_dropped():
    torch.manual_seed(0)
    x, weight = torch.randn(100, 70), torch.randn(2, 70)
    target = x @ weight.t()
    assert change_of(x, 3 * torch.randn(100, 2), target) is None  # Noise.
    assert change_of(x, torch.zeros(100, 2), target) is None  # Nothing to do.


def test_weights_alone():
    features, weight = real(300, 4), real(2, 4, seed=1)
    residual = features @ weight.t() + 0.5
    delta, shift = change_of(features, residual, residual)
    torch.testing.assert_close(delta, weight, rtol=0.01, atol=0.01)
    torch.testing.assert_close(shift, torch.full((2,), 0.5).double(), rtol=0.01, atol=0)
    delta, shift = change_of(features, residual, residual, may_shift=False)
    assert (shift == 0).all() and not torch.allclose(delta, weight, 0.001)


@pytest.mark.parametrize('num_groups', [1, 2])
def test_sums_are_the_same_however_batches_are_spread(num_groups):
    torch.manual_seed(0)
    sizes = (70, 1, 33, 5000, 2, 90)
    batches = []
    for k, size in enumerate(sizes):
        x = torch.randn(size, num_groups, 5).squeeze(1) * 7.0**k
        residual, goal = torch.randn(size, 4), torch.randn(size, 4) * 3
        batches.append(Batch.of(Rows(x, residual, goal), 2.0, 3 * k, True))
    weighed = Weighed.of(batches, True)
    total = Total(list(sizes), 2.0)
    units = find_units(iter([weighed]), total, len(sizes))
    parts = [batch.sums(units) for batch in batches]
    expected = Sums.over(parts)
    for order in ([5, 4, 3, 2, 1, 0], [3, 0, 5, 1, 2, 4]):
        some = Sums.over(parts[k] for k in order[:3])
        rest = Sums.over(parts[k] for k in order[3:])
        for found in (Sums.over([some, rest]), Sums.over([rest, some])):
            for half in ('kept', 'judge'):
                a, b = getattr(found, half), getattr(expected, half)
                assert torch.equal(a.gram, b.gram) and torch.equal(a.cross, b.cross)
    exact = Sums.over(batch.sums(Units(units.weight)) for batch in batches)
    kept = expected.kept.counted_in(units)
    size = exact.kept.gram.diagonal(dim1=1, dim2=2).sqrt()
    error = (kept.gram - exact.kept.gram).abs() / size.unsqueeze(1) / size.unsqueeze(2)
    assert 0 < error.max() < 1e-12  # They are rounded, but hardly.


def test_batches_hold_what_one_holds():
    """Which rows are held out does not depend on batches."""
    torch.manual_seed(0)
    x, weight = torch.randn(500, 6).double(), torch.randn(3, 6).double()
    target = x @ weight.t() + 0.5
    residual = 0.1 * target + 0.01 * torch.randn(500, 3).double()
    one = change_of(x, residual, target)
    many = change_of(x, residual, target, num_batches=7)
    for a, b in zip(one, many, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)
