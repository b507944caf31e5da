"""Train, convert, evaluate, measure: one network, several seeds, or a sweep."""

from spikegraph.zoo.experiment.evaluation import (
    evaluate,
    evaluate_graphs,
    evaluate_images,
)
from spikegraph.zoo.experiment.results import (
    Experiment,
    Run,
    Sweep,
    describe,
    summarize,
    versions,
)
from spikegraph.zoo.experiment.runs import (
    default_config,
    run_conversion,
    run_experiment,
    run_sweep,
)

__all__ = [
    'Experiment',
    'Run',
    'Sweep',
    'default_config',
    'describe',
    'evaluate',
    'evaluate_graphs',
    'evaluate_images',
    'run_conversion',
    'run_experiment',
    'run_sweep',
    'summarize',
    'versions',
]
