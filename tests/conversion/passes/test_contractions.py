"""Products of several signals, summed over some dimensions."""

import pytest
import torch
from torch import nn

from spikegraph import convert
from spikegraph.conversion.passes.contractions import CONTRACTIONS
from tests.conversion.convolutions import TOLERANCE, deviation
from tests.nn.exactness import assert_exact, real


class Meeting(nn.Module):
    """A function of three features of 6 channels."""

    def __init__(self, function, width):
        super().__init__()
        self.parts = nn.ModuleList(nn.Linear(6, 6) for _ in range(3))
        self.function, self.last = function, nn.Linear(width, 3)

    def forward(self, x):
        return self.last(self.function(*(part(x) for part in self.parts)))


def heads(x):
    return x.unflatten(-1, (2, 3))


EQUATIONS = {
    'nd,md->nm': 7,
    'nd,md->mn': 7,
    'nd,md': 7,
    'nd,nd->n': 1,
    'nd,nd->nd': 6,
    'n d, n d -> d n': 7,
    'nd,ne->nde': 36,
    'nd,me->nd': 6,
    '...d,...d->...': 1,
    '...nd,...md->...nm': 7,
    '...d,md->...m': 7,
    '...d,...d': 1,
}


@pytest.mark.parametrize('equation', EQUATIONS)
def test_equations(equation):
    width = EQUATIONS[equation]

    def function(x, y, z):
        out = torch.einsum(equation, x, y)
        return out.reshape(-1, width)

    assert_exact(Meeting(function, width), real(7, 6), most=0.5)


def test_equations_of_attention_take_any_number_of_nodes():
    def attend(q, k, v):
        scores = torch.einsum('nhd,mhd->hnm', heads(q), heads(k))
        return torch.einsum('hnm,mhd->nhd', scores.softmax(-1), heads(v)).flatten(1)

    model = Meeting(attend, 6)
    snn = assert_exact(model, real(7, 6), most=0.5)
    assert deviation(snn, model, (real(9, 6),)) < TOLERANCE


def test_equations_that_merge_dimensions():
    def attend(q, k, v):
        q, k = heads(q).unflatten(0, (2, 4)), heads(k).unflatten(0, (2, 4))
        return torch.einsum('bnhd,bmhd->bnm', q, k).flatten(0, 1)

    assert_exact(Meeting(attend, 4), real(8, 6), most=0.5)

    def outer(q, k, v):
        q, k = heads(q), heads(k)
        return torch.einsum('nhd,ngd->nhg', q, k).flatten(1)

    assert_exact(Meeting(outer, 4), real(8, 6), most=0.5)

    def wide(q, k, v):
        q, k = heads(q), heads(k)
        return torch.einsum('nhd,mgd->nhmg', q, k).flatten(2).flatten(0, 1)

    assert_exact(Meeting(wide, 16), real(8, 6), most=0.5)


def test_equations_of_three():
    def function(x, y, z):
        return torch.einsum('nd,nd,nd->n', [x, y, z]).unsqueeze(-1)

    assert_exact(Meeting(function, 1), real(7, 6), most=0.6)


def test_diagonals_of_two_signals_are_refused():
    model = Meeting(lambda x, y, z: torch.einsum('nn,nd->nd', x[:6], y[:6]), 6)
    with pytest.raises(NotImplementedError, match="'einsum'.*multiplies two signals"):
        convert(model.double(), real(7, 6))


FUNCTIONS = {
    'mv': (lambda x, y, z: torch.mv(x, y[0]).unsqueeze(-1), 1),
    'dot': (lambda x, y, z: torch.dot(x[0], y[0]) * z, 6),
    'inner': (lambda x, y, z: torch.inner(x, y), 7),
    'vecdot': (lambda x, y, z: torch.linalg.vecdot(x, y).unsqueeze(-1), 1),
    'outer': (lambda x, y, z: torch.outer(x[0], y[0]), 6),
    'linear': (lambda x, y, z: nn.functional.linear(x, y, z[:, 0]), 7),
    'tensordot': (lambda x, y, z: torch.tensordot(x, y, ([1], [1])), 7),
    'tensordot of the last': (lambda x, y, z: torch.tensordot(x, y.t(), 1), 7),
    'kron': (lambda x, y, z: torch.kron(x[:1], y[:1]), 36),
    'multi_dot': (lambda x, y, z: torch.linalg.multi_dot([x, y.T, z]), 6),
    'addmm': (lambda x, y, z: torch.addmm(x, y, z[:6], beta=2, alpha=0.5), 6),
    'addmv': (lambda x, y, z: torch.addmv(x[:, 0], y, z[0]).unsqueeze(-1), 1),
    'addr': (lambda x, y, z: torch.addr(x[:6], y[0], z[0]), 6),
    'baddbmm': (lambda x, y, z: torch.baddbmm(x[None], y[None], z[None, :6])[0], 6),
    'addbmm': (
        lambda x, y, z: torch.addbmm(x, y.view(2, 7, 3), z[:6].view(2, 3, 6)),
        6,
    ),
}

NAMED = {
    'mm': (lambda x, y, z: torch.mm(input=x, mat2=y.T), 7),
    'bmm': (lambda x, y, z: torch.bmm(x[None], mat2=y.T[None])[0], 7),
    'mv': (lambda x, y, z: torch.mv(x, vec=y[0]).unsqueeze(-1), 1),
    'outer': (lambda x, y, z: torch.outer(input=x[0], vec2=y[0]), 6),
    'vecdot': (lambda x, y, z: torch.linalg.vecdot(x=x, y=y).unsqueeze(-1), 1),
    'addmm': (lambda x, y, z: torch.addmm(x, mat2=z[:6], mat1=y, alpha=0.5), 6),
    'multi_dot': (lambda x, y, z: torch.linalg.multi_dot(tensors=[x, y.T, z]), 6),
}


@pytest.mark.parametrize('function, width', NAMED.values(), ids=NAMED)
def test_functions_of_named_arguments(function, width):
    assert_exact(Meeting(function, width), real(7, 6), most=0.6)


@pytest.mark.parametrize('function, width', FUNCTIONS.values(), ids=FUNCTIONS)
def test_functions(function, width):
    assert_exact(Meeting(function, width), real(7, 6), most=0.6)


def test_all_that_are_spelled_out_are_tried():
    tried = {name.split()[0] for name in FUNCTIONS} | {'einsum'}
    assert set(CONTRACTIONS) <= tried
