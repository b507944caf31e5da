import ctypes
import mmap
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def fenced(values):
    """A copy of values, behind the last of which no memory may be read."""
    import numpy as np
    import torch

    page = mmap.PAGESIZE
    pages = -(-values.numel() * values.element_size() // page)
    memory = mmap.mmap(-1, (pages + 1) * page)
    array = np.frombuffer(memory, np.uint8)
    libc = ctypes.CDLL(None, use_errno=True)
    fence = ctypes.c_void_p(array.ctypes.data + pages * page)
    assert libc.mprotect(fence, ctypes.c_size_t(page), 0) == 0
    copy = torch.from_numpy(array[: pages * page]).view(values.dtype)
    return copy[copy.numel() - values.numel() :].view(values.shape).copy_(values)


def read_to_the_end():
    import torch

    from spikegraph import PhaseCode
    from spikegraph.coding import Spikes
    from spikegraph.kernels import Adjacency, Filters, aggregate, convolve

    torch.manual_seed(0)
    rowptr, factor = torch.arange(0, 1201, 12), torch.rand(500, 1) + 0.5
    col = torch.randint(500, (1200,), dtype=torch.int32)
    col[-30:] = 499
    for num_steps, width in [(15, 300), (15, 40), (31, 20), (40, 33), (15, 1)]:
        code = PhaseCode.nearest(num_steps, 1.3)
        time = torch.randint(num_steps + 1, (500, width), dtype=torch.uint8)
        for weight, source in [(None, factor), (torch.rand(1200), None)]:
            graph = rowptr, col, weight, source
            found = []
            for make in (lambda x: x, fenced):
                tensors = (None if t is None else make(t) for t in graph)
                adjacency = Adjacency(*tensors, num_sources=500)
                spikes = Spikes(make(time), code, torch.tensor(1.0))
                found.append(aggregate(adjacency, spikes))
                found.append(aggregate(adjacency, make(spikes.decode())))
            assert torch.equal(found[0], found[2]) and torch.equal(found[1], found[3])
    for shape, kernel, padding in [
        ((2, 7, 5, 3), (3, 3), 0),
        ((1, 41, 40, 16), (3, 2), 0),
        ((3, 6, 7, 5), (1, 1), 0),
        ((2, 6, 7, 5), (3, 3), 1),
    ]:
        images, weight = torch.randn(shape), torch.randn(17, shape[-1], *kernel)
        found = []
        for make in (lambda x: x, fenced):
            filters = Filters(make(weight), None, padding=(padding, padding))
            found.append(convolve(make(images).permute(0, 3, 1, 2), filters))
        assert torch.equal(*found)
    print('read to the end')


@pytest.mark.skipif(sys.platform != 'linux', reason='needs mprotect')
def test_kernels_read_nothing_behind_the_end():
    command = [sys.executable, '-m', 'tests.kernels.test_bounds']
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (found.returncode, found.stdout) == (0, 'read to the end\n'), found.stderr


if __name__ == '__main__':
    read_to_the_end()
