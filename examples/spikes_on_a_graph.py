"""Draws docs/spikes.svg: spikes that travel over Zachary's karate club.

python examples/spikes_on_a_graph.py
python examples/spikes_on_a_graph.py --num-steps 16 --output FILE.svg
"""

import argparse

import torch
import torch.nn.functional as F
from torch_geometric.datasets import KarateClub
from torch_geometric.nn.models import GCN

import spikegraph
from spikegraph.plotting import animate

parser = argparse.ArgumentParser(description='Draws spikes that travel over a graph.')
parser.add_argument('--num-steps', type=int, default=8, help='time steps per layer')
parser.add_argument('--epochs', type=int, default=300)
parser.add_argument('--output', default='docs/spikes.svg')
args = parser.parse_args()

# Features: how near a member is to the four whom PyG labels, one of each community, by
# random walks that start again with a probability of 0.15.
data = KarateClub()[0]
adj = torch.zeros(34, 34)
adj[data.edge_index[0], data.edge_index[1]] = 1
walk = adj / adj.sum(dim=1, keepdim=True)
start = torch.eye(34)[:, data.train_mask]
x = start
for _ in range(50):
    x = 0.15 * start + 0.85 * walk @ x
data.x = x / x.max(dim=0).values

# Every third member is labelled in training.
torch.manual_seed(0)
known = torch.arange(34) % 3 == 0
model = GCN(in_channels=4, hidden_channels=8, num_layers=2, out_channels=4)
optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
for _ in range(args.epochs):
    optimizer.zero_grad()
    out = model(data.x, data.edge_index)
    F.cross_entropy(out[known], data.y[known]).backward()
    optimizer.step()
model.eval()

# One scale for all features, so that near members fire first.
config = spikegraph.ConversionConfig(num_steps=args.num_steps, input_scale='layer')
snn = spikegraph.convert(model, data, config)
simulation = spikegraph.simulate(snn, data.x, data.edge_index)
for name, found in (
    ('ANN', model(data.x, data.edge_index)),
    ('SNN', simulation.output),
):
    correct = (found.argmax(dim=1) == data.y)[~known]
    print(f'{name}: {int(correct.sum())} of {len(correct)} other members')

picture = animate(
    simulation,
    data,
    title='A graph network in spikes: every neuron fires at most once',
    labels={'input_x': 'features fire', 'act': 'hidden layer fires'},
)
picture.save(args.output)
print(f'{args.output}: {len(picture.svg):,} bytes')
