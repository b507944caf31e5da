import builtins
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from spikegraph.kernels import empty_cache, leases, memory
from spikegraph.kernels.memory import empty, empty_like


@pytest.fixture(autouse=True)
def nothing_kept(monkeypatch):
    monkeypatch.setattr(memory, '_KEPT', {})


def test_memory_is_used_again_once_no_tensor_needs_it():
    first = empty((3000, 1000), torch.float32)
    place = first.data_ptr()
    part = first.fill_(1)[5:7]
    del first
    assert empty((3000, 1000), torch.float32).data_ptr() != place
    assert part.sum() == 2000
    memory._KEPT.clear()
    del part
    second = empty((900, 3000), torch.float32)
    assert second.data_ptr() == place and second.shape == (900, 3000)
    array = second.numpy()
    del second
    assert empty((900, 3000), torch.float32).data_ptr() != array.ctypes.data


def test_tensors_begin_at_a_line_of_the_cache():
    held = [empty((size,), torch.uint8) for size in (8_400_001, 9_000_000, 20_000_003)]
    assert [x.data_ptr() % 64 for x in held] == [0] * 3
    held.clear()
    assert empty((8_400_000,), torch.uint8).data_ptr() % 64 == 0


def test_no_more_is_kept_than_allowed(monkeypatch):
    monkeypatch.setattr(memory, '_MOST_KEPT', 30_000_000)
    tensors = [empty((10_000_000,), torch.uint8) for _ in range(5)]
    tensors.clear()
    assert [m.size for m in memory._KEPT.values()] == [10_000_000] * 3
    larger = empty((4_000_000,), torch.int32)
    assert larger.numel() == 4_000_000 and len(memory._KEPT) == 3


def test_memory_is_returned():
    held = empty((10_000_000,), torch.uint8).fill_(7)
    empty((20_000_000,), torch.uint8)
    assert [m.size for m in memory._KEPT.values()] == [20_000_000]
    empty_cache()
    assert memory._KEPT == {} and bool((held == 7).all())


def test_threads_never_share_memory():
    def use(value):
        for _ in range(50):
            x = empty((9_000_000,), torch.uint8)
            x[::100_000] = value
            if bool((x[::100_000] != value).any()):
                return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(use, range(4)))


@pytest.mark.parametrize('name', ['sorted', 'sum'])
def test_finalizers_never_share_memory(name, monkeypatch):
    """They may run, and allocate, between any two steps of an allocation."""
    held, function = [], getattr(builtins, name)

    def interrupted(*args, **kwargs):
        monkeypatch.delattr(leases, name)
        held.append(empty((9_000_000,), torch.uint8))
        return function(*args, **kwargs)

    empty((9_000_000,), torch.uint8)
    monkeypatch.setattr(leases, name, interrupted, raising=False)
    held.append(empty((9_000_000,), torch.uint8))
    if name == 'sum':
        held.clear()
    held += [empty((9_000_000,), torch.uint8) for _ in range(3)]
    assert len({x.data_ptr() for x in held}) == len(held) >= 4


def test_what_fits_best_is_used_and_what_waited_longest_goes(monkeypatch):
    sizes = [30_000_000, 12_000_000, 10_000_000]
    tensors = [empty((size,), torch.uint8) for size in sizes]
    places = [x.data_ptr() for x in tensors]
    while tensors:
        del tensors[0]  # In the order of the sizes.
    assert empty((9_000_000,), torch.uint8).data_ptr() == places[2]
    assert empty((11_000_000,), torch.uint8).data_ptr() == places[1]
    monkeypatch.setattr(memory, '_MOST_KEPT', 45_000_000)
    half = empty((14_000_000,), torch.uint8)
    assert half.data_ptr() not in places  # It would waste more than it uses.
    del half
    kept = [m.ctypes.data for m in memory._KEPT.values()]
    assert places[0] not in kept and {places[1], places[2]} < set(kept)


def test_what_is_too_large_to_be_kept_displaces_nothing(monkeypatch):
    monkeypatch.setattr(memory, '_MOST_KEPT', 30_000_000)
    empty((10_000_000,), torch.uint8)
    empty((30_000_001,), torch.uint8)
    assert [m.size for m in memory._KEPT.values()] == [10_000_000]


def test_order_of_storage_is_kept():
    x = torch.rand(2, 3, 4, 5).contiguous(memory_format=torch.channels_last)
    assert empty_like(x, torch.uint8).stride() == x.stride()
    assert empty_like(x[:1].contiguous(), torch.uint8).is_contiguous()
    for layout in (torch.contiguous_format, torch.channels_last):  # Of one channel.
        x = torch.rand(2, 1, 4, 5).to(memory_format=layout)
        assert empty_like(x, torch.uint8).stride() == x.stride()
