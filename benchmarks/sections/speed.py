"""Times of sums, networks and single calls, on two processors."""

from sections.common import figure, listed, millis, shortest, span, table, title

PROCESSORS = {'AVX-512': '', 'AVX2': '_avx2'}
FORMER = (
    'How many times as long others take, by the shortest of the repeats, medians in '
    'brackets: numbers below one are where the spikes lose. AVX2 is the same processor, '
    'with kernels and libraries kept to it.'
)
NAMES = {
    'pubmed': 'PubMed',
    'computers': 'Computers',
    'arxiv': 'size of ogbn-arxiv',
    'arxiv-128': 'size of ogbn-arxiv',
    'arxiv-256': 'size of ogbn-arxiv',
}


def _both(results, name):
    """Pairs of a processor and its record, if there are any."""
    return [
        (processor, results.read(name + suffix))
        for processor, suffix in PROCESSORS.items()
        if name + suffix in results.names
    ]


def _graph(row, edges='edges'):
    name = NAMES.get(row['graph'], title(row['graph']))
    return f'{name}, {row["nodes"]:,} nodes, {row[edges]:,} edges'


def _losing(ratios):
    """Names of competitors that were sooner somewhere, and how often."""
    counts = {}
    for row in ratios:
        for name, ratio in row.items():
            if ratio['min'] < 1:
                counts[name] = counts.get(name, 0) + 1
    if not counts:
        return 'Where we lose: nowhere in this table.'
    cells = [f'{name} ({n} of {len(ratios)})' for name, n in counts.items()]
    return f'Where we lose: sooner than the spikes are {listed(cells)}.'


def sums(results):
    found = _both(results, 'aggregation_speed')
    if not found:
        return None
    names = list(found[0][1]['rows'][0]['ratios'])
    rows = []
    for i, _ in enumerate(found[0][1]['rows']):
        for processor, record in found:
            row = record['rows'][i]
            cells = [
                shortest(row['ratios'][n]) if n in row['ratios'] else '-' for n in names
            ]
            graph = _graph(row, 'edges_with_loops')
            rows.append(
                [
                    f'{graph}, {row["width"]} wide',
                    processor,
                    millis(row['seconds']['spikes']),
                    *cells,
                    figure(row['times_limit']['min']) if 'times_limit' in row else '-',
                ]
            )
    skipped = [row for _, record in found for row in record['rows'] if row['skipped']]
    note = ' What would not fit into memory is left out.' if skipped else ''
    return [
        'Spike times summed over neighbours, on two threads, T = 15. The last column says '
        'how many times as long as it takes to move everything once, at the speed of '
        f'copying, the spikes take.{note} {FORMER}',
        table(['', '', 'spikes, ms', *names, 'limit'], rows),
        _losing([row['ratios'] for _, record in found for row in record['rows']]),
    ]


def _by_threads(results, name, ours):
    """Rows of forward passes: a network, a processor, and ratios."""
    found, rows, ratios = _both(results, name), [], []
    if not found:
        return None, [], [], []
    first = found[0][1]['rows'][0]['by_threads'][0]['ratios']
    names = [n for n in first if n.startswith('ANN')]
    for i, row in enumerate(found[0][1]['rows']):
        for j, _ in enumerate(row['by_threads']):
            for processor, record in found:
                cell = record['rows'][i]['by_threads'][j]
                kept = {n: cell['ratios'][n] for n in names if n in cell['ratios']}
                ratios.append(kept)
                rows.append(
                    [
                        f'{_graph(row)}, {"-".join(map(str, row["sizes"]))}',
                        processor,
                        millis(cell['seconds'][ours]),
                        *(shortest(kept[n]) if n in kept else '-' for n in names),
                        figure(cell['times_limit']['min']),
                    ]
                )
    return found, names, rows, ratios


def _memory(record, names):
    """Peaks of the first pass, in MB."""
    rows = []
    for row in record['rows']:
        peaks = row.get('peak_bytes') or {}
        if peaks:
            cells = [
                figure(peaks[n]['first'] / 1e6) if n in peaks else '-' for n in names
            ]
            rows.append([_graph(row), *cells])
    return table(['memory at the peak, MB', *names], rows) if rows else None


def networks(results):
    ours = 'SNN, edge_index'
    found, names, rows, ratios = _by_threads(results, 'gcn_speed', ours)
    if not found:
        return None
    record = found[0][1]
    same = listed(f'{row["errors"]["agreement"]:.1f}' for row in record['rows'])
    memory = _memory(record, [ours, *names])
    blocks = [
        'Whole GCNs: the ANN as PyG runs it, normalising in every pass or once '
        '(cached), on edge indices and on a sparse matrix, and written by hand with '
        'embedding bags. The first network has random weights, the others are '
        f'trained; they agree with their ANNs on {same} % of the nodes. The last '
        "column compares with all multiply-adds at the speed of the vendor's product. "
        f'{FORMER}',
        table(['', '', 'SNN, ms', *names, 'limit'], rows),
        _losing(ratios),
        '![How many times as long the ANN takes](results/speed.png)',
    ]
    return blocks + ([memory] if memory else [])


def layers(results):
    found = _both(results, 'layer_speed')
    if not found:
        return None
    sizes = sorted({row['nodes'] for row in found[0][1]['rows']})
    rows, ratios = [], []
    keys = dict.fromkeys((r['network'], r['threads']) for r in found[0][1]['rows'])
    for network, threads in keys:
        for processor, record in found:
            cells = []
            for size in sizes:
                row = next(
                    r
                    for r in record['rows']
                    if (r['network'], r['threads'], r['nodes'])
                    == (network, threads, size)
                )
                matrix = {
                    key: row['seconds']['ANN, CSR'][key]
                    / row['seconds']['SNN, CSR'][key]
                    for key in ('min', 'median')
                }
                kept = {'ANN, edge_index': row['ratios']['ANN, edge_index']}
                ratios.append({**kept, 'ANN, CSR': matrix})
                cells.append(f'{shortest(kept["ANN, edge_index"])}; {shortest(matrix)}')
            rows.append([f'{network}, threads: {threads}', processor, *cells])
    limits = [row['times_limit']['min'] for _, r in found for row in r['rows']]
    return [
        'Two layers of 64 channels, 16 edges a node, the same graph again and again; how '
        'many times as long as the SNN the ANN takes, both on edge indices; both on CSR.',
        table(['', '', *(f'{size:,} nodes' for size in sizes)], rows),
        f'{_losing(ratios)} The networks take {span(limits)} times as long as their '
        "multiply-adds would at the speed of the vendor's product, or their bytes at that "
        'of copying.',
    ]


def attention(results):
    ours = 'SNN, edge_index'
    found, names, rows, ratios = _by_threads(results, 'attention_speed', ours)
    if not found:
        return None
    memory = _memory(found[0][1], [ours, *names])
    blocks = [
        'Graph attention networks: of the size of ogbn-arxiv one that is not trained, on '
        f'Cora and PubMed those of the recipe. {FORMER}',
        table(['', '', 'SNN, ms', *names, 'limit'], rows),
        _losing(ratios),
    ]
    return blocks + ([memory] if memory else [])


def molecules(results):
    found = _both(results, 'molecule_speed')
    if not found:
        return None
    names, rows, ratios = list(found[0][1]['rows'][0]['ratios']), [], []
    for i, row in enumerate(found[0][1]['rows']):
        for processor, record in found:
            cell = record['rows'][i]
            ratios.append(cell['ratios'])
            rows.append(
                [
                    f'{row["network"].upper()}, {row["mode"]}, {row["molecules"]:,} '
                    f'molecules, threads: {row["threads"]}',
                    processor,
                    millis(cell['seconds']['SNN']),
                    *(shortest(cell['ratios'][n]) for n in names),
                    figure(cell['times_limit']['min']),
                ]
            )
    return [
        'The networks of the Open Graph Benchmark for molecules, five layers of 300 '
        'features with a virtual node, on batches of ogbg-molhiv; one batch again and '
        f'again, or a stream of new ones. {FORMER}',
        table(['', '', 'SNN, ms', *names, 'limit'], rows),
        _losing(ratios),
    ]


def images(results):
    found = _both(results, 'cnn_speed')
    if not found:
        return None
    sizes = sorted({row['batch_size'] for row in found[0][1]['rows']})
    keys = dict.fromkeys((r['network'], r['threads']) for r in found[0][1]['rows'])
    rows, slower = [], []
    for network, threads in keys:
        for processor, record in found:
            cells = []
            for size in sizes:
                seconds = next(
                    r['seconds']
                    for r in record['rows']
                    if (r['network'], r['threads'], r['batch_size'])
                    == (network, threads, size)
                )
                snn, shown = seconds['SNN, channels_last'], []
                for name in ('ANN, channels_last', 'ANN, channels_last, folded'):
                    ratio = {key: seconds[name][key] / snn[key] for key in snn}
                    shown.append(shortest(ratio))
                    slower.append(ratio['min'])
                cells.append(', '.join(shown))
            name = title(network) if network == 'resnet20' else 'CNN of MNIST'
            rows.append([f'{name}, threads: {threads}', processor, *cells])
    below = sum(ratio < 1 for ratio in slower)
    return [
        'CNNs at T = 16 next to their ANNs on `channels_last` images, as they are, '
        'and with batch norms folded into convolutions: how many times as long as the '
        'SNN each takes.',
        table(['', '', *(f'images: {size}' for size in sizes)], rows),
        f'Where we lose: {below} of {len(slower)} ratios are below one; the smallest is '
        f'{figure(min(slower))}.',
    ]


def neurons(results):
    if 'neuron_kernels' not in results.names:
        return None
    record = results.read('neuron_kernels')
    names = ('encode_spikes', 'decode_spikes', 'relu', 'batch_norm')
    rows = []
    for row in record['rows']:
        cells = []
        for name in names:
            cell = row.get(name)
            pair = cell and {k: cell[f'{k}_ns_per_value'] for k in ('min', 'median')}
            cells.append(shortest(pair) if pair else '-')
        ratio = row['ratios']['fire_and_decode_to_relu_and_batch_norm']
        name = f'{row["name"]}, threads: {row["num_threads"]}'
        rows.append([name, *cells, figure(ratio)])
    return [
        'Firing and decoding next to a ReLU and a batch norm: nanoseconds a value, '
        'shortest and median. The last column is the ratio of both pairs: above one, '
        'the spikes lose.',
        table(['', *(n.replace('_', ' ') for n in names), 'ratio'], rows),
    ]


def first_call(results):
    if 'first_call' not in results.names:
        return None
    record = results.read('first_call')
    names = list(next(iter(record['cases'].values()))['seconds'])
    rows = [
        [case, *(figure(row['seconds'][name]) for name in names)]
        for case, row in record['cases'].items()
    ]
    beyond = record['import_seconds_beyond']
    return [
        'Seconds in a new process: kernels are compiled by the first call ever, and '
        'read from a cache later on. To import the converter adds '
        f'{shortest(beyond)} s to PyTorch and PyG.',
        table(['', *names], rows),
    ]


def _by(sizes):
    return ' x '.join(map(str, sizes))


def narrower(results):
    if 'weight_precision' not in results.names:
        return None
    record = results.read('weight_precision')
    names = list(
        dict.fromkeys(n for row in record['rows'] for n in row['times_as_fast'])
    )
    rows = [
        [
            f'{row["kind"]}, {_by(row["size"])}, threads: {row["threads"]}',
            *(
                shortest(row['times_as_fast'][n]) if n in row['times_as_fast'] else '-'
                for n in names
            ),
        ]
        for row in record['rows']
    ]
    found = record['network']
    cells = [
        [
            name,
            f'{found["spikes_moved"].get(name, 0):.1f}',
            f'{found["agreement"].get(name, 100):.1f}',
            f'{accuracy:.1f}',
        ]
        for name, accuracy in found['accuracy'].items()
    ]
    head = ['weights', 'spikes that move, %', 'agreement, %', 'accuracy, %']
    return [
        'How many times as fast as PyTorch in float32 products and convolutions are. '
        'Narrower weights would be faster, for the ANN as well, and are another network: '
        f'what they do to ResNet-20 on {found["images"]:,} images. '
        f'{found["silent_channels"]} of its {found["channels"]} channels never fire.',
        table(['', *names], rows),
        table(head, cells),
    ]
