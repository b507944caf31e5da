"""Measured figures on the pages, and the results that they come from.

A figure is a number outside code with a decimal point or a unit. In a table, all figures
of a row have to be found in one part of the results: in one row of a file, one summary,
one row of docs/results.md. Where most rows of a table come from several parts, each cell
has to come from one. What stands alone in a cell, and in text, is looked for anywhere in
the results of its section, in the unit that it is printed in. Found means that a value
rounds to what is printed; values are also made from others as pages do: in percent, in
other units, as a reciprocal, as a ratio of two times taken in turn.

The results of a section are those of the scripts and files that it names; of one that
names none, those that its page names.
"""

from __future__ import annotations

import bisect
import itertools
import json
import math
import re
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / 'benchmarks' / 'results'
UNITS = {
    '%': (1, 100),
    'points': (1,),
    'point': (1,),
    'ms': (1e3,),
    's': (1,),
    'seconds': (1,),
    'minutes': (1 / 60,),
    'kB': (1e-3,),
    'MB': (1e-6,),
    'GB': (1e-9,),
    'pJ': (1,),
    'nJ': (1e-3, 1),
    'M': (1e-6,),
    'bytes': (1,),
    'times': (1,),
    'x': (1,),
}
EVERY_FACTOR = (1, 100, 1e3, 1e-3, 1e-6, 1e-9)
_UNIT = '|'.join(sorted(UNITS.keys() - {'%'}, key=len, reverse=True))
NUMBER = re.compile(
    r'(?<![\w.,/^_=-])(?P<number>[-+−]?(?:\d{1,3}(?:,\d{3})+|\d+)(?P<rest>\.\d+)?'
    rf'(?P<power>e[+-]\d+)?)(?![\w-]|\.\d|,\d)(?: ?(?P<unit>(?:{_UNIT})\b|%))?'
)
# What was timed, or counted, in turn: any two may be compared.
COMPARED = ('seconds', 'peak_bytes')
LARGEST_PART, SMALL_PART = 120, 30
LEFT_OUT = (
    'versions',
    'arguments',
    'kernels',
    'correct',
    'layers',
    'config',
    'per_seed',
)


@dataclass(frozen=True)
class Figure:
    text: str
    unit: str | None
    context: str

    @property
    def value(self) -> float:
        return abs(float(re.sub('[^0-9.e-]', '', self.text.lstrip('+-−'))))

    @property
    def half_unit(self) -> float:
        """Half of what the last digit stands for, and a little."""
        mantissa, _, power = self.text.partition('e')
        decimals = len(mantissa.partition('.')[2])
        return 0.5 * 10.0 ** (int(power or 0) - decimals) * (1 + 1e-6) + 1e-12

    def wrong(self, steps: int) -> Figure:
        """The same, but for so many units of the last digit."""
        mantissa, e, power = self.text.lstrip('+-−').partition('e')
        whole, dot, rest = mantissa.replace(',', '').partition('.')
        digits = str(int(whole + rest) + steps).zfill(len(rest) + 1)
        end = len(digits) - len(rest)
        text = digits[:end] + dot + digits[end:] + e + power
        return Figure(text, self.unit, self.context)


@dataclass(frozen=True)
class Line:
    """A sentence, or a row of a table, and where its figures may come from."""

    page: str
    section: str
    cells: tuple[tuple[Figure, ...], ...]
    table: int | None  # Its number on the page, of a row.
    sources: tuple[str, ...]

    @property
    def figures(self) -> list[Figure]:
        return [figure for cell in self.cells for figure in cell]


def prose(text: str) -> str:
    """A page without code, formulas, addresses and anything else that is no figure."""
    text = re.sub(r'^```.*?^```', '', text, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r'\$\$.*?\$\$|\$[^$\n]+\$', '', text, flags=re.DOTALL)
    text = re.sub(r'`[^`\n]*`', '`code`', text)
    text = re.sub(r'\]\([^)]*\)|<[^>\n]*>|https?:\S+', ']', text)
    return re.sub(r'(arXiv|Python|PyTorch|PyG) \d+\.\d+', r'\1', text)


def sections(text: str) -> list[tuple[str, str]]:
    """Titles and texts, code included, of what headings divide a page into."""
    parts: list[tuple[str, list[str]]] = [('', [])]
    is_code = False
    for line in text.splitlines(keepends=True):
        is_code ^= line.startswith('```')
        if line.startswith('#') and not is_code:
            parts.append((line.strip('# \n'), []))
        parts[-1][1].append(line)
    found = [(title, ''.join(lines)) for title, lines in parts]
    return [(title, text) for title, text in found if text.strip()]


def sources(text: str, scripts: dict, follow: bool = True) -> tuple[str, ...]:
    """The files of results of the scripts, files and pages that a text names."""
    names = sorted(path.name for path in RESULTS.glob('*.json'))
    patterns = [f'{stem}.json' for stem in re.findall(r'results/([\w.-]+)\.json', text)]
    for script in re.findall(r'benchmarks/(\w+)\.py', text):
        patterns += scripts[script].results if script in scripts else ()
    if re.search(r'spikegraph run|benchmarks/results\)', text):
        patterns.append('run_*.json')
    for page in re.findall(r'\]\((?:docs/)?(\w+\.md)', text) if follow else ():
        if page != 'results.md' and (ROOT / 'docs' / page).exists():
            linked = (ROOT / 'docs' / page).read_text(encoding='utf-8')
            patterns += sources(linked, scripts, follow=False)
    return tuple(n for n in names if any(fnmatch(n, p) for p in patterns))


def lines(page: str, scripts: dict) -> list[Line]:
    """Sentences and rows of a page that have figures."""
    text, found = (ROOT / page).read_text(encoding='utf-8'), []
    everything, table, was_row = sources(text, scripts), 0, False
    for title, part in sections(text):
        own = sources(part, scripts) or everything
        for line in prose(part).splitlines():
            is_row = line.startswith('|')
            table += is_row and not was_row
            was_row = is_row
            texts = line.strip('|').split('|') if is_row else [line]
            cells = tuple(cell for each in texts if (cell := figures_of(each, is_row)))
            if cells:
                number = table if is_row else None
                found.append(Line(page, title, cells, number, own))
    return found


def figures_of(text: str, is_cell: bool) -> tuple[Figure, ...]:
    """The figures of a text; of a cell also those that share it with one."""
    matches, found = list(NUMBER.finditer(text)), []
    for match in matches:
        if match['rest'] or match['power'] or match['unit']:
            start, end = max(0, match.start() - 40), match.end() + 40
            number = match['number'].replace('−', '-')
            unit = None if is_cell else match['unit']
            found.append(Figure(number, unit, text[start:end].strip()))
    return tuple(found)


def leaves(value):
    """All numbers of a record, and ratios of those that were compared."""
    if isinstance(value, dict):
        if 'snn_memory' in value:  # Energies.
            yield from ratios(value)
        for key, inner in value.items():
            if key in COMPARED and isinstance(inner, dict):
                yield from ratios(inner)
            yield from leaves(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from leaves(inner)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield float(value)


def ratios(rows):
    """Ratios of two rows, each a number, or some by name."""
    for a, b in itertools.permutations(rows.values(), 2):
        pairs = [(a, b)]
        if isinstance(a, dict) and isinstance(b, dict):
            pairs = [(a[key], b[key]) for key in a.keys() & b.keys()]
        for x, y in pairs:
            if isinstance(x, (int, float)) and isinstance(y, (int, float)) and y:
                yield x / y


def made(numbers, factors):
    """Numbers, and those that are made from them, in order."""
    found = [abs(number) for number in numbers if math.isfinite(number)]
    values = {factor * number for number in found for factor in factors}
    values |= {1 / number for number in found if 0.01 < number < 100}
    return sorted({v for v in values if v == 0 or v > 1e-5} | set(found))


@cache
def record(name: str):
    found = json.loads((RESULTS / name).read_text())
    found = {key: value for key, value in found.items() if key not in LEFT_OUT}
    if 'summary' in found:  # Pages print summaries.
        found.pop('seeds', None)
    return found


@cache
def published() -> list[float]:
    """What others have printed."""
    text = (RESULTS.parent / 'published.json').read_text()
    return made(leaves(json.loads(text)), (1,))


@cache
def published_pairs() -> list[list[float]]:
    """Figures that others have printed together."""
    found = []

    def visit(value):
        if isinstance(value, dict):
            for inner in value.values():
                visit(inner)
        elif isinstance(value, list):
            if all(isinstance(each, (int, float)) for each in value):
                found.append(made(value, (1,)))
            else:
                for inner in value:
                    visit(inner)

    visit(json.loads((RESULTS.parent / 'published.json').read_text()))
    return found


@cache
def values(name: str, factors: tuple[float, ...]) -> list[float]:
    """Whatever a figure that comes from a file may be."""
    return made(leaves(record(name)), factors)


@cache
def parts(name: str) -> list[list[float]]:
    """The values of each small part of a file that holds numbers: a row, or a summary."""
    found = []

    def visit(value):
        inner = list(value.values()) if isinstance(value, dict) else value
        inside = list(leaves(value))
        if 1 < len(inside) <= LARGEST_PART:
            found.append(made(inside, EVERY_FACTOR))
            return
        own = [each for each in inner if len(list(leaves([each]))) <= SMALL_PART]
        if any(isinstance(each, float) for each in own):  # A row with large cells.
            found.append(made(leaves(own), EVERY_FACTOR))
        for each in inner:
            if isinstance(each, (dict, list)):
                visit(each)

    visit(record(name))
    return found


@cache
def printed() -> list[tuple[str, list[list[float]]]]:
    """The values of each line of docs/results.md, with the text of its section."""
    text = (ROOT / 'docs' / 'results.md').read_text(encoding='utf-8')
    found = []
    for _, part in sections(text):
        rows = []
        for line in prose(part).splitlines():
            numbers = [m['number'] for m in NUMBER.finditer(line)]
            numbers = [float(n.replace(',', '').replace('−', '-')) for n in numbers]
            if numbers:
                rows.append(made(numbers, (1,)))
        found.append((part, rows))
    return found


@cache
def printed_for(names: tuple[str, ...]) -> list[list[float]]:
    """Those lines of docs/results.md that are made from one of these files."""
    stems = [name.removesuffix('.json') for name in names]
    prefixes = {f'{stem.split("_")[0]}_*.json' for stem in stems}
    return [
        row
        for text, rows in printed()
        if any(f'/{s}.json' in text for s in stems) or any(p in text for p in prefixes)
        for row in rows
    ]


def holds(known: list[float], figure: Figure) -> bool:
    at = bisect.bisect_left(known, figure.value - figure.half_unit)
    return at < len(known) and known[at] <= figure.value + figure.half_unit


def in_one_part(figures, names) -> bool:
    """Whether one part of the results has all of these figures."""
    candidates = itertools.chain(
        printed_for(names), published_pairs(), *map(parts, names)
    )
    return any(all(holds(known, f) for f in figures) for known in candidates)


def anywhere(figure: Figure, names) -> bool:
    factors = UNITS[figure.unit] if figure.unit else EVERY_FACTOR
    known = itertools.chain(
        (published(),), printed_for(names), (values(name, factors) for name in names)
    )
    others = [figure]
    if figure.unit == '%':  # What is left of a hundred.
        decimals = len(figure.text.partition('.')[2])
        others.append(Figure(f'{100 - figure.value:.{decimals}f}', '%', figure.context))
    return any(holds(each, other) for each in known for other in others)


def is_whole(line: Line) -> bool:
    """Whether a row comes from one part of the results."""
    return len(line.figures) > 1 and in_one_part(line.figures, line.sources)


def missing(line: Line) -> list[Figure]:
    """The figures of a row that are not in the part that has most of them."""
    candidates = itertools.chain(printed_for(line.sources), *map(parts, line.sources))
    found = ([f for f in line.figures if not holds(part, f)] for part in candidates)
    return min(found, key=len, default=line.figures)


def whole_tables(found: list[Line]) -> set[int | None]:
    """The tables most of whose rows come from one part of the results each."""
    rows = [line for line in found if line.table is not None]
    counts: dict[int | None, list[bool]] = {}
    for line in rows:
        counts.setdefault(line.table, []).append(is_whole(line))
    return {table for table, each in counts.items() if 2 * sum(each) > len(each)}


def untraced(line: Line, whole: set[int | None]) -> list[Figure]:
    """The figures of a line that no result can be found for."""
    if line.table is None:
        return [f for f in line.figures if not anywhere(f, line.sources)]
    if line.table in whole:
        return missing(line)
    return [
        figure
        for cell in line.cells
        if not (
            in_one_part(cell, line.sources)
            if len(cell) > 1
            else anywhere(cell[0], line.sources)
        )
        for figure in cell
    ]
