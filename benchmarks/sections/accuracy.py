"""What conversion costs: nodes, images, links and molecules."""

import statistics

from sections.common import fixed, mean_std, table, title

EIGHT = ('gcn', 'sage', 'sage-max', 'gin', 'sgc', 'appnp', 'gcn2', 'resgcn')
OTHERS = ('gat', 'gatv2', 'transformer', 'gps', 'gcn-layernorm', 'gcn-graphnorm')
OTHERS += ('resgated', 'film')
GRAPHS = ('cora', 'citeseer', 'pubmed', 'photo', 'computers')


def gcns(results):
    """Two-layer GCNs at several numbers of steps, and the paper's plain code."""
    names = [f'gcn_accuracy_{name}' for name in GRAPHS]
    names = [name for name in names if name in results.names]
    if not names:
        return None
    records, blocks = [results.read(name) for name in names], []
    for levels, what in (('geometric', 'Default options'), ('fitted', 'Fitted levels')):
        cells = [f'T={t} {levels}' for t in records[0]['num_steps']]
        rows = []
        for record in records:
            found = [record['summary'][cell] for cell in cells]
            shown = [
                f'{mean_std(c["loss_points"])}, {c["agreement"]["mean"]:.1f}'
                for c in found
            ]
            ann = found[0]['ann_accuracy']['mean']
            rows.append([title(record['dataset']), f'{ann:.2f}', *shown])
        means = []
        for cell in cells:
            found = [record['summary'][cell] for record in records]
            loss = statistics.fmean(c['loss_points']['mean'] for c in found)
            same = statistics.fmean(c['agreement']['mean'] for c in found)
            means.append(f'{fixed(loss)}, {same:.1f}')
        rows.append(['mean', '', *means])
        heads = [cell.split()[0].replace('=', ' = ') for cell in cells]
        blocks.append(table([what, 'ANN, %', *heads], rows))
    plain = [c for c in records[0]['summary'] if 'base=' in c]
    rows = [
        [
            cell.replace('=', ' = ').replace('max', 'largest value as scale,'),
            mean_std(records[0]['summary'][cell]['loss_points']),
            f'{records[0]["summary"][cell]["agreement"]["mean"]:.1f}',
        ]
        for cell in plain
    ]
    return [
        'Two-layer GCNs: mean ± standard deviation of the loss in points, and agreement '
        "with the ANN's predictions in percent, on the test nodes. Splits: public for the "
        'citation graphs, one fixed random split for the Amazon graphs.',
        *blocks,
        'The code of the paper, with nothing else, on Cora:',
        table(['', 'loss, points', 'agreement, %'], rows),
    ]


def _networks(results, models, datasets, suffix=''):
    found = {}
    for model in models:
        for dataset in datasets:
            name = f'node_accuracy_{dataset}_{model}{suffix}'
            if name in results.names:
                found.setdefault(model, {})[dataset] = results.read(name)
    return found


def _cell(record):
    if record is None:
        return ''
    row = record['summary']
    loss, seeds = row['loss_points'], len(record['seeds'])
    shown = mean_std(loss) if seeds > 1 else fixed(loss['mean'])
    few = '' if seeds == 5 else f' ({seeds} seeds)' if seeds > 1 else ' (one seed)'
    ann, same = row['ann_accuracy']['mean'], row['agreement']['mean']
    return f'{ann:.1f}; {shown}, {same:.1f}{few}'


def _table_of_nodes(found, datasets):
    rows = [
        [title(model), *(_cell(row.get(dataset)) for dataset in datasets)]
        for model, row in found.items()
    ]
    return table(['', *map(title, datasets)], rows)


def nodes(results):
    """Networks of nodes other than attention."""
    datasets = ('cora', 'pubmed', 'photo')
    found = _networks(results, EIGHT, datasets)
    if not found:
        return None
    losses = {
        (m, d): r['summary']['loss_points']['mean']
        for m, row in found.items()
        for d, r in row.items()
    }
    model, dataset = max(losses, key=losses.get)
    agreement = {
        (m, d): r['summary']['agreement']['mean']
        for m, row in found.items()
        for d, r in row.items()
    }
    least = min(agreement, key=agreement.get)
    collapsed = [
        (m, d, seed['ann_accuracy'])
        for m, row in found.items()
        for d, r in row.items()
        for seed in r['seeds'].values()
        if seed['ann_accuracy'] < r['summary']['ann_accuracy']['mean'] - 15
    ]
    note = ''.join(
        f' One {title(m)} on {title(d)} did not train: its ANN is at {a:.0f} %.'
        for m, d, a in collapsed
    )
    return [
        'T = 16, one scale per channel, five seeds. Accuracy of the ANN in percent; loss '
        'in points, mean ± standard deviation, and agreement in percent.',
        _table_of_nodes(found, datasets),
        f'The largest mean loss is that of {title(model)} on {title(dataset)}, '
        f'{losses[model, dataset]:.2f} points; {title(least[0])} on {title(least[1])} '
        f'agrees least, {agreement[least]:.1f} %.{note}',
    ]


def attention(results):
    """Attention, gates and norms."""
    datasets = ('cora', 'citeseer', 'pubmed', 'photo')
    found = _networks(results, OTHERS, datasets)
    if not found:
        return None
    rows = []
    for model, by_dataset in found.items():
        if 'cora' not in by_dataset:
            continue
        steps = {16: by_dataset['cora']}
        for num_steps in (8, 24):
            name = f'node_accuracy_cora_{model}_T{num_steps}'
            if name in results.names:
                steps[num_steps] = results.read(name)
        if len(steps) == 3:
            row = [steps[t]['summary'] for t in (8, 16, 24)]
            cells = [
                f'{mean_std(s["loss_points"])}, {s["agreement"]["mean"]:.1f}'
                for s in row
            ]
            rows.append([title(model), *cells])
    return [
        'The same, with nothing analog: T = 16, but relays, and what they delay, have 31 '
        'time steps, and ramps as many as scores need.',
        _table_of_nodes(found, datasets),
        'Other numbers of steps, on Cora. Gates of many channels, each a product of two '
        'values that are coded, agree least:',
        table(['', 'T = 8', 'T = 16', 'T = 24'], rows),
    ]


VARIANTS = {
    'spiking': 'windows from the first spike on, moving thresholds',
    'fixed': 'exponentials of one scale instead of windows',
    'coded': 'the reciprocal of the sum coded, as a delay',
    'analog': 'coefficients analog, to compare',
}


def attention_parts(results):
    models = [
        m
        for m in ('gat', 'gatv2', 'transformer')
        if f'attention_ablation_cora_{m}_spiking' in results.names
    ]
    if not models:
        return None
    rows = []
    for variant, text in VARIANTS.items():
        cells = []
        for model in models:
            row = results.read(f'attention_ablation_cora_{model}_{variant}')['summary']
            cells.append(
                f'{fixed(row["loss_points"]["mean"])}, {row["agreement"]["mean"]:.1f}, '
                f'{100 * row["logit_relative_error"]["mean"]:.1f}'
            )
        rows.append([text, *cells])
    return [
        'The same networks on Cora, converted in four ways: loss in points, agreement in '
        'percent, and logit error in percent. Analog coefficients err least, and are '
        'billed as multiply-accumulates.',
        table(['', *map(title, models)], rows),
    ]


def resnet(results):
    name = 'cnn_accuracy_cifar10_resnet20'
    if name not in results.names:
        return None
    record = results.read(name)
    steps = list(next(iter(record['cells'].values())))
    rows = [
        [
            cell,
            *(f'{fixed(c["loss_points"])}, {c["agreement"]:.1f}' for c in row.values()),
        ]
        for cell, row in record['cells'].items()
    ]
    first = next(iter(record['cells'].values()))[steps[0]]
    last = record['cells']['pixels as spikes, too']
    return [
        f'ResNet-20 on CIFAR-10 (public weights, {first["ann_accuracy"]:.2f} %), '
        'calibrated on 1,020 training images: loss in points, and agreement in '
        f'percent, on the {record["num_test"]:,} test images, with one technique more '
        'in each row. The first convolution reads analog pixels, but in the last row.',
        table(['', *(f'T = {t}' for t in steps)], rows),
        '![Loss of ResNet-20 over time steps](results/resnet20.png)',
        f'Where we lose: few steps. With pixels as spikes T = {steps[0]} costs '
        f'{last[steps[0]]["loss_points"]:.2f} points. Converters that fire many spikes per '
        'neuron, or train for it, need fewer steps.',
    ]


def images_and_links(results):
    kinds = {
        'vision transformer': ('image_accuracy_mnist_vit', 'ann_accuracy'),
        'MobileNet': ('image_accuracy_mnist_mobilenet', 'ann_accuracy'),
        'graph autoencoder, Cora, AUC': ('link_prediction_cora', 'ann_auc'),
    }
    rows = []
    for text, (name, metric) in kinds.items():
        cells, ann = [], ''
        for suffix in ('_T8', '', '_T24'):
            if name + suffix not in results.names:
                cells.append('-')
                continue
            row = results.read(name + suffix)['summary']
            ann = f'{row[metric]["mean"]:.2f}'
            loss, same = row['loss_points']['mean'], row['agreement']['mean']
            cells.append(f'{fixed(loss)}, {same:.1f}')
        rows.append([text, ann, *cells])
    if not results.used:
        return None
    return [
        'One vision transformer (6 layers, 128 wide) and one MobileNet with '
        'squeeze-and-excitation, trained on 20,000 digits of MNIST, on its 10,000 test '
        'images; graph autoencoders, five seeds. Loss in points and agreement in percent.',
        table(['', 'ANN, %', 'T = 8', 'T = 16', 'T = 24'], rows),
    ]


def molecules(results):
    names = results.matching('molecule_accuracy_*')
    if not names:
        return None
    rows = []
    for name in names:
        record = results.read(name)
        row, seeds = record['summary'], len(record['seeds'])
        if 'ann_rmse' in row:
            ann = f'RMSE {row["ann_rmse"]["mean"]:.3f}'
            loss = f'{mean_std(row["loss_percent"], 1)} % of it'
            same = f'correlation {row["correlation"]["mean"]:.3f}'
        else:
            ann = f'ROC-AUC {row["ann_rocauc"]["mean"]:.2f} %'
            loss = f'{mean_std(row["loss_points"])} points'
            same = f'{row["agreement"]["mean"]:.1f} %'
        spikes = f'{row["spikes_per_neuron"]["mean"]:.3f}'
        rows.append(
            [
                record['dataset'],
                title(record['model']),
                ann,
                loss,
                same,
                spikes,
                str(seeds),
            ]
        )
    head = ['', 'network', 'ANN', 'loss', 'agreement', 'spikes per neuron', 'seeds']
    return [
        'Networks with a virtual node, five layers, T = 16, by the evaluator of the Open '
        'Graph Benchmark. Losses are within what so few test molecules and seeds can tell.',
        table(head, rows),
    ]
