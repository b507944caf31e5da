"""How long a spiking graph attention network takes, and how much memory.

    python benchmarks/attention_speed.py
    python benchmarks/attention_speed.py --graphs arxiv --shrink 100 --no-memory

As gcn_speed.py, for graph attention networks: of the size of ogbn-arxiv one of three
layers, 4 heads of 64 features and one of 40, not trained; on Cora and PubMed that of
the recipe, trained. The ANN runs on edge indices. Attention itself is not counted in the
limit.
"""

import sys

from gcn_speed import run
from networks import untrained_gat

NAME = 'attention_speed'
NAMES = ('SNN, edge_index', 'SNN, edge_index, new graph', 'ANN, edge_index')


def main():
    script = sys.modules[__name__]
    # Coefficients that nobody trained average away what nodes differ in.
    run(script, ['arxiv', 'cora', 'pubmed'], untrained_gat, 'gat', NAMES, 0.3)


if __name__ == '__main__':
    main()
