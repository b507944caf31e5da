"""Trains a CNN, converts it into a one-spike network, and checks the result.

python examples/convert_cnn.py
python examples/convert_cnn.py --dataset mnist --root DIR --epochs 5 --num-steps 24
"""

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import torch.nn.functional as F

import spikegraph
from spikegraph.zoo.datasets import load_images
from spikegraph.zoo.models import CNN

parser = argparse.ArgumentParser(description='Converts a CNN.')
parser.add_argument('--dataset', default='digits', choices=['digits', 'mnist'])
parser.add_argument('--root', help='the folder of the datasets')
parser.add_argument('--epochs', type=int, default=20)
parser.add_argument('--num-steps', type=int, default=16, help='time steps per layer')
args = parser.parse_args()

torch.manual_seed(0)
dataset = load_images(args.dataset, args.root)

# Train the ANN as always: convolutions, batch normalization, ReLU, max pooling.
model = CNN(dataset.image_size, dataset.num_classes)
optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
for _ in range(args.epochs):
    for batch in torch.randperm(len(dataset.train_x)).split(64):
        optimizer.zero_grad()
        out = model(dataset.normalize(dataset.train_x[batch]))
        F.cross_entropy(out, dataset.train_y[batch]).backward()
        optimizer.step()
model.eval()

# Convert: batches of training images, no labels, no gradients; the model stays as it
# is. For images, levels are fitted, and every channel has a scale of its own.
config = spikegraph.ConversionConfig(num_steps=args.num_steps)
batches = [dataset.normalize(x) for x in dataset.train_x[:1020].split(128)]
snn = spikegraph.convert(model, batches, config)
print(snn.report)


def accuracy(net: torch.nn.Module) -> float:
    with torch.no_grad():
        out = [net(dataset.normalize(x)) for x in dataset.test_x.split(128)]
    correct = torch.cat(out).argmax(dim=-1) == dataset.test_y
    return 100 * float(correct.float().mean())


print(f'\ntest accuracy: ANN {accuracy(model):.2f} %, SNN {accuracy(snn):.2f} %')

# Run every time step, for a few images. The closed form, `snn(...)`, gives the same
# spikes: in float64 always, in float32 unless a potential lies within rounding of a
# threshold.
images = dataset.normalize(dataset.test_x[:8])
simulation = spikegraph.simulate(snn, images)
events = simulation.events()
closed_form = snn.spikes(images)
num_other = sum(
    int((closed_form[name].spike_time != time).sum())
    for name, time in simulation.spike_time.items()
)
print(
    f'{len(events):,} spikes of {len(images)} images in {simulation.num_steps} time '
    f'steps; {num_other} spike times differ from the closed form'
)

# Count operations and joules.
print(f'\n{spikegraph.measure(snn, images, model)}')

# Save and load: tensors and JSON, no code.
with TemporaryDirectory() as folder:
    path = Path(folder) / 'cnn.safetensors'
    spikegraph.save(snn, path)
    same = torch.equal(spikegraph.load(path, model)(images), snn(images))
    print(f'\nsaved {path.stat().st_size:,} bytes; the loaded network agrees: {same}')
