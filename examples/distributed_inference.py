"""Runs a converted network over several processes, each with a part of the graph.

torchrun --nproc-per-node 2 examples/distributed_inference.py
torchrun --nproc-per-node 4 examples/distributed_inference.py --dataset pubmed --root DIR
"""

import argparse
import os

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch_geometric.nn.models import GraphSAGE

import spikegraph
from spikegraph.zoo.datasets import DATASETS, load_dataset

GRAPHS = [name for name, info in DATASETS.items() if info.num_graphs == 1]

parser = argparse.ArgumentParser(description='Runs a network over several processes.')
parser.add_argument('--dataset', default='digits', choices=GRAPHS)
parser.add_argument('--root', help='the folder of the datasets')
parser.add_argument('--epochs', type=int, default=200)
parser.add_argument('--num-steps', type=int, default=15, help='time steps per layer')
args = parser.parse_args()
if 'RANK' not in os.environ:
    parser.error(
        'start several processes: torchrun --nproc-per-node 2 '
        'examples/distributed_inference.py'
    )
dist.init_process_group('gloo')
rank, size = dist.get_rank(), dist.get_world_size()

dataset = load_dataset(args.dataset, args.root)
data = dataset.data
torch.manual_seed(0)
model = GraphSAGE(
    in_channels=dataset.num_features,
    hidden_channels=64,
    num_layers=2,
    out_channels=dataset.num_classes,
    aggr='max',
)

# The first process trains; all others get its weights.
if rank == 0:
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(args.epochs):
        optimizer.zero_grad()
        out = model(data.x, data.edge_index)
        F.cross_entropy(out[data.train_mask], data.y[data.train_mask]).backward()
        optimizer.step()
for parameter in model.parameters():
    dist.broadcast(parameter.data, src=0)
model.eval()

# Each process gives calibration data of its own; all of them get the same network.
config = spikegraph.ConversionConfig(num_steps=args.num_steps)
snn = spikegraph.convert(model, data, config, group='all')

# Each process owns some of the nodes. METIS cuts fewer edges, but has to be installed:
# pip install 'spikegraph[partition]'
partition = spikegraph.partition_graph(data, size, 'hash')
distributed = spikegraph.DistributedModel(snn, data, partition=partition)
result = distributed.run()
num_nodes, num_bytes = result.values.size(0), result.bytes_sent
# In one piece, as others print, too.
print(
    f'process {rank}: {num_nodes:,} nodes, {num_bytes:,} B sent\n', end='', flush=True
)

out = distributed.gather(result)  # In the first process.
if rank == 0:
    print(f'\n{result}')
    with torch.no_grad():
        ann, alone = model(data.x, data.edge_index), snn(data)

    def accuracy(out: torch.Tensor) -> float:
        correct = out.argmax(dim=-1) == data.y
        return 100 * float(correct[data.test_mask].float().mean())

    print(f'\ntest accuracy: ANN {accuracy(ann):.2f} %, SNN {accuracy(out):.2f} %')
    print(f'the outputs are those of one process: {torch.equal(out, alone)}')
dist.destroy_process_group()
