from functools import partial
from typing import NamedTuple

import numba
import numpy as np
import pytest

from spikegraph.kernels import openmp
from spikegraph.kernels.cpu import native
from spikegraph.kernels.threads import _bind


class Given(NamedTuple):
    x: np.ndarray
    factor: int
    flag: bool
    nothing: object


@numba.njit(nogil=True)
def scale(given, out, offset, start, stop):
    for i in range(start, stop):
        out[i] = given.x[i, 1] * given.factor + offset + given.flag


@numba.njit(nogil=True)
def are_small(x, limit, start, stop):
    found = True
    for i in range(start, stop):
        found &= x[i] < limit
    return found


@numba.njit(nogil=True)
def largest(x, start, stop):
    found = np.uint8(0)
    for i in range(start, stop):
        found = max(found, x[i])
    return found


@numba.njit(nogil=True)
def refuse(x, start, stop):
    if x[start] < 0:
        raise ValueError('negative')
    x[start] += 1


@numba.njit(nogil=True)
def total(x, start, stop):
    return x[start:stop].sum()


@pytest.mark.parametrize('count', [1, 2, 5])
@pytest.mark.parametrize('bounds', [[0, 11], [0, 4, 5, 11], [*range(12)], [3, 3]])
def test_bound_kernels_do_what_they_did(num_threads, count, bounds):
    num_threads(count)
    x, out, expected = np.ones((11, 3), np.float32), np.zeros(11), np.zeros(11)
    given = Given(x, 3, True, None)
    scale(given, expected, 0.25, 0, 0)
    bound = native.bind(scale, (given, out, 0.25), bounds)
    for _ in range(3):
        x[:] = np.random.rand(11, 3)
        scale(given, expected, 0.25, bounds[0], bounds[-1])
        assert bound() == [None] * (len(bounds) - 1) and np.array_equal(out, expected)


@pytest.mark.parametrize('count', [1, 3])
def test_answers_of_pieces_come_in_order(num_threads, count):
    num_threads(count)
    x = np.arange(10.0)
    assert are_small(x, 5.0, 0, 5)
    bound = native.bind(are_small, (x, 5.0), [0, 2, 5, 6, 10])
    assert bound() == [True, True, False, False]
    x[:] = 7
    assert bound() == [False] * 4
    x[8] = 0
    x[:2] = 0
    assert bound() == [True, False, False, False]


@pytest.mark.parametrize('count', [1, 3])
def test_small_numbers_are_returned(num_threads, count):
    num_threads(count)
    x = np.array([3, 250, 7, 0, 9], np.uint8)
    assert largest(x, 0, 5) == 250
    assert native.bind(largest, (x,), [0, 2, 3, 5])() == [250, 7, 9]


def test_kernels_that_raise_are_told():
    x = np.array([1.0, 2.0, 3.0])
    refuse(x, 0, 1)
    bound = native.bind(refuse, (x,), [0, 1, 2, 3])
    assert bound() == [None] * 3 and x.tolist() == [3, 3, 4]
    x[1] = -1
    with pytest.raises(RuntimeError, match='raised'):
        bound()
    assert x.tolist() == [4, -1, 5]
    x[1] = 1
    assert bound() == [None] * 3 and x.tolist() == [5, 2, 6]  # Nothing stays failed.


def test_pieces_are_left_to_a_pool_where_there_is_no_openmp(monkeypatch):
    x = np.array([1.0, 2.0])
    refuse(x, 0, 1)
    monkeypatch.setattr(openmp, 'is_available', lambda: False)
    assert _bind(partial(refuse, x), [0, 1, 2]) is None
    assert _bind(partial(refuse, x), [0, 2]) is not None


def test_others_are_left_alone():
    x = np.arange(4.0)
    assert native.bind(scale, (x, x, 1.0), [0, 4]) is None  # Never compiled for it.
    total(x, 0, 4)
    assert native.bind(total, (x,), [0, 4]) is None  # It returns a real number.
    are_small(x, np.float32(3), 0, 4)
    assert native.bind(are_small, (x, np.float32(3)), [0, 4]) is None
    assert _bind(lambda start, stop: None, [0, 1]) is None
    assert _bind(partial(print, 1), [0, 1]) is None
