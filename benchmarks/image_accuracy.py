"""What conversion costs image classifiers: accuracy, agreement, logits, spikes.

    python benchmarks/image_accuracy.py --models mobilenet
    python benchmarks/image_accuracy.py --num-steps 24 --weights DIR

Trains one network per dataset, model and seed, or loads its state dict from
DIR/DATASET_MODEL_SEED.pt, and converts it with one scale per
channel. Calibration reads 1,020 training images and no label; accuracy is that of
all test images. Every dataset and model has a file in --output, written seed by
seed, so that an interrupted run goes on where it stopped.
"""

import argparse

from node_accuracy import COLUMNS
from records import add_arguments, print_table, run_networks


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    models = ['vit', 'mobilenet']
    add_arguments(parser, datasets=['mnist'], models=models, seeds=1)
    records = run_networks('image_accuracy', parser.parse_args())
    print_table(records, COLUMNS)


if __name__ == '__main__':
    main()
