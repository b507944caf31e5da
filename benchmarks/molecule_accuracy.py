"""What conversion costs networks for molecules: ROC-AUC or RMSE, logits, spikes.

    python benchmarks/molecule_accuracy.py --datasets ogbg-molhiv --models gin
    python benchmarks/molecule_accuracy.py --weights DIR

Trains one network with a virtual node per dataset, model and seed, or loads its
state dict from DIR/DATASET_MODEL_SEED.pt, and converts it with one scale
per channel.
Calibration reads 1,024 training molecules and no label; the metric is that of
all test molecules, by ogb's evaluator. Every dataset and model has a file in
--output, written seed by seed, so that an interrupted run goes on where it
stopped.
"""

import argparse

from records import add_arguments, print_table, run_networks

from spikegraph.zoo.models import GRAPH_MODELS

# Metric: label, factor, decimals. The loss in % is that of the ANN's RMSE.
COLUMNS = {
    'ann_rocauc': ('ANN ROC-AUC %', 1, 2),
    'loss_points': ('loss, points', 1, 3),
    'agreement': ('agreement %', 1, 2),
    'ann_rmse': ('ANN RMSE', 1, 4),
    'loss_percent': ('RMSE loss %', 1, 2),
    'correlation': ('correlation', 1, 4),
    'logit_relative_error': ('logit error %', 100, 2),
    'spikes_per_neuron': ('spikes/neuron', 1, 3),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    datasets = ['ogbg-molhiv', 'ogbg-molbace', 'ogbg-molesol']
    add_arguments(parser, datasets=datasets, models=[*GRAPH_MODELS], seeds=3)
    records = run_networks('molecule_accuracy', parser.parse_args())
    print_table(records, COLUMNS)


if __name__ == '__main__':
    main()
