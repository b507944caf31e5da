"""Energies and operations of one inference."""

from sections.common import figure, fixed, table, title

MODELS = {'gcn': 'GCN', 'cnn': 'CNN', 'resnet20': 'ResNet-20', 'gin': 'GIN'}
TABLE = 'horowitz-fp32'


def _rows(results):
    if 'energy' not in results.names:
        return {}
    record = results.read('energy')
    return {
        f'{title(row["dataset"])}, {MODELS[row["model"]]}, T = {row["num_steps"]}': row
        for row in record['rows'].values()
    }


def ratios(results):
    rows = _rows(results)
    if not rows:
        return None
    keys = [(what, event) for what in ('compute', 'memory') for event in ('', 'event_')]
    body, wins = [], {}
    for name, row in rows.items():
        pj, cells = row['energy_pj'][TABLE], [fixed(row['loss_points'])]
        for what, event in keys:
            snn = pj[f'snn_{event}{what}']
            dense, zeros = pj[f'ann_{what}'] / snn, pj[f'ann_{what}_sparse'] / snn
            cells.append(f'{figure(dense)} ({figure(zeros)})')
            wins.setdefault((what, event), []).append(zeros > 1)
        body.append([name, *cells])
    counts = {key: f'{sum(found)} of {len(found)}' for key, found in wins.items()}
    head = ['', 'loss, points']
    head += ['compute only, clocked', 'compute only, event-driven']
    head += ['with memory, clocked', 'with memory, event-driven']
    return [
        'How many times less energy than the ANN the spiking network takes: against the '
        "dense ANN, and in brackets against the one that skips zeros; Horowitz's 45 nm, "
        '32-bit floating point. Papers usually print the first column. The '
        '[page on energy](energy.md) says what each machine does, and has other tables.',
        table(head, body),
        '![Energy ratios](results/energy.png)',
        'Where we lose: with memory, against the ANN that skips zeros, the clocked machine '
        f'takes less in {counts["memory", ""]} rows, the event-driven one in '
        f'{counts["memory", "event_"]}.',
    ]


def joules(results):
    rows = _rows(results)
    if not rows:
        return None
    keys = ('ann_memory', 'ann_memory_sparse', 'snn_memory', 'snn_event_memory')
    body = [
        [
            f'{name} (per {row["unit"]})',
            *(figure(row['energy_pj'][TABLE][key] / 1e3, 4) for key in keys),
            f'{100 * row["share_of_input_neurons"]:.0f} %',
        ]
        for name, row in rows.items()
    ]
    head = ['', 'ANN', 'ANN, zeros skipped', 'SNN, clocked', 'SNN, event-driven']
    return [
        'With memory and neuron state, in nJ. The last column is what input neurons '
        "take of the clocked machine's energy: where features are nearly all silent, "
        'it is most.',
        table([*head, 'input neurons'], body),
    ]


def counts(results):
    rows = _rows(results)
    if not rows:
        return None
    keys = ('ann_macs', 'ann_macs_nonzero', 'synops', 'accumulates', 'membrane_updates')
    keys += ('touches', 'spikes')
    body = []
    for name, row in rows.items():
        cells = [
            f'{row["spikes_per_neuron"]:.3f}',
            f'{100 * row["density"]:.1f} %',
            *(f'{row["counts"][key]:,}' for key in keys),
        ]
        body.append([name, *cells])
    head = ['', 'spikes per neuron', 'products not zero']
    return [
        'What is counted, over all nodes, or over 512 test images. Energies are these '
        'counts times those of single operations.',
        table([*head, *(key.replace('_', ' ') for key in keys)], body),
    ]
