"""Writes docs/results.md and its plots from the results, or says what is out of date.

    python benchmarks/report.py
    python benchmarks/report.py --check

Every table comes from JSON that a script of this folder has written, with the command
that made it, versions, processor, seeds and commit. Results of which no section is
known get a plain table at the end. --check writes nothing; the exit code is 1 if the
page is another one or a plot is not there.
"""

import argparse
import difflib
import re
import sys
from pathlib import Path

from records import RESULTS
from sections import accuracy, claims, energy, hardware, others, plots, scale, speed
from sections.common import Results, origin_of

PAGE = Path(__file__).parents[1] / 'docs' / 'results.md'
CHAPTERS = {
    'At a glance': {'Loss, spikes, energy and speed': claims.headline},
    'Accuracy': {
        'The claims of the paper': claims.paper,
        'What each technique gives': claims.ablation,
        'Graph convolutions over time steps': accuracy.gcns,
        'Eight networks on three graphs': accuracy.nodes,
        'Attention, gates and norms': accuracy.attention,
        'What attention owes to its parts': accuracy.attention_parts,
        'ResNet-20 over time steps': accuracy.resnet,
        'Images and links': accuracy.images_and_links,
        'Molecules': accuracy.molecules,
    },
    'Statistics': {
        'Tests of every loss': claims.statistics,
        'Beside trained spiking networks': claims.trained,
    },
    'Energy': {
        'Energy ratios': energy.ratios,
        'Energy of one inference': energy.joules,
        'Operations': energy.counts,
    },
    'Speed': {
        'Sums over neighbours': speed.sums,
        'Whole networks': speed.networks,
        'Small and large graphs': speed.layers,
        'Attention': speed.attention,
        'Molecules in batches': speed.molecules,
        'Images': speed.images,
        'Neurons': speed.neurons,
        'The first call': speed.first_call,
        'Narrower weights': speed.narrower,
    },
    'Scale': {
        'Growth with the graph': scale.growth,
        'The order of nodes': scale.reordering,
        'Several processes': scale.distributed,
        'A projection to 111 million nodes': scale.papers,
        'Out of core': scale.out_of_core,
    },
    'Hardware': {
        'Bits of weights': hardware.bits,
        'Integers': hardware.integers,
        'Exported programs': hardware.exported,
        'Rates instead of one spike': hardware.rates,
        'NeuroBench': hardware.neurobench,
    },
    'Other results': {
        'Other codes': others.codes,
        'Noise': others.noise,
        'SpikingJelly': others.spikingjelly,
        'Runs of the command line': others.runs,
        'Without a section': others.rest,
    },
}
INTRODUCTION = """# Results

Written by `python benchmarks/report.py` from the files in
[benchmarks/results](../benchmarks/results); do not edit it. Every section says what is
measured, what it means and where we lose, and ends with the commands that make its files
and with what they were made. `python benchmarks/run_all.py --full` runs them all,
`--quick` at small sizes to see that they work. `resnet20.th` is the state dict of
ResNet-20, and DIR a folder. Losses are accuracies of the ANN minus those of the spiking
network, in points: negative ones are gains. No label is used in conversion. Results say
spikegraph 0.1.0 where they were made before 1.0.0, the first release: the commit beside it
is the state of the code."""


def anchor(title):
    return re.sub(r'[^\w\- ]', '', title.lower()).replace(' ', '-')


def page(results):
    """The text of the page."""
    contents, body, known = [], [], set()
    results.known = known
    for chapter, sections in CHAPTERS.items():
        found = []
        for title, make in sections.items():
            section = results.section(title, make)
            if section is not None:
                found.append(section)
                known |= set(section.files)
        if not found:
            continue
        contents.append(f'* [{chapter}](#{anchor(chapter)})')
        body.append(f'## {chapter}')
        for section in found:
            contents.append(f'  * [{section.title}](#{anchor(section.title)})')
            text = '\n\n'.join(section.blocks)
            body += [f'### {section.title}', text, origin_of(section, results)]
    return '\n\n'.join([INTRODUCTION, '\n'.join(contents), *body]) + '\n'


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--check', action='store_true', help='write nothing')
    parser.add_argument('--results', type=Path, default=RESULTS)
    parser.add_argument('--page', type=Path, default=PAGE)
    arguments = parser.parse_args()
    results, folder = Results(arguments.results), arguments.page.with_suffix('')
    text = page(results)
    if not arguments.check:
        arguments.page.parent.mkdir(parents=True, exist_ok=True)
        arguments.page.write_text(text, encoding='utf-8')
        plots.draw(results, folder)
        return 0
    known = (
        arguments.page.read_text(encoding='utf-8') if arguments.page.exists() else ''
    )
    lines = [t.splitlines(keepends=True) for t in (known, text)]
    sys.stdout.writelines(difflib.unified_diff(*lines, str(arguments.page), 'results'))
    missing = [n for n in plots.names(results) if not (folder / n).exists()]
    for name in missing:
        print(f'{folder / name} is not there')
    if text != known or missing:
        print("Out of date: run 'python benchmarks/report.py'")
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
