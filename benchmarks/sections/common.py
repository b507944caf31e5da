"""What the sections share: results that are read, tables, and how figures are shown."""

import json
import re
import shlex
from dataclasses import dataclass
from fnmatch import fnmatch

from scripts import RUNS, SCRIPTS

TITLES = {
    'cora': 'Cora',
    'citeseer': 'CiteSeer',
    'pubmed': 'PubMed',
    'photo': 'Photo',
    'computers': 'Computers',
    'digits': 'digits',
    'mnist': 'MNIST',
    'ogbg-molhiv': 'molhiv',
    'cifar10': 'CIFAR-10',
    'gcn': 'GCN',
    'sage': 'GraphSAGE (mean)',
    'sage-max': 'GraphSAGE (max)',
    'gin': 'GIN',
    'gin-set2set': 'GIN with Set2Set',
    'sgc': 'SGC',
    'appnp': 'APPNP',
    'gcn2': 'GCNII (8 layers)',
    'resgcn': 'residual GCN (4 layers)',
    'gat': 'GAT',
    'gatv2': 'GATv2',
    'transformer': 'graph transformer',
    'gps': 'GPS',
    'gcn-layernorm': 'GCN with layer norm (4 layers)',
    'gcn-graphnorm': 'GCN with graph norm (4 layers)',
    'resgated': 'ResGated',
    'film': 'FiLM',
    'cnn': 'CNN',
    'resnet20': 'ResNet-20',
    'vit': 'vision transformer',
    'mobilenet': 'MobileNet',
    'gae': 'graph autoencoder',
}


@dataclass
class Section:
    title: str
    blocks: list  # Paragraphs, tables and pictures, in markdown.
    files: list  # Names of the results that they are made from.


class Results:
    """The results of a folder, and which of them a section has read."""

    def __init__(self, folder):
        self.folder, self.used = folder, []
        self.names = sorted(path.stem for path in folder.glob('*.json'))

    def matching(self, pattern):
        return [name for name in self.names if fnmatch(name, pattern)]

    def read(self, name):
        if name not in self.used:
            self.used.append(name)
        return json.loads((self.folder / f'{name}.json').read_text())

    def section(self, title, make):
        """What a function makes of results, with their names; None if it has nothing."""
        self.used = []
        blocks = make(self)
        return Section(title, blocks, sorted(self.used)) if blocks else None


def title(name):
    """The title of a dataset, a network, or DATASET_NETWORK."""
    if name in TITLES:
        return TITLES[name]
    dataset, _, model = name.partition('_')
    if not model:
        return dataset
    return f'{title(model)} on {title(dataset)}'


def table(head, rows):
    """A table of markdown; cells are text."""
    lines = [head, ['---'] * len(head), *rows]
    for row in lines:
        assert len(row) == len(head), row
    text = '\n'.join(f'| {" | ".join(row)} |' for row in lines)
    return re.sub(r'\| +(?=\|)', '| ', text)


def figure(value, digits=3):
    """A number of so many digits that count, without an exponent."""
    if value is None:
        return '-'
    text = f'{value:#.{digits}g}'
    if 'e' in text:
        return f'{float(text):,.0f}'
    text = text.rstrip('.')
    whole, dot, rest = text.partition('.')
    return f'{int(whole):,}{dot}{rest}' if len(whole) > 3 else text


def fixed(value, digits=2):
    """A number of so many decimals; minus zero is zero."""
    text = f'{value:.{digits}f}'
    return text.replace('-', '') if float(text) == 0 else text


def mean_std(row, digits=2):
    return f'{fixed(row["mean"], digits)} ± {row["std"]:.{digits}f}'


def shortest(row, digits=3):
    """The shortest time, or a ratio of such, with the median in brackets."""
    return f'{figure(row["min"], digits)} ({figure(row["median"], digits)})'


def millis(row):
    return shortest({key: 1e3 * value for key, value in row.items()})


def p_value(p):
    return '< 0.001' if p < 0.001 else f'{p:.3f}'


def interval(pair, digits=2):
    return f'[{fixed(pair[0], digits)}, {fixed(pair[1], digits)}]'


def span(values, digits=3):
    values = list(values)
    return f'{figure(min(values), digits)} to {figure(max(values), digits)}'


def listed(words):
    """Words in a sentence: a, b and c."""
    words = list(words)
    return words[0] if len(words) == 1 else f'{", ".join(words[:-1])} and {words[-1]}'


def generic(record, depth=2):
    """Tables of what a record holds, for results that no section knows: one for each
    dictionary (or list) of rows of numbers."""
    found = []
    for key, value in record.items():
        rows = value
        if isinstance(value, list) and value and isinstance(value[0], dict):
            rows = {str(i): row for i, row in enumerate(value)}
        if not isinstance(rows, dict) or not rows:
            continue
        flat = {
            name: flatten(row) for name, row in rows.items() if isinstance(row, dict)
        }
        flat = {name: row for name, row in flat.items() if row}
        if not flat or len(flat) < len(rows):
            continue
        columns = list(dict.fromkeys(column for row in flat.values() for column in row))
        if len(columns) > 12:
            if depth:
                inner = {f'{key}, {name}': row for name, row in rows.items()}
                found += generic(inner, depth - 1)
            continue
        body = [
            [name, *(row.get(column, '') for column in columns)]
            for name, row in flat.items()
        ]
        found += [f'`{key}`', table(['', *columns], body)]
    return found


def flatten(row):
    """Cells of a row: numbers, words, and means with their deviations."""
    cells = {}
    for key, value in row.items():
        if isinstance(value, dict) and value.keys() == {'mean', 'std'}:
            cells[key] = f'{figure(value["mean"])} ± {figure(value["std"])}'
        elif isinstance(value, dict) and value.keys() == {'min', 'median'}:
            cells[key] = shortest(value)
        elif isinstance(value, bool) or value is None:
            cells[key] = str(value)
        elif isinstance(value, int):
            cells[key] = f'{value:,}'
        elif isinstance(value, float):
            cells[key] = figure(value)
        elif isinstance(value, str) and len(value) < 60:
            cells[key] = value
        elif isinstance(value, dict):
            inner = flatten(value)
            cells |= {f'{key}: {name}': cell for name, cell in inner.items()}
    return cells


def origin_of(section, results):
    """How the results of a section were made: commands, and what with."""
    commands, versions, commits, machines, seeds = [], {}, {}, {}, {}
    for name in section.files:
        record = results.read(name)
        commands += [c for c in commands_for(f'{name}.json') if c not in commands]
        for key, value in record.get('versions', {}).items():
            if key in ('torch', 'torch-geometric', 'spikegraph', 'python'):
                versions.setdefault(key, {})[value] = None
        if 'commit' in record:
            commits[record['commit']] = None
        machines[machine_of(record)] = None
        if isinstance(record.get('seeds'), dict):
            seeds[len(record['seeds'])] = None
    texts = [f'{key} {" and ".join(values)}' for key, values in versions.items()]
    texts.append(f'commit {", ".join(commits)}' if commits else 'commit not recorded')
    texts += [machine for machine in machines if machine]
    if seeds:
        texts.append(f'{" or ".join(map(str, sorted(seeds)))} seeds')
    files = section.files
    if len(files) > 6:
        prefixes = sorted({name.rpartition('_')[0].split('_')[0] for name in files})
        where = f'{len(files)} files ' + ', '.join(f'`{p}_*.json`' for p in prefixes)
        where = f'[{where}](../benchmarks/results)'
    else:
        where = ', '.join(f'[{f}.json](../benchmarks/results/{f}.json)' for f in files)
    block = '\n'.join(['```bash', *commands, '```\n\n']) if commands else ''
    return f'{block}*{where}; {"; ".join(texts)}*'


def machine_of(record):
    found = record.get('processor')
    if found is None:
        return record.get('device')
    forced = f', kept to {found["forced"].upper()}' if found.get('forced') else ''
    return f'{found["model"]}, {found["cores"]} cores, {found["torch"]}{forced}'


def commands_for(file):
    """The commands that make a file of results."""
    folders = {'weights': 'resnet20.th', 'scratch': 'DIR', 'output': 'DIR'}
    if file in RUNS:
        return [f'spikegraph {RUNS[file].format(**folders)} --json {file}']
    found = [n for n, s in SCRIPTS.items() if any(fnmatch(file, p) for p in s.results)]
    if not found:
        return []
    name, texts = found[0], SCRIPTS[found[0]].full
    results = SCRIPTS[name].results
    if len(results) == len(texts) > 1:  # A file for each run.
        texts = [t for t, f in zip(texts, results, strict=True) if f == file]
    elif any('*' in pattern for pattern in results):
        what = file.removesuffix('.json').removeprefix(f'{name}_')
        texts = [text for text in texts if is_of(text, what)]
    made = [f'python benchmarks/{name}.py {text}'.rstrip() for text in texts]
    return [command.format(**folders) for command in made]


def is_of(text, what):
    """Whether a run makes what a file is named after: a dataset or graph, a network, or
    both, and a number of steps if it is not the usual one."""
    what, _, steps = what.partition('_T')
    words = {}
    for word in shlex.split(text):
        if word.startswith('--'):
            values = words.setdefault(word, [])
        else:
            values.append(word)
    if '--images' not in words and '--graphs' not in words:
        if words.get('--num-steps', ['']) != [steps]:
            return False
    for option, is_one in (
        ('--datasets', lambda word: f'{what}_'.startswith(f'{word}_')),
        ('--graphs', lambda word: what == word),
        ('--networks', lambda word: what == word),
        ('--models', lambda word: f'_{what}'.endswith(f'_{word}')),
        ('--model', lambda word: f'_{what}'.endswith(f'_{word}')),
    ):
        if option in words and not any(map(is_one, words[option])):
            return False
    return True
