"""Trains a PyG GCN, converts it into a one-spike network, and checks the result.

python examples/convert_gcn.py
python examples/convert_gcn.py --dataset cora --root DIR --num-steps 8
"""

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import torch.nn.functional as F
from torch_geometric.nn.models import GCN

import spikegraph
from spikegraph.zoo.datasets import DATASETS, load_dataset

GRAPHS = [name for name, info in DATASETS.items() if info.num_graphs == 1]

parser = argparse.ArgumentParser(description='Converts a PyG GCN.')
parser.add_argument('--dataset', default='digits', choices=GRAPHS)
parser.add_argument('--root', help='the folder of the datasets')
parser.add_argument('--epochs', type=int, default=200)
parser.add_argument('--num-steps', type=int, default=16, help='time steps per layer')
args = parser.parse_args()

torch.manual_seed(0)
dataset = load_dataset(args.dataset, args.root)
data = dataset.data

# Train the ANN as always; the library wants nothing of it but ReLU.
model = GCN(
    in_channels=dataset.num_features,
    hidden_channels=64,
    num_layers=2,
    out_channels=dataset.num_classes,
    dropout=0.5,
)
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
for _ in range(args.epochs):
    optimizer.zero_grad()
    out = model(data.x, data.edge_index)
    F.cross_entropy(out[data.train_mask], data.y[data.train_mask]).backward()
    optimizer.step()
model.eval()

# Convert: no labels, no gradients; the model stays as it is.
config = spikegraph.ConversionConfig(num_steps=args.num_steps)
snn = spikegraph.convert(model, data, config)
print(snn.report)


def accuracy(net: torch.nn.Module) -> float:
    with torch.no_grad():
        correct = net(data.x, data.edge_index).argmax(dim=-1) == data.y
    return 100 * float(correct[data.test_mask].float().mean())


print(f'\ntest accuracy: ANN {accuracy(model):.2f} %, SNN {accuracy(snn):.2f} %')

# Run every time step. The closed form, `snn(...)`, gives the same spikes: in float64
# always, in float32 unless a potential lies within rounding of a threshold.
simulation = spikegraph.simulate(snn, data.x, data.edge_index)
events = simulation.events()
closed_form = snn.spikes(data.x, data.edge_index)
num_other = sum(
    int((closed_form[name].spike_time != time).sum())
    for name, time in simulation.spike_time.items()
)
print(
    f'{len(events):,} spikes in {simulation.num_steps} time steps; {num_other} spike '
    'times differ from the closed form'
)

# Count operations and joules.
print(f'\n{spikegraph.measure(snn, data, model)}')

# Save and load: tensors and JSON, no code.
with TemporaryDirectory() as folder:
    path = Path(folder) / 'gcn.safetensors'
    spikegraph.save(snn, path)
    again = spikegraph.load(path, model)
    same = torch.equal(again(data.x, data.edge_index), snn(data.x, data.edge_index))
    print(f'\nsaved {path.stat().st_size:,} bytes; the loaded network agrees: {same}')
