"""Moments, lengths and distances between two layers."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from spikegraph import convert
from tests.conversion.convolutions import TOLERANCE, deviation
from tests.conversion.passes.test_spelling import Between, row
from tests.nn.exactness import assert_exact, real


def standard(x, moments):
    spread, mean = moments
    return (x - mean) / (spread + 1e-3)


SINGLE = {
    'var_mean': (
        lambda x: standard(x, torch.var_mean(x, (0, 1), correction=0)),
        6,
    ),
    'std_mean': (lambda x: standard(x, torch.std_mean(x, -1, keepdim=True)), 6),
    'std_mean of all': (lambda x: standard(x, torch.std_mean(x)), 6),
    'cov': (lambda x: torch.cov(x.T), 6),
    'corrcoef': (lambda x: torch.corrcoef(x.T), 6),
    'norm': (lambda x: torch.linalg.norm(x, dim=-1, keepdim=True), 1),
    'vector_norm': (lambda x: torch.linalg.vector_norm(x, dim=-1, keepdim=True), 1),
    'vector_norm of the first order': (
        lambda x: torch.linalg.vector_norm(x, ord=1, dim=-1, keepdim=True),
        1,
    ),
    'the third order': (lambda x: x.norm(p=3, dim=-1, keepdim=True), 1),
    'the largest': (lambda x: x.norm(p=math.inf, dim=-1, keepdim=True), 1),
    'the largest of all': (lambda x: torch.norm(x, math.inf) * torch.relu(x), 6),
    'the largest of two dimensions': (
        lambda x: x * torch.linalg.vector_norm(x, math.inf, (0, 1), keepdim=True),
        6,
    ),
    'the largest of all, kept': (
        lambda x: x * torch.linalg.vector_norm(x, math.inf, keepdim=True),
        6,
    ),
    'the norm of a matrix': (lambda x: x * torch.linalg.norm(x, 'fro'), 6),
    'the first order of all': (lambda x: x * torch.norm(x, 1), 6),
    'the first order of a column': (lambda x: x * torch.linalg.norm(x[:, 0], 1), 6),
    'relative to the largest': (lambda x: F.normalize(x, p=math.inf, dim=-1), 6),
}
PAIRS = {
    'cdist': (torch.cdist, 7),
    'cdist of the first order': (lambda x, y: torch.cdist(x, y, p=1), 7),
    'a kernel': (lambda x, y: torch.exp(-torch.cdist(x, y).square() / 4), 7),
    'dist': (lambda x, y: x * torch.dist(x, y), 6),
    'the largest distance': (lambda x, y: x * torch.dist(x, y, math.inf), 6),
    'the angle to one row': (
        lambda x, y: row(F.cosine_similarity(x[0], y, dim=1)) * x,
        6,
    ),
    'hypot': (torch.hypot, 6),
    'mse': (lambda x, y: F.mse_loss(x, y, reduction='none'), 6),
    'mean of mse': (lambda x, y: x * F.mse_loss(x, y), 6),
    'l1': (lambda x, y: F.l1_loss(x, target=y, reduction='none'), 6),
}


@pytest.mark.parametrize('function, width', SINGLE.values(), ids=SINGLE)
def test_functions_of_one(function, width):
    assert_exact(Between(function, width), real(7, 6), most=0.5)


@pytest.mark.parametrize('function, width', PAIRS.values(), ids=PAIRS)
def test_functions_of_two(function, width):
    assert_exact(Between(function, width, of_two=True), real(7, 6), most=0.5)


def test_distances_of_any_number_of_rows():
    model = Between(lambda x, y: row(torch.cdist(x, y).sum(-1)), 1, of_two=True)
    snn = assert_exact(model, real(7, 6))
    assert deviation(snn, model, (real(9, 6),)) < TOLERANCE


def test_orders_without_a_power_are_refused():
    model = Between(lambda x: torch.linalg.vector_norm(x, 0, -1, keepdim=True), 1)
    with pytest.raises(
        NotImplementedError, match="Cannot convert 'linalg_vector_norm'"
    ):
        convert(model.double(), real(7, 6))


@pytest.mark.parametrize('order', [1, 2, -1, math.inf, 'nuc'])
@pytest.mark.parametrize('dims', [None, (0, 1)], ids=str)
def test_other_norms_of_matrices_are_refused(order, dims):
    model = Between(lambda x: x * torch.linalg.norm(x, order, dims), 6)
    with pytest.raises(NotImplementedError, match="Cannot convert 'linalg_norm'"):
        convert(model.double(), real(7, 6))


def test_vectors_of_other_lengths_have_no_angle_by_spikes():
    def angle(x, y):
        return x * row(F.cosine_similarity(x[:, :1], y, dim=1))

    model = Between(angle, 6, of_two=True)
    with pytest.raises(NotImplementedError, match="Cannot convert 'cosine_similarity'"):
        convert(model.double(), real(7, 6))


class Weighted(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.first, self.last, self.function = (
            nn.Linear(6, 6),
            nn.Linear(6, 3),
            function,
        )

    def forward(self, x):
        return self.last(self.function(input=self.first(x)))


def test_the_first_argument_may_be_named():
    assert_exact(Weighted(lambda input: F.normalize(input=input, dim=-1)), real(7, 6))
