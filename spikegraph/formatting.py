"""Results as text, for humans."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spikegraph.experiment import Experiment, Sweep

# Metric: label, unit, decimals.
_METRICS = {
    'ann_accuracy': ('ANN accuracy', '%', 2),
    'snn_accuracy': ('SNN accuracy', '%', 2),
    'loss_points': ('accuracy loss', 'points', 2),
    'agreement': ('agreement with the ANN', '%', 2),
    'logit_relative_error': ('relative logit error', '', 4),
    'spikes_per_neuron': ('spikes per neuron', '', 4),
    'energy_ratio_compute': ('energy ratio, compute only', 'x', 2),
    'energy_ratio_compute_sparse_ann': ('  ANN skips zeros', 'x', 2),
    'energy_ratio_memory': ('energy ratio, with memory', 'x', 3),
    'energy_ratio_memory_sparse_ann': ('  ANN skips zeros', 'x', 3),
}
_SECONDS = {
    'training': 'training',
    'conversion': 'conversion',
    'ann_forward': 'ANN forward',
    'snn_forward': 'SNN forward',
}
_COLUMNS = {
    'loss_points': ('loss, points', 2),
    'agreement': ('agreement, %', 2),
    'spikes_per_neuron': ('spikes/neuron', 3),
    'energy_ratio_compute': ('compute only', 2),
    'energy_ratio_compute_sparse_ann': ('ANN skips 0', 2),
    'energy_ratio_memory': ('with memory', 3),
    'energy_ratio_memory_sparse_ann': ('ANN skips 0', 3),
}


def format_experiment(result: Experiment) -> str:
    """The report of ``spikegraph run``."""
    summary, seconds = result.summary(), result.seconds()
    first, num_steps = result.runs[0], result.config.num_steps
    steps, populations = summary['latency_steps'], summary['populations']
    lines = [*_headline(result), '']
    for name, (label, unit, digits) in _METRICS.items():
        lines.append(f'{label:<27}{_cell(summary[name], digits):>15} {unit}'.rstrip())
    lines += [
        f'{"latency":<27}{steps:>15} steps ({populations} populations, windows of '
        f'{num_steps} steps)',
        f'{"  pipelined":<27}{num_steps:>15} steps from one result to the next',
    ]
    for name, label in _SECONDS.items():
        lines.append(f'{label:<27}{_cell(seconds[name], 3):>15} s')
    seed = f'seed {first.trained.seed}'
    lines += ['', f'Conversion ({seed})', str(first.snn.report)]
    title = f'Operations of one inference over the whole graph ({seed})'
    return '\n'.join([*lines, '', title, str(first.measurement)])


def format_sweep(result: Sweep) -> str:
    """The report of ``spikegraph sweep``."""
    accuracy = _cell(result.rows[0]['ann_accuracy'], 2)
    wide, rule = 15, 'energy ratio ANN / SNN'
    head = '  '.join(f'{label:>{wide}}' for label, _ in _COLUMNS.values())
    lines = [
        *_headline(result),
        f'ANN accuracy {accuracy} %; latency in steps',
        '',
        ' ' * (20 + 3 * (wide + 2)) + rule.rjust(2 * wide),
        f'{"T":>3}  {"base":>6}  {"latency":>7}  {head}',
    ]
    for row in result.rows:
        base = row['base'] if row['base'] == 'auto' else f'{row["base"]:.4g}'
        cells = [
            f'{_cell(row[name], digits):>{wide}}'
            for name, (_, digits) in _COLUMNS.items()
        ]
        start = f'{row["num_steps"]:>3}  {base:>6}  {row["latency_steps"]:>7}  '
        lines.append(start + '  '.join(cells))
    return '\n'.join(lines)


def _headline(result: Experiment | Sweep) -> list[str]:
    dataset, recipe = result.dataset, result.recipe
    data = dataset.data
    num_seeds = len(getattr(result, 'seeds', None) or getattr(result, 'runs', []))
    return [
        f'{dataset.name}: {dataset.description}',
        f'{data.num_nodes:,} nodes, {data.num_edges:,} edges, {dataset.num_features:,} '
        f'features, {dataset.num_classes} classes; {int(data.train_mask.sum()):,} '
        f'training and {int(data.test_mask.sum()):,} test nodes',
        f'GCN, {recipe.num_layers} layers, {recipe.hidden_channels} hidden features; '
        f'{num_seeds} seed{"s" * (num_seeds != 1)}',
    ]


def _cell(value: dict[str, float], digits: int) -> str:
    text = f'{value["mean"]:.{digits}f}'
    return f'{text} ± {value["std"]:.{digits}f}' if value['std'] > 0 else text
