import gc
import importlib
import os
import sys

os.environ['MPLBACKEND'] = 'Agg'

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

# Without a GPU, Triton's kernels are interpreted. Triton, which torch-geometric
# imports, reads this only once.
os.environ['TRITON_INTERPRET'] = '0' if torch.cuda.is_available() else '1'

from torch_geometric.data import Data
from torch_geometric.nn import GraphConv, SAGEConv

from spikegraph.zoo.datasets import DATASETS, NodeDataset, load_dataset

# PyG compiles 'propagate' for the first layer of a class in a process: if that one sums
# up by a median, all others refuse sparse matrices.
for _layer in (SAGEConv, GraphConv):
    _layer(1, 1)

FOREIGN = 'foreign/test_foreign.py'

# Small tensors gain nothing from threads, and wait for each other when other
# processes want the cores.
torch.set_num_threads(1)

# Without a GPU, `torch.manual_seed` notes the stack of each call for devices that may
# come yet, which takes more time than many a test.
SEED = (
    torch.manual_seed
    if torch.cuda.is_available()
    else torch.default_generator.manual_seed
)


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Examples in docstrings are those of the library: helpers of tests have none."""
    is_test = collection_path.name.startswith('test_')
    return True if collection_path.suffix == '.py' and not is_test else None


def unit_of(nodeid: str) -> str:
    """What one process runs: a file, whose tests share what fixtures make; or all tests
    of one foreign model, which is trained and converted once.
    """
    file, _, test = nodeid.partition('::')
    return f'{file}[{test.partition("[")[2]}' if file.endswith(FOREIGN) else file


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that take long come first, and what is short last, so that no process has
    to wait for another at the end.
    """
    slow = {item.path for item in items if item.get_closest_marker('slow')}

    def place(item: pytest.Item) -> tuple[int, str]:
        if item.nodeid.partition('::')[0].endswith(FOREIGN):
            return 2, unit_of(item.nodeid)
        return int(item.path not in slow), ''

    items.sort(key=place)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    if config.getoption('dist') != 'load':
        return None
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return unit_of(nodeid)

    config.option.loadscopereorder = False
    return Scheduling(config, log)


def pytest_collection_finish() -> None:
    """What is imported stays: collections of garbage need not look through it."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 10)


@pytest.fixture(autouse=True)
def fill_uninitialized_memory() -> Iterator[None]:
    # With deterministic algorithms on, `torch.empty` is filled with NaN or the
    # largest integer, so that an output that was never written fails the test.
    SEED(0)
    torch.utils.deterministic.fill_uninitialized_memory = True
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Any]]:
    """Returns a function that imports a script of benchmarks/."""
    folder = Path(__file__).parents[1] / 'benchmarks'
    monkeypatch.syspath_prepend(str(folder))
    yield importlib.import_module
    names = {path.stem for path in folder.glob('*.py')} | {'sections'}
    for name in [n for n in sys.modules if n.partition('.')[0] in names]:
        del sys.modules[name]


@pytest.fixture
def dataset_root() -> Callable[[str], Path]:
    """Returns a function that skips the test where the raw files of a dataset are
    not under SPIKEGRAPH_ROOT, and fails it if SPIKEGRAPH_REQUIRE_DATA is 1."""

    def find(name: str) -> Path:
        root = os.environ.get('SPIKEGRAPH_ROOT', '')
        files = DATASETS[name].files(Path(root))
        if root and all(file.exists() for file in files):
            return Path(root)
        message = f"the files of '{name}' are not under SPIKEGRAPH_ROOT ('{root}')"
        if os.environ.get('SPIKEGRAPH_REQUIRE_DATA') == '1':
            pytest.fail(f'SPIKEGRAPH_REQUIRE_DATA is 1, but {message}')
        pytest.skip(message)

    return find


@pytest.fixture
def load_data(dataset_root: Callable[[str], Path]) -> Callable[[str], NodeDataset]:
    """Returns a function that loads a dataset, or skips as :obj:`dataset_root`."""
    return lambda name: load_dataset(name, dataset_root(name))


@pytest.fixture(scope='session')
def digits() -> NodeDataset:
    return load_dataset('digits')


@pytest.fixture
def graph() -> Data:
    """A random graph with self-loops, duplicate edges and isolated nodes."""
    generator = torch.Generator().manual_seed(0)
    edge_index = torch.randint(55, (2, 200), generator=generator)
    edge_index[:, :3] = torch.tensor([[1, 2, 2], [1, 3, 3]])
    x = torch.rand(60, 5, generator=generator, dtype=torch.float64)
    x[x < 0.4] = 0.0
    return Data(x=x, edge_index=edge_index)
