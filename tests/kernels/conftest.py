import sys
from collections.abc import Callable, Iterator

import pytest
import torch

from spikegraph.kernels import dispatch
from spikegraph.kernels import threads as threads_module


@pytest.fixture
def num_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], None]]:
    """Returns a function that sets the number of threads, of small tensors too."""
    monkeypatch.setattr(threads_module, 'MIN_SIZE', 64)
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.fixture
def without_numba(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Makes Numba impossible to import."""
    monkeypatch.setitem(sys.modules, 'numba', None)
    for name in [n for n in sys.modules if n.startswith('spikegraph.kernels.cpu')]:
        monkeypatch.delitem(sys.modules, name)
    dispatch.backends.cache_clear()
    yield
    dispatch.backends.cache_clear()
