"""Results that come without a table of their own."""

from sections.common import fixed, generic, table, title

CODES = ('one spike', 'linear', 'rate', 'binary')
NOISES = {
    'none': '',
    'all spikes a phase off': ' jitter 1',
    '5 % of spikes lost': ' drop 0.05',
    '0.1 % more of silent steps': ' extra 0.001',
    'thresholds off by 10 %': ' threshold 0.1',
    '10 % of neurons stuck silent': ' stuck_silent 0.1',
    '1 % of neurons stuck firing': ' stuck_firing 0.01',
    'weights off by 10 %': ' weight 0.1',
}


def _agreement(row):
    return f'{row["agreement"]["mean"]:.1f}'


def codes(results):
    rows = []
    for name in results.matching('codes_*'):
        record = results.read(name)
        for num_steps in (8, 16):
            cells = (record['summary'].get(f'{code} T={num_steps}') for code in CODES)
            seeds = len(record['seeds'])
            shown = [
                f'{_agreement(c)}; {c["hidden_spikes_per_neuron"]["mean"]:.2f}'
                if c
                else ''
                for c in cells
            ]
            rows.append([title(record['network']), str(seeds), str(num_steps), *shown])
    if not rows:
        return None
    return [
        'Codes on the same trained networks, with the same calibration, weights not '
        'corrected: agreement with the ANN in percent, and spikes per neuron of hidden '
        'populations. A binary code needs the fewest steps, one spike the fewest spikes. '
        'All codes and numbers of steps: [codes.md](codes.md).',
        table(['', 'seeds', 'T', *CODES], rows),
    ]


def noise(results):
    names = results.matching('noise_*')
    records = [results.read(name) for name in names]
    if not records:
        return None
    heads = [f'{title(r["network"])}, {len(r["seeds"])} seeds' for r in records]
    rows = []
    for text, cell in NOISES.items():
        pairs = (
            [
                _agreement(record['summary'][f'{code}{cell}'])
                for code in ('phase', 'rate')
            ]
            for record in records
        )
        rows.append([text, *('; '.join(pair) for pair in pairs)])
    return [
        'Agreement with the ANN in percent at T = 16: one spike; the rate code under the '
        'same noise. One spike loses more where spikes are lost or invented. Other levels, '
        'and what single populations do: [noise.md](noise.md).',
        table(['', *heads], rows),
    ]


def spikingjelly(results):
    if 'spikingjelly' not in results.names:
        return None
    record, blocks = results.read('spikingjelly'), []
    for name, found in record['networks'].items():
        steps = sorted(
            {key for row in found['cells'].values() for key in row},
            key=lambda key: int(key.partition('=')[2]),
        )
        rows = [
            [
                method,
                *(
                    f'{row[key]["agreement"]:.1f}; {row[key]["spikes_per_neuron"]:.2f}'
                    if key in row
                    else ''
                    for key in steps
                ),
            ]
            for method, row in found['cells'].items()
        ]
        images = record['arguments']['images']
        blocks += [f'{title(name)}, {images:,} test images at most:']
        blocks += [table(['', *steps], rows)]
    return [
        'SpikingJelly 2.0.0 on the same networks and images: agreement with the ANN in '
        'percent; spikes per neuron. Its T is that of the whole network, ours that of '
        'each population. What it does with graphs, and times: [codes.md](codes.md).',
        *blocks,
    ]


def runs(results):
    """What `spikegraph run` printed, whole."""
    names = results.matching('run_*')
    rows = []
    for name in names:
        record = results.read(name)
        found = record['summary']
        rows.append(
            [
                f'{record["dataset"]["name"]}, {record["model"]["name"]}',
                str(record['config']['num_steps']),
                f'{found["ann_accuracy"]["mean"]:.2f}',
                fixed(found['loss_points']['mean']),
                f'{found["agreement"]["mean"]:.2f}',
                f'{100 * found["logit_relative_error"]["mean"]:.2f}',
                f'{found["spikes_per_neuron"]["mean"]:.4f}',
            ]
        )
    if not rows:
        return None
    head = ['', 'T', 'ANN, %', 'loss, points', 'agreement, %', 'logit error, %']
    return [
        'One seed each; other pages quote these files.',
        table([*head, 'spikes per neuron'], rows),
    ]


def rest(results):
    """A plain table of every result that no section has read."""
    names = [n for n in results.names if n not in results.known and n != 'run_all']
    blocks = []
    for name in names:
        found = generic(results.read(name))
        if found:
            blocks += [f'**{name}**', *found]
    return blocks or None
