"""Results that come without a table of their own."""

from sections.common import fixed, generic, table


def _generic(results, pattern, lead):
    names = results.matching(pattern)
    blocks = [lead]
    for name in names:
        found = generic(results.read(name))
        if found:
            blocks += [f'**{name}**', *found]
    return blocks if len(blocks) > 1 else None


def codes(results):
    lead = 'Other codes on the same trained networks, with the same calibration.'
    return _generic(results, 'codes_*', lead)


def noise(results):
    lead = 'What noise on spikes, thresholds and weights does.'
    return _generic(results, 'noise_*', lead)


def spikingjelly(results):
    lead = 'What SpikingJelly makes of the same networks.'
    return _generic(results, 'spikingjelly*', lead)


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
