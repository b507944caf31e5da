"""Train, convert, evaluate, measure: one network, several seeds, or a sweep."""

from spikegraph.experiment.evaluation import evaluate, evaluate_graphs
from spikegraph.experiment.results import (
    Experiment,
    Run,
    Sweep,
    describe,
    summarize,
    versions,
)
from spikegraph.experiment.runs import run_conversion, run_experiment, run_sweep

__all__ = [
    'Experiment',
    'Run',
    'Sweep',
    'describe',
    'evaluate',
    'evaluate_graphs',
    'run_conversion',
    'run_experiment',
    'run_sweep',
    'summarize',
    'versions',
]
