import itertools
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from spikegraph.kernels import openmp
from spikegraph.kernels.threads import share, share_pieces, share_rows

COUNTS = [1, 2, 3, 8]


@pytest.fixture(autouse=True, params=['OpenMP', 'pool'])
def threads(request, monkeypatch):
    if request.param == 'pool':
        monkeypatch.setattr(openmp, 'is_available', lambda: False)
    elif not openmp.is_available():
        pytest.skip('PyTorch uses no OpenMP that can be called')
    return request.param


class Record:
    """Notes which items were worked on."""

    def __init__(self):
        self.pieces = []

    def __call__(self, start, stop):
        self.pieces.append((start, stop))
        return stop - start

    def assert_cover(self, start, stop):
        items = [i for piece in self.pieces for i in range(*piece)]
        assert sorted(items) == list(range(start, stop))


@pytest.mark.parametrize('count', COUNTS)
@pytest.mark.parametrize('num', [0, 1, 2, 7, 63, 64, 65, 1000, 1001])
def test_share_covers_all_once(num_threads, count, num):
    num_threads(count)
    for size, unit in itertools.product((0, num, 97 * num), (1, 8, 64)):
        record = Record()
        assert sum(share(record, num, size, unit)) == num
        record.assert_cover(0, num)
        assert all(start % unit == 0 for start, _ in record.pieces)
        if count > 1 and size >= 128 and num >= 2 * unit:
            assert len(record.pieces) > 1
        if count == 1:
            assert len(record.pieces) == 1


def rowptr_of(degrees):
    return torch.cat([torch.zeros(1, dtype=torch.long), degrees.cumsum(0)])


DEGREES = {
    'even': lambda n: torch.full((n,), 5),
    'odd': lambda n: torch.randint(4, (n,)),
    'none': lambda n: torch.zeros(n, dtype=torch.long),
    'first': lambda n: torch.where(torch.arange(n) == 0, 10000, 0),
    'last': lambda n: torch.where(torch.arange(n) == n - 1, 10000, 1),
    'many': lambda n: torch.full((n,), 1 << 40),  # More than float32 can count.
}


@pytest.mark.parametrize('count', COUNTS)
@pytest.mark.parametrize('kind', DEGREES)
@pytest.mark.parametrize('num', [1, 2, 7, 63, 1001])
def test_share_rows_covers_all_once(num_threads, count, kind, num):
    num_threads(count)
    rowptr = rowptr_of(DEGREES[kind](num))
    for rows in ((0, num), (num // 3, num), (0, num // 2 + 1), (num - 1, num)):
        record = Record()
        found = share_rows(record, rowptr, rows, 17)
        assert sum(found) == rows[1] - rows[0]
        record.assert_cover(*rows)
        assert all(start < stop for start, stop in record.pieces)


def test_pieces_have_equal_numbers_of_edges(num_threads):
    num_threads(4)
    rowptr = rowptr_of(torch.arange(1000))
    record = Record()
    share_rows(record, rowptr, (0, 1000), 1)
    sizes = [int(rowptr[stop] - rowptr[start]) for start, stop in record.pieces]
    assert len(sizes) == 16 and max(sizes) < 1.1 * min(sizes)


@pytest.mark.parametrize('count', COUNTS)
def test_share_pieces(num_threads, count):
    num_threads(count)
    for bounds in ([0, 0], [3, 4], [0, 1, 1, 5], list(range(0, 301, 3))):
        record = Record()
        assert len(share_pieces(record, bounds)) == len(bounds) - 1
        assert sorted(record.pieces) == sorted(itertools.pairwise(bounds))


def test_pieces_run_at_once(num_threads):
    num_threads(3)
    meet = threading.Barrier(3, timeout=60)
    found = share_pieces(
        lambda *_: meet.wait() >= 0 and threading.get_ident(), [0, 1, 2, 3]
    )
    assert len(set(found)) == 3 and threading.get_ident() in found


def test_fewer_pieces_than_threads(num_threads):
    num_threads(8)
    for _ in range(100):
        record = Record()
        assert sorted(share_pieces(record, [0, 2, 5])) == [2, 3]
        record.assert_cover(0, 5)


def test_operations_of_torch_in_between(num_threads):
    """Threads that both use are neither lost nor too many."""
    num_threads(4)
    x = torch.ones(1 << 20)
    for _ in range(20):
        found = share_pieces(lambda i, j: float(x[i:j].sum()), list(range(0, 9999, 9)))
        assert sum(found) == 9990 and float(x.sum()) == 1 << 20


@pytest.mark.parametrize('count', COUNTS)
def test_errors_are_raised(num_threads, count):
    num_threads(count)

    def fail(start, stop):
        if start == 30:
            raise KeyError(start)

    with pytest.raises(KeyError, match='30'):
        share_pieces(fail, list(range(100)))


def test_interrupts_are_raised(num_threads):
    num_threads(2)

    def interrupt(start, stop):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        share_pieces(interrupt, list(range(9)))


def test_an_interrupt_before_the_work_begins(num_threads, threads, monkeypatch):
    """What is lost in a callback may not look like work that was done."""
    if threads == 'pool':
        pytest.skip('calls nothing back')
    num_threads(2)
    monkeypatch.setattr(openmp, 'run', lambda task: None)
    with pytest.raises(KeyboardInterrupt):
        share_pieces(Record(), [0, 1, 2])


def test_calls_from_several_threads(num_threads):
    num_threads(2)

    def call(k):
        torch.set_num_threads(2)
        return sum(share_pieces(Record(), list(range(0, 1001, 1 + k))))

    expected = [call(k) for k in range(8)]
    for _ in range(20):
        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(call, range(8))) == expected
