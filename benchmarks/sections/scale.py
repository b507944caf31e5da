"""Large graphs, several processes, and memory."""

from sections.common import figure, shortest, table, title

GRAPHS = {
    'computers': 'Computers',
    'pubmed': 'PubMed',
    'communities': 'arXiv size, communities',
    'arxiv': 'arXiv size, no communities',
}

HELD = ('feature', 'spike_time', 'structure')  # What a process has in memory.


def growth(results):
    if 'scaling' not in results.names:
        return None
    record = results.read('scaling')
    records = [record]
    if 'scaling_products' in results.names:
        records.append(results.read('scaling_products'))
    rows = [
        [
            f'{row["nodes"]:,}',
            f'{row["edges"]:,}',
            *(figure(row['seconds'][k]) for k in ('prepare', 'aggregate', 'forward')),
            figure(row['peak_bytes']['forward'] / 1e9),
            figure(row['process_bytes'] / 1e9),
        ]
        for each in records
        for row in each['rows']
    ]
    head = ['nodes', 'edges', 'to sort, s', 'one sum, s', 'forward pass, s']
    head += ['its peak, GB', 'process, GB']
    powers = [
        [
            f'{kind}, {name}',
            f'{row["exponent"]:.2f}',
            '-'
            if row['exponent_of_large'] is None
            else f'{row["exponent_of_large"]:.2f}',
        ]
        for kind, rows_of in record['exponents'].items()
        for name, row in rows_of.items()
    ]
    return [
        'A GCN 100-256-256-47 on generated graphs; the last row has the size of '
        'ogbn-products. The exponents say how time and memory grow with edges, over all '
        'sizes and over the large ones, where features outgrow the caches: there, sums and '
        'passes grow faster than the graph.',
        table(head, rows),
        table(['grows with edges to the power of', 'all', 'large'], powers),
    ]


def reordering(results):
    if 'reordering' not in results.names:
        return None
    record = results.read('reordering')
    names = list(record['rows'][0]['ratios'])
    rows = [
        [
            f'{title(row["graph"])}, {row["nodes"]:,} nodes, {row["width"]} wide',
            *(_times_as_fast(row['ratios'][n]) for n in names),
        ]
        for row in record['rows']
    ]
    return [
        'How many times as fast spikes are summed where nodes are renumbered (reverse '
        'Cuthill-McKee; by degree), by the shortest times, medians in brackets. It pays '
        'where neighbours are close in a way that the numbering does not show, and hardly '
        'elsewhere.',
        table(['', *names], rows),
    ]


def _times_as_fast(ratio):
    return shortest({key: 1 / value for key, value in ratio.items()})


def distributed(results):
    names = [f'distributed_{g}' for g in GRAPHS if f'distributed_{g}' in results.names]
    if not names:
        return None
    rows = []
    for name in names:
        record = results.read(name)
        for row in record['rows']:
            if row['processes'] == 1:
                continue
            sent = sum(stage['bytes_sent'] for stage in row['stages'])
            floats = sum(stage['float_bytes'] for stage in row['stages'])
            boundary = row['cut']['halos']
            halo = sum(sum(halos) for halos in boundary.values())
            rows.append(
                [
                    f'{row["model"].upper()}, {GRAPHS[row["graph"]]}',
                    str(row['num_steps']),
                    str(row['processes']),
                    f'{row["cut"]["cut_percent"]:.1f}',
                    figure(sent / halo) if halo else '-',
                    figure(floats / halo) if halo else '-',
                    shortest(row['ratios']),
                ]
            )
    head = ['', 'T', 'processes', 'cut edges, %', 'bytes a boundary node']
    head += ['the same rows as floats', 'time']
    return [
        'Processes of one thread each, parts by METIS: what one inference sends of a '
        'boundary node, in bytes, the same rows as floats, and how many times as long '
        'as one process with as many threads it takes (more processes than cores wait '
        'for each other). Outputs are the same, bit by bit.',
        table(head, rows),
        '![Bytes over the number of parts](exchange.png)',
    ]


def papers(results):
    if 'papers100m' not in results.names:
        return None
    record = results.read('papers100m')
    keys = [k for k in record['projected'][0] if k != 'processes']
    shown = {
        'halo_rows_at_most': ('rows sent at most, M', 1e-6),
        'bytes_float': ('as floats, GB', 1e-9),
        'bytes_15': ('spikes, GB', 1e-9),
        'compute_seconds': ('computing, s', 1),
        'structure_bytes': ('structure, GB', 1e-9),
        'feature_bytes': ('features, GB', 1e-9),
    }
    keys = [key for key in shown if key in keys]
    rows = [
        [
            str(row['processes']),
            *(figure(shown[k][1] * row[k]) for k in keys),
            figure(1e-9 * sum(row[f'{n}_bytes'] for n in HELD)),
        ]
        for row in record['projected']
    ]
    return [
        f'What ogbn-papers100M ({record["nodes"]:,} nodes, {record["edges"]:,} edges) '
        'would cost each process, **projected** from constants measured on smaller '
        'graphs, not run: a GCN of the widths above, T = 15, parts by a hash, which '
        'bounds from above what is sent. From disk, one process would take '
        f'{figure(record["from_disk"]["seconds"] / 60, 2)} minutes.',
        table(['processes', *(shown[k][0] for k in keys), 'memory, GB'], rows),
    ]


def out_of_core(results):
    if 'out_of_core' not in results.names:
        return None
    record = results.read('out_of_core')
    head = ['nodes', 'edges', 'features, GB', 'limit, GB', 'peak, GB']
    head += ['bound, GB', 'spike times, GB', 's']
    keys = ('feature', 'limit', 'peak', 'bound', 'spike_time')
    cells = [figure(record[f'{key}_bytes'] / 1e9) for key in keys]
    row = [f'{record["nodes"]:,}', f'{record["edges"]:,}', *cells]
    return [
        'A GraphSAGE network whose features do not fit into what may be allocated; outputs '
        'are those on whole neighbourhoods, bit by bit.',
        table(head, [[*row, figure(record['seconds'])]]),
    ]
