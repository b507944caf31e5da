"""What conversion costs a graph auto-encoder that predicts links: AUC, logits, spikes.

    python benchmarks/link_prediction.py
    python benchmarks/link_prediction.py --num-steps 24 --weights DIR

Trains the auto-encoder of Kipf and Welling (2016) on 85 % of the edges, two GCN
layers and inner products, or loads its state dict from DIR/DATASET_gae_SEED.pt, and
converts it, inner products included. The AUC is that of 10 % of the edges and as
many pairs without one. Each seed draws its own split. The results are written seed
by seed, so that an interrupted run goes on where it stopped.
"""

import argparse
import functools
from pathlib import Path

import torch
from records import RESULTS, print_table, run_seeds
from sklearn.metrics import average_precision_score, roc_auc_score
from torch import nn
from torch_geometric import seed_everything
from torch_geometric.nn import GAE, GCNConv
from torch_geometric.transforms import RandomLinkSplit

from spikegraph import ConversionConfig, convert, measure
from spikegraph.zoo.datasets import load_dataset
from spikegraph.zoo.experiment import summarize

HIDDEN, LATENT, EPOCHS = 32, 16, 200  # As published, with a learning rate of 0.01.
COLUMNS = {
    'ann_auc': ('ANN AUC %', 1, 2),
    'loss_points': ('loss, points', 1, 3),
    'ann_ap': ('ANN AP %', 1, 2),
    'loss_ap_points': ('loss, points', 1, 3),
    'agreement': ('agreement %', 1, 2),
    'logit_relative_error': ('logit error %', 100, 2),
    'spikes_per_neuron': ('spikes/neuron', 1, 3),
}


class Encoder(nn.Module):
    def __init__(self, in_channels):
        super().__init__()
        self.conv1 = GCNConv(in_channels, HIDDEN)
        self.conv2 = GCNConv(HIDDEN, LATENT)

    def forward(self, x, edge_index):
        return self.conv2(self.conv1(x, edge_index).relu(), edge_index)


class LinkPredictor(nn.Module):
    """Scores pairs of nodes by the inner products of what they are encoded as."""

    def __init__(self, in_channels):
        super().__init__()
        self.encoder = Encoder(in_channels)

    def forward(self, x, edge_index, pairs):
        z = self.encoder(x, edge_index)
        return (z[pairs[0]] * z[pairs[1]]).sum(dim=-1)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--dataset', default='cora')
    parser.add_argument('--num-steps', type=int, default=16)
    parser.add_argument('--seeds', type=int, default=5)
    parser.add_argument('--weights', type=Path, help='folder of DATASET_gae_SEED.pt')
    parser.add_argument('--root', help='folder of the datasets')
    parser.add_argument('--output', type=Path, default=RESULTS)
    return parser.parse_args()


def split(data, seed):
    """Parts of the graph for training, validation and testing, of one seed."""
    seed_everything(seed)  # Of PyG's sampling of pairs, too.
    return RandomLinkSplit(
        num_val=0.05,
        num_test=0.1,
        is_undirected=True,
        split_labels=True,
        add_negative_train_samples=False,
    )(data)


def train(data, seed):
    seed_everything(seed)
    model = LinkPredictor(data.num_features)
    gae = GAE(model.encoder)
    optimizer = torch.optim.Adam(gae.parameters(), lr=0.01)
    for _ in range(EPOCHS):
        optimizer.zero_grad()
        z = gae.encode(data.x, data.edge_index)
        gae.recon_loss(z, data.pos_edge_label_index).backward()
        optimizer.step()
    return model.eval()


def load(data, path):
    model = LinkPredictor(data.num_features)
    model.load_state_dict(torch.load(path, weights_only=True))
    return model.eval()


@torch.no_grad()
def run_seed(arguments, seed):
    data = load_dataset(arguments.dataset, arguments.root).data
    training, validation, testing = split(data, seed)
    if arguments.weights is None:
        with torch.enable_grad():
            model = train(training, seed)
    else:
        name = f'{arguments.dataset}_gae_{seed}.pt'
        model = load(training, arguments.weights / name)
    calls = [inputs(part) for part in (validation, testing)]
    config = ConversionConfig(num_steps=arguments.num_steps, per_channel=True)
    snn = convert(model, calls[0], config)
    assert snn.report.analog == {}
    ann, spiking = model(*calls[1]), snn(*calls[1])
    y = torch.zeros(len(ann))
    y[: testing.pos_edge_label_index.size(1)] = 1
    scores = {
        name: [100 * score(y, out) for out in (ann, spiking)]
        for name, score in (('auc', roc_auc_score), ('ap', average_precision_score))
    }
    measurement = measure(snn, calls[1], model)
    return {
        'ann_auc': scores['auc'][0],
        'snn_auc': scores['auc'][1],
        'loss_points': scores['auc'][0] - scores['auc'][1],
        'ann_ap': scores['ap'][0],
        'snn_ap': scores['ap'][1],
        'loss_ap_points': scores['ap'][0] - scores['ap'][1],
        'agreement': 100 * float(((ann > 0) == (spiking > 0)).double().mean()),
        'logit_relative_error': float((spiking - ann).norm() / ann.norm()),
        'spikes_per_neuron': measurement.spikes_per_neuron,
        'delays': measurement.total.delays,
        **measurement.energy_ratios(),
    }


def inputs(part):
    """Features, edges that are known, and pairs: first those that are edges."""
    pairs = [part.pos_edge_label_index, part.neg_edge_label_index]
    return part.x, part.edge_index, torch.cat(pairs, dim=1)


def run(arguments):
    steps = '' if arguments.num_steps == 16 else f'_T{arguments.num_steps}'
    return run_seeds(
        arguments.output / f'link_prediction_{arguments.dataset}{steps}.json',
        f'{arguments.dataset} gae',
        arguments.seeds,
        functools.partial(run_seed, arguments),
        summarize=lambda seeds: summarize(list(seeds.values())),
        dataset=arguments.dataset,
        model='gae',
        num_steps=arguments.num_steps,
        weights='trained' if arguments.weights is None else 'loaded',
    )


def main():
    arguments = parse_arguments()
    print_table({(arguments.dataset, 'gae'): run(arguments)}, COLUMNS)


if __name__ == '__main__':
    main()
