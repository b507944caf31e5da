"""What conversion costs node classifiers: accuracy, agreement, logits, spikes.

    python benchmarks/node_accuracy.py --datasets cora --models gcn sage gin
    python benchmarks/node_accuracy.py --weights DIR

Trains one network per dataset, model and seed, or loads its state dict from
DIR/DATASET_MODEL_SEED.pt, and converts it with one scale per
channel. Calibration reads all node features and no label; accuracy is that of the
test nodes. Every dataset and model has a file in --output, written seed by seed,
so that an interrupted run goes on where it stopped.
"""

import argparse

from records import add_arguments, print_table, run_networks

from spikegraph.zoo.models import NODE_MODELS

# Metric: label, factor, decimals.
COLUMNS = {
    'ann_accuracy': ('ANN %', 1, 2),
    'loss_points': ('loss, points', 1, 3),
    'agreement': ('agreement %', 1, 2),
    'logit_relative_error': ('logit error %', 100, 2),
    'spikes_per_neuron': ('spikes/neuron', 1, 3),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    datasets = ['cora', 'pubmed', 'photo']
    add_arguments(parser, datasets=datasets, models=[*NODE_MODELS], seeds=5)
    records = run_networks('node_accuracy', parser.parse_args())
    print_table(records, COLUMNS)


if __name__ == '__main__':
    main()
