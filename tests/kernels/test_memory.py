import multiprocessing
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from spikegraph.kernels import empty_cache, memory
from spikegraph.kernels.memory import empty, empty_like


@pytest.fixture(autouse=True)
def nothing_kept(monkeypatch):
    monkeypatch.setattr(memory._Lease, 'kept', [])


def test_memory_is_used_again_once_no_tensor_needs_it():
    first = empty((3000, 1000), torch.float32)
    place = first.data_ptr()
    part = first.fill_(1)[5:7]
    del first
    assert empty((3000, 1000), torch.float32).data_ptr() != place
    assert part.sum() == 2000
    memory._Lease.kept.clear()
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
    assert [m.size for m in memory._Lease.kept] == [10_000_000] * 3
    larger = empty((4_000_000,), torch.int32)
    assert larger.numel() == 4_000_000 and len(memory._Lease.kept) == 3


def test_memory_is_returned():
    held = empty((10_000_000,), torch.uint8).fill_(7)
    empty((20_000_000,), torch.uint8)
    assert [m.size for m in memory._Lease.kept] == [20_000_000]
    empty_cache()
    assert memory._Lease.kept == [] and bool((held == 7).all())


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


def _allocate(queue):
    queue.put(empty((9_000_000,), torch.uint8).numel())


@pytest.mark.skipif(sys.platform != 'linux', reason='needs fork')
@pytest.mark.filterwarnings('ignore:.*fork.*:DeprecationWarning')
def test_a_child_does_not_wait_for_a_thread_of_its_parent():
    taken, done = threading.Event(), threading.Event()

    def hold():
        with memory._LOCK:
            taken.set()
            done.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    taken.wait(60)
    context = multiprocessing.get_context('fork')
    queue = context.Queue()
    child = context.Process(target=_allocate, args=(queue,))
    child.start()
    try:
        assert queue.get(timeout=30) == 9_000_000
    finally:
        done.set()
        child.kill()
        child.join()
        thread.join()


def test_order_of_storage_is_kept():
    x = torch.rand(2, 3, 4, 5).contiguous(memory_format=torch.channels_last)
    assert empty_like(x, torch.uint8).stride() == x.stride()
    assert empty_like(x[:1].contiguous(), torch.uint8).is_contiguous()
