"""Weights of few bits, integers, and other tools."""

from sections.common import figure, fixed, listed, mean_std, table, title


def bits(results):
    names = results.matching('weight_bits_*')
    if not names:
        return None
    rows, seeds = [], {}
    for name in names:
        record = results.read(name)
        network = title(f'{record["dataset"]}_{record["model"]}')
        seeds.setdefault(len(record['seeds']), []).append(network)
        for num_steps in record['num_steps']:
            cells = [
                record['summary'][f'T={num_steps} bits={bits}']
                for bits in record['bits']
            ]
            score = 'ann_accuracy' if 'ann_accuracy' in cells[0] else 'ann_rocauc'
            show = mean_std if len(record['seeds']) > 1 else lambda r: fixed(r['mean'])
            rows.append(
                [
                    network,
                    f'{cells[0][score]["mean"]:.2f}',
                    str(num_steps),
                    *(show(cell['loss_points']) for cell in cells),
                ]
            )
    heads = [f'{b} bits' if b else 'floating point' for b in record['bits']]
    counts = '; '.join(f'{n}: {listed(found)}' for n, found in sorted(seeds.items()))
    return [
        'Weights as integers of a few bits per output channel, without retraining: loss to '
        f'the ANN in points. Networks, by number of seeds: {counts}.',
        table(['', 'ANN, %', 'T', *heads], rows),
    ]


def integers(results):
    names = results.matching('integers_*')
    if not names:
        return None
    rows = []
    for name in names:
        record = results.read(name)
        for cell, row in record['summary'].items():
            rows.append(
                [
                    title(f'{record["dataset"]}_{record["model"]}'),
                    cell,
                    f'{row["ann_accuracy"]:.2f}',
                    f'{row["snn_accuracy"]:.2f}',
                    f'{row["accuracy"]:.2f}',
                    f'{row["agreement_with_snn"]:.2f}',
                    figure(100 * row['relative_error']),
                    figure(row['full']),
                    str(len(record['seeds'])),
                ]
            )
    head = ['', 'weights, membranes', 'ANN, %', 'SNN, %', 'in integers, %']
    head += ['agreement with the SNN, %', 'logit error, %', 'full membranes', 'seeds']
    return [
        'The whole network in integers: weights and membranes of so many bits, held, or '
        'growing by the base at every step. Growing membranes need 32 bits.',
        table(head, rows),
    ]


def exported(results):
    if 'exported' not in results.names:
        return None
    record, rows = results.read('exported'), []
    for row in record['rows']:
        cells = [row['network']]
        for dtype in ('float64', 'float32'):
            for tool in ('torch', 'onnx'):
                errors = row.get(f'{dtype}_{tool}_errors')
                cells.append(f'{max(errors):.1e}' if errors else '-')
        flipped, neurons = row['float32_flipped']
        cells.append(f'{100 * flipped / neurons:.3f}')
        cells += [figure(1e3 * row[f'{t}_pass']) for t in ('torch', 'onnx')]
        rows.append(cells)
    head = ['', 'float64, PyTorch', 'float64, ONNX Runtime', 'float32, PyTorch']
    head += ['float32, ONNX Runtime', 'spikes that differ, %']
    return [
        'Exported programs next to the networks that they were made from: the largest '
        'difference of an output, relative to the largest output; in float32, potentials '
        'within rounding of a threshold may fire or not. Times of one pass in ms, one '
        'thread.',
        table([*head, 'PyTorch, ms', 'ONNX Runtime, ms'], rows),
    ]


def rates(results):
    if 'nir_rates' not in results.names:
        return None
    record, rows = results.read('nir_rates'), []
    for name, row in record['networks'].items():
        for steps, cell in row['rate_steps'].items():
            rows.append(
                [
                    name,
                    f'{int(steps):,}',
                    f'{cell["relative_error"]:.3f}',
                    f'{100 * cell["agreement"]:.0f}',
                    f'{row["ann_relative_error"]:.3f}',
                ]
            )
    head = ['', 'steps', 'error', 'agreement, %', 'error of the ANN']
    return [
        'The same networks as integrate-and-fire neurons of NIR, which fire many '
        'times: error of the output relative to that of the one-spike network. That '
        'of the ANN is what remains, as the one-spike network rounds too.',
        table(head, rows),
    ]


def neurobench(results):
    if 'neurobench_counts' not in results.names:
        return None
    record = results.read('neurobench_counts')
    networks = record['networks']
    keys = list(next(iter(networks.values()))['with_the_adapter'])
    blocks = []
    for part, text in (
        ('NeuroBench_alone', 'NeuroBench alone'),
        ('with_the_adapter', 'with our adapter'),
    ):
        rows = []
        for key in keys:
            found = [network[part].get(key) for network in networks.values()]
            if any(value is not None for value in found):
                rows.append([key, *(_count(value) for value in found)])
        blocks.append(table([text, *(title(n) for n in networks)], rows))
    return [
        "NeuroBench's own harness finds no accumulate in a converted network, as it looks "
        'at the modules it knows; with the adapter it counts what `measure` does.',
        *blocks,
    ]


def _count(value):
    if value is None:
        return '-'
    return figure(value, 4) if value < 1 else f'{value:,.1f}'
