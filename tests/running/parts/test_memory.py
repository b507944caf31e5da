import json
import subprocess
import sys

import pytest
import torch
from torch_geometric.nn.models import GAT, GCN, GraphSAGE

from spikegraph import convert
from spikegraph.running.parts.memory import block_bytes
from spikegraph.running.parts.staged import Staged

pytestmark = pytest.mark.skipif(
    sys.platform != 'linux', reason='limits of memory are those of Linux'
)
# Features lie in a file that is larger than the memory that is left.
SCRIPT = """
import json, resource, sys
import numpy as np
import torch
import spikegraph
from spikegraph.running.parts.memory import block_bytes
from spikegraph.running.parts.staged import Staged
from torch_geometric.nn.models import GraphSAGE

folder, num_nodes, num_edges, width = sys.argv[1], 100_000, 1_000_000, 512


def taken():
    with open('/proc/self/status') as file:
        fields = dict(line.split(':', 1) for line in file)
    return int(fields['VmData'].split()[0]) * 1024


torch.manual_seed(0)
torch.set_num_threads(1)
model = GraphSAGE(width, 32, 2, 8)
few = torch.randn(500, width), torch.randint(500, (2, 5000))
snn = spikegraph.convert(model, few)
spikegraph.layerwise(snn, *few, block_size=64)  # Whatever is made once, is made.
x = np.lib.format.open_memmap(f'{folder}/x.npy', 'w+', np.float32, (num_nodes, width))
for start in range(0, num_nodes, 10_000):
    x[start : start + 10_000] = torch.randn(10_000, width)
x.flush()
edge_index = torch.randint(num_nodes, (2, num_edges))
from spikegraph.partitioning.arrays import map_array, tensor_of
x = tensor_of(map_array(f'{folder}/x.npy', read_only=True), 'x')
bound = block_bytes(Staged(snn, snn.bound(x, edge_index), by_rows=False), 512)
edge_index = edge_index.clone()  # Prepared anew.
slack, before = 24 << 20, taken()
assert bound + slack < x.numel() * 4, bound
unlimited = resource.RLIM_INFINITY
resource.setrlimit(resource.RLIMIT_DATA, (before + bound + slack, unlimited))
out = spikegraph.layerwise(
    snn, x, edge_index, block_size=512, storage=f'{folder}/kept',
    output=f'{folder}/out.npy',
)
try:
    torch.empty(bound + 2 * slack, dtype=torch.uint8)
    bites = False
except (MemoryError, RuntimeError):
    bites = True
resource.setrlimit(resource.RLIMIT_DATA, (unlimited, unlimited))
is_same = torch.equal(out, snn(x.clone(), edge_index))
print(json.dumps({'bites': bites, 'is_same': is_same, 'shape': list(out.shape)}))
"""


def test_features_larger_than_memory(tmp_path):
    command = [sys.executable, '-W', 'ignore', '-c', SCRIPT, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found == {'bites': True, 'is_same': True, 'shape': [100_000, 8]}


@pytest.mark.parametrize('model', [GCN, GAT, GraphSAGE])
def test_bound_grows_with_blocks_and_edges(model):
    torch.manual_seed(0)
    x, edge_index = torch.randn(500, 16), torch.randint(500, (2, 5000))
    snn = convert(model(16, 8, 2, 4), (x, edge_index))

    def bound(num_edges, block_size):
        inputs = snn.bound(x, edge_index[:, :num_edges])
        return block_bytes(Staged(snn, inputs, by_rows=False), block_size)

    assert bound(5000, 10) < bound(5000, 100) < bound(5000, 500)
    assert bound(500, 100) < bound(5000, 100)
    assert bound(5000, 500) == bound(5000, 5000)
