"""Draws the pictures of the pages: python docs/pictures.py"""

from pathlib import Path

import torch

from spikegraph import PhaseCode
from spikegraph.plotting import plot_attention, plot_neuron

FOLDER = Path(__file__).parent


def main():
    values = torch.tensor([1.0, 0.55, 0.3, 0.02])
    weights = torch.tensor([0.5, -0.4, 0.9, 0.7])
    plot_neuron(values, weights, PhaseCode(8, 1.5)).savefig(FOLDER / 'idea.png')
    scores, values = torch.tensor([1.2, 0.4, -0.7]), torch.tensor([0.3, 1.0, 0.4])
    figure = plot_attention(scores, values, PhaseCode(8, 1.4))
    figure.savefig(FOLDER / 'arithmetic.png')


if __name__ == '__main__':
    main()
