"""Results as text, for humans."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spikegraph.zoo.datasets import IMAGE_DATASETS, GraphDataset, ImageDataset
from spikegraph.zoo.experiment import describe
from spikegraph.zoo.experiment.evaluation import BATCH_SIZE
from spikegraph.zoo.models import ImageRecipe

if TYPE_CHECKING:
    from spikegraph.zoo.experiment import Experiment, Sweep

_UNIT = 'UNIT'  # Of the property that is predicted.
# Metric: label, unit, decimals.
_METRICS = {
    'ann_rocauc': ('ANN ROC-AUC', '%', 2),
    'snn_rocauc': ('SNN ROC-AUC', '%', 2),
    'ann_rmse': ('ANN RMSE', _UNIT, 4),
    'snn_rmse': ('SNN RMSE', _UNIT, 4),
    'loss_rmse': ('RMSE increase', _UNIT, 4),
    'loss_percent': ('', '% of that of the ANN', 2),
    'correlation': ('correlation with the ANN', '', 4),
    'ann_accuracy': ('ANN accuracy', '%', 2),
    'snn_accuracy': ('SNN accuracy', '%', 2),
    'loss_points': ('accuracy loss', 'points', 2),
    'agreement': ('agreement with the ANN', '%', 2),
    'logit_relative_error': ('relative logit error', '%', 2),
    'spikes_per_neuron': ('spikes per neuron', '', 4),
    'energy_ratio_compute': ('energy ratio, compute only', 'x', 2),
    'energy_ratio_compute_sparse_ann': ('  ANN skips zeros', 'x', 2),
    'energy_ratio_memory': ('energy ratio, with memory', 'x', 3),
    'energy_ratio_memory_sparse_ann': ('  ANN skips zeros', 'x', 3),
    'energy_ratio_event_memory': ('with memory, event-driven', 'x', 3),
    'energy_ratio_event_memory_sparse_ann': ('  ANN skips zeros', 'x', 3),
}
_FRACTIONS = {'logit_relative_error'}  # Printed in percent.
_MODELS = {
    'gcn': 'GCN',
    'sage': 'GraphSAGE (mean)',
    'sage-max': 'GraphSAGE (max)',
    'gin': 'GIN',
    'sgc': 'SGC',
    'appnp': 'APPNP',
    'gcn2': 'GCNII',
    'resgcn': 'residual GCN',
    'gat': 'GAT',
    'gatv2': 'GATv2',
    'transformer': 'graph transformer',
    'gps': 'GPS',
    'gcn-layernorm': 'GCN with layer norm',
    'gcn-graphnorm': 'GCN with graph norm',
    'resgated': 'residual gated GCN',
    'film': 'GNN-FiLM',
    'gin-set2set': 'GIN with Set2Set',
    'cnn': 'CNN',
    'resnet20': 'ResNet-20',
    'vit': 'vision transformer',
    'mobilenet': 'MobileNet',
}
_SECONDS = {
    'training': 'training',
    'conversion': 'conversion',
    'ann_forward': 'ANN forward',
    'snn_forward': 'SNN forward',
}
_MEMORY = {'ann_forward': 'ANN peak memory', 'snn_forward': 'SNN peak memory'}
_COLUMNS = {
    'loss_points': ('loss, points', 2),
    'loss_percent': ('loss, %', 2),
    'correlation': ('correlation', 4),
    'agreement': ('agreement, %', 2),
    'spikes_per_neuron': ('spikes/neuron', 3),
    'energy_ratio_compute': ('compute only', 2),
    'energy_ratio_compute_sparse_ann': ('ANN skips 0', 2),
    'energy_ratio_memory': ('with memory', 3),
    'energy_ratio_memory_sparse_ann': ('ANN skips 0', 3),
    'energy_ratio_event_memory': ('event-driven', 3),
    'energy_ratio_event_memory_sparse_ann': ('ANN skips 0', 3),
}


def format_experiment(result: Experiment) -> str:
    """The report of ``spikegraph run``."""
    summary, seconds = result.summary(), result.seconds()
    first, num_steps = result.runs[0], result.config.num_steps
    lines = [*_headline(result), '']
    for name, (label, unit, digits) in _METRICS.items():
        if name not in summary:
            continue
        if unit == _UNIT:
            unit = getattr(result.dataset, 'unit', '')
        if name == 'loss_points' and 'ann_rocauc' in summary:
            label = 'ROC-AUC loss'
        value = summary[name]
        if name in _FRACTIONS:
            value = {key: 100 * number for key, number in value.items()}
        lines.append(f'{label:<27}{_cell(value, digits):>15} {unit}'.rstrip())
    lines += [
        f'{"latency":<27}{summary["latency_steps"]:>15} steps '
        f'({_windows(summary, num_steps)})',
        f'{"  pipelined":<27}{summary["pipelined_steps"]:>15} steps from one '
        'result to the next',
    ]
    for name, label in _SECONDS.items():
        if name == 'training' and result.weights is not None:
            continue
        over = f' ({_timed(result)})' if name.endswith('forward') else ''
        lines.append(f'{label:<27}{_cell(seconds[name], 3):>15} s{over}')
    for name, value in (result.peak_memory_bytes() or {}).items():
        start = f'{_MEMORY[name]:<27}'
        if value is None:
            lines.append(f'{start}{"not available":>15} (Linux tells it, or a GPU)')
            continue
        megabytes = {key: number / 1e6 for key, number in value.items()}
        lines.append(f'{start}{_cell(megabytes, 1):>15} MB ({_timed(result)})')
    seed = '' if result.weights is not None else f' (seed {first.trained.seed})'
    lines += ['', f'Conversion{seed}', str(first.snn.report)]
    whole = 'one inference over the whole graph'
    sizes = describe(result.dataset, result.recipe)['dataset']
    for kind, things in ((GraphDataset, 'graphs'), (ImageDataset, 'images')):
        if isinstance(result.dataset, kind):
            whole = f'{sizes["num_measured"]} test {things}'
    title = f'Operations of {whole}{seed}'
    return '\n'.join([*lines, '', title, str(first.measurement)])


def format_sweep(result: Sweep) -> str:
    """The report of ``spikegraph sweep``."""
    first, wide, rule = result.rows[0], 15, 'energy ratio ANN / SNN'
    columns = {name: column for name, column in _COLUMNS.items() if name in first}
    ratios = [name for name in columns if name.startswith('energy')]
    name = next(name for name in first if name.startswith('ann_'))
    label, unit, digits = _METRICS[name]
    unit = getattr(result.dataset, 'unit', '') if unit == _UNIT else unit
    head = '  '.join(f'{label:>{wide}}' for label, _ in columns.values())
    indent = 20 + (len(columns) - len(ratios)) * (wide + 2)
    lines = [
        *_headline(result),
        f'{label} {_cell(first[name], digits)} {unit}; latency in steps',
        '',
        ' ' * indent + rule.rjust(2 * wide),
        f'{"T":>3}  {"base":>6}  {"latency":>7}  {head}',
    ]
    for row in result.rows:
        base = row['base'] if row['base'] == 'auto' else f'{row["base"]:.4g}'
        cells = [
            f'{_cell(row[name], digits):>{wide}}'
            for name, (_, digits) in columns.items()
        ]
        start = f'{row["num_steps"]:>3}  {base:>6}  {row["latency_steps"]:>7}  '
        lines.append(start + '  '.join(cells))
    return '\n'.join(lines)


def _headline(result: Experiment | Sweep) -> list[str]:
    dataset, recipe = result.dataset, result.recipe
    num_seeds = len(getattr(result, 'seeds', None) or getattr(result, 'runs', []))
    network = [_MODELS[recipe.model]]
    if getattr(recipe, 'virtual_node', False):
        network.append('virtual node')
    if isinstance(recipe, ImageRecipe):
        if recipe.hidden_channels > 0:
            network.append(f'{recipe.hidden_channels} channels in the first layer')
    else:
        steps = 'propagation steps' if recipe.model in ('sgc', 'appnp') else 'layers'
        network.append(f'{recipe.num_layers} {steps}')
        if recipe.hidden_channels > 0:
            network.append(f'{recipe.hidden_channels} hidden features')
    origin = f'{num_seeds} seed{"s" * (num_seeds != 1)}'
    if result.weights is not None:
        origin = f'weights from {result.weights}'
    return [
        f'{dataset.name}: {dataset.description}',
        *_sizes(result),
        f'{", ".join(network)}; {origin}',
    ]


def _windows(summary: dict[str, Any], num_steps: int) -> str:
    """What the steps of the latency are: a window for each population on the
    longest path, and one in which the output charges; those of products are longer.
    """
    total, longest = summary['populations'], summary['pipelined_steps']
    noun = 'population' if total == 1 else 'populations'
    if longest > num_steps or summary['latency_steps'] % num_steps:
        return f'{total} {noun} and the read-out, windows of up to {longest} steps'
    depth = summary['latency_steps'] // num_steps - 1
    in_a_row = f'{total}' if depth == total else f'{depth} in a row of {total}'
    return f'{in_a_row} {noun} and the read-out, {num_steps} steps each'


def _timed(result: Experiment) -> str:
    """What a forward pass is timed over: the first of the measured batches."""
    dataset = result.dataset
    if not isinstance(dataset, (GraphDataset, ImageDataset)):
        return 'whole graph'
    num = describe(dataset, result.recipe)['dataset']['num_measured']
    things = 'graphs' if isinstance(dataset, GraphDataset) else 'images'
    return f'batch of {min(num, BATCH_SIZE)} {things}'


def _sizes(result: Experiment | Sweep) -> list[str]:
    dataset = result.dataset
    sizes = describe(dataset, result.recipe)['dataset']
    if isinstance(dataset, GraphDataset):
        return [
            f'{sizes["num_train"]:,} training, {sizes["num_val"]:,} validation and '
            f'{sizes["num_test"]:,} test graphs',
            _calibration(sizes, 'graphs'),
        ]
    if isinstance(dataset, ImageDataset):
        size = ' x '.join(map(str, dataset.image_size))
        return [
            f'{sizes["num_train"]:,} training and {sizes["num_test"]:,} test images, '
            f'{size} pixels, {dataset.num_classes} classes{_subset(dataset)}',
            _calibration(sizes, 'images', result.mirror),
        ]
    data = dataset.data
    return [
        f'{data.num_nodes:,} nodes, {data.num_edges:,} edges, {dataset.num_features:,} '
        f'features, {dataset.num_classes} classes; {int(data.train_mask.sum()):,} '
        f'training and {int(data.test_mask.sum()):,} test nodes'
    ]


def _subset(dataset: ImageDataset) -> str:
    info = IMAGE_DATASETS.get(dataset.name)
    if info is None or len(dataset.train_x) + len(dataset.test_x) >= info.num_images:
        return ''
    return f'; a subset of the {info.num_images:,} images of {info.name}'


def _calibration(sizes: dict[str, Any], things: str, mirror: bool = False) -> str:
    twice = ', also mirrored' if mirror else ''
    return (
        f'calibrated on {sizes["num_calibration"]:,} training {things}{twice}, without '
        f'labels; operations counted on {sizes["num_measured"]:,} test {things}'
    )


def _cell(value: dict[str, float], digits: int) -> str:
    text = f'{value["mean"]:.{digits}f}'
    return f'{text} ± {value["std"]:.{digits}f}' if value['std'] > 0 else text
