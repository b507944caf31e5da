"""What reports are made of: one source, two renderings, as text and as HTML."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Protocol

_WIDTH = 88  # Of lines of prose.
_GAP = '  '
# Notebooks are light or dark: lines have the colour of the text, whatever that is.
_KEEP = 'white-space:nowrap;'
_LINE = 'border-bottom:1px solid currentColor;'
_CELL = 'padding:2px 6px;vertical-align:top;'
_NUMBER = f'{_CELL}text-align:right;'
_TEXT = f'{_CELL}text-align:left;'
_SIZE = 'font-size:12px;'
_TABLE = (
    f'border-collapse:collapse;font-variant-numeric:tabular-nums;margin:4px 0;{_SIZE}'
)
_FRAME = 'max-width:700px;font-size:13px;line-height:1.35;'
_SMALL = f'opacity:0.8;margin:2px 0;{_SIZE}'


class Part(Protocol):
    """A piece of a report."""

    def lines(self) -> list[str]: ...

    def html(self) -> str: ...


@dataclass(frozen=True)
class Column:
    """A column of a :class:`Table`.

    Args:
        head (str): Its head, with the unit.
        width (int): Characters that it has at least as text.
        is_text (bool): Whether it is aligned on the left.
    """

    head: str
    width: int = 0
    is_text: bool = False


@dataclass(frozen=True)
class Table:
    """Rows of cells that are texts already.

    Args:
        columns (Sequence[Column]): The columns.
        rows (Sequence[Sequence[str] or str]): The rows; one that is a text is the head of
            those behind it, whose first cells are indented.
        has_total (bool): Whether the last row is a sum.
        note (str): What stands below.

    Example:
        >>> columns = [Column('layer', is_text=True), Column('spikes', 8)]
        >>> table = Table(columns, [['a', '3']])
        >>> print(as_text([table]))
        layer    spikes
        a             3
        >>> '<td' in table.html()
        True
    """

    columns: Sequence[Column]
    rows: Sequence[Sequence[str] | str]
    has_total: bool = False
    note: str = ''

    def lines(self) -> list[str]:
        """The table as text, columns padded to the longest of their cells."""
        indented = [row if isinstance(row, str) else [*row] for row in self.rows]
        for i in range(1, len(indented)):
            row, before = indented[i], indented[:i]
            if isinstance(row, list) and any(isinstance(r, str) for r in before):
                row[0] = _GAP + row[0]
        cells = [row for row in indented if not isinstance(row, str)]
        widths = [
            max([column.width, len(column.head), *(len(row[i]) for row in cells)])
            for i, column in enumerate(self.columns)
        ]
        lines = [self._line([column.head for column in self.columns], widths)]
        for row in indented:
            lines.append(row if isinstance(row, str) else self._line(row, widths))
        return [*lines, *([self.note] if self.note else [])]

    def _line(self, row: Sequence[str], widths: Sequence[int]) -> str:
        pairs = zip(row, self.columns, widths, strict=True)
        found = [f'{c:<{w}}' if k.is_text else f'{c:>{w}}' for c, k, w in pairs]
        return _GAP.join(found).rstrip()

    def html(self) -> str:
        """The table as HTML; where it is too wide, it scrolls by itself."""
        heads = ''.join(
            f'<th scope="col" style="{_style(column)}{_LINE}">{escape(column.head)}</th>'
            for column in self.columns
        )
        rows = [f'<tr>{heads}</tr>']
        for i, row in enumerate(self.rows):
            is_sum = self.has_total and i == len(self.rows) - 1
            rows.append(
                self._group(row) if isinstance(row, str) else self._row(row, is_sum)
            )
        note = escape(self.note).replace('\n', '<br>')
        note = f'<p style="{_SMALL}">{note}</p>' if note else ''
        body = f'<thead>{rows[0]}</thead><tbody>{"".join(rows[1:])}</tbody>'
        return _scrolling(body) + note

    def _group(self, text: str) -> str:
        span = f'colspan="{len(self.columns)}" scope="colgroup"'
        return f'<tr><th {span} style="{_TEXT}">{escape(text)}</th></tr>'

    def _row(self, row: Sequence[str], is_sum: bool) -> str:
        extra = 'border-top:1px solid currentColor;font-weight:bold;' if is_sum else ''
        cells = ''.join(
            f'<td style="{_style(column)}{_KEEP * (not column.is_text)}{extra}">'
            f'{escape(cell)}</td>'
            for cell, column in zip(row, self.columns, strict=True)
        )
        return f'<tr>{cells}</tr>'


@dataclass(frozen=True)
class Facts:
    """Names and what they are, one a line.

    Args:
        pairs (Sequence[Tuple[str, str]]): The names, and what is said of them.
        width (int): Characters that names have at least as text.
    """

    pairs: Sequence[tuple[str, str]]
    width: int = 13

    def lines(self) -> list[str]:
        """As text."""
        return [f'{name:<{self.width}} {text}' for name, text in self.pairs]

    def html(self) -> str:
        """As HTML."""
        rows = ''.join(
            f'<tr><th scope="row" style="{_TEXT}{_KEEP}">{escape(name)}</th>'
            f'<td style="{_TEXT}">{escape(text)}</td></tr>'
            for name, text in self.pairs
        )
        return _scrolling(f'<tbody>{rows}</tbody>')


@dataclass(frozen=True)
class Prose:
    """Sentences.

    Args:
        texts (Sequence[str]): One or more paragraphs.
        summary (str): In HTML, they are folded behind this.
        wraps (bool): Whether long lines of text are broken.
    """

    texts: Sequence[str]
    summary: str = ''
    wraps: bool = False

    def lines(self) -> list[str]:
        """As text."""
        if not self.wraps:
            return [*self.texts]
        wrapped = (textwrap.wrap(t, _WIDTH, subsequent_indent=_GAP) for t in self.texts)
        return [line for lines in wrapped for line in lines]

    def html(self) -> str:
        """As HTML."""
        found = ''.join(f'<p style="{_SMALL}">{escape(t)}</p>' for t in self.texts)
        if not self.summary:
            return found
        return f'<details><summary>{escape(self.summary)}</summary>{found}</details>'


@dataclass(frozen=True)
class Blank:
    """An empty line of text; in HTML, parts keep their distance anyway."""

    def lines(self) -> list[str]:
        """As text."""
        return ['']

    def html(self) -> str:
        """As HTML."""
        return ''


class Shown:
    """What people end a cell with: text in a terminal, HTML in a notebook."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        # IPython prefers a class's own `__repr__`, as of dataclasses, to what it inherits.
        cls._repr_pretty_ = Shown._repr_pretty_  # type: ignore[method-assign]

    def _title(self) -> str:
        raise NotImplementedError

    def _parts(self) -> list[Part]:
        raise NotImplementedError

    def __str__(self) -> str:
        return as_text(self._parts())

    def _repr_html_(self) -> str:
        return as_html(self._title(), self._parts())

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(str(self))  # IPython's, also for those who do not see the HTML.


def percent(part: int, whole: int) -> str:
    """A share of a whole, of which nothing may be there, in percent."""
    return f'{100 * part / max(1, whole):.1f}'


def as_text(parts: Iterable[Part]) -> str:
    """The parts below each other, for a terminal."""
    return '\n'.join(line for part in parts for line in part.lines())


def as_html(title: str, parts: Iterable[Part]) -> str:
    """The same for a notebook, without styles or scripts that a page would need.

    Args:
        title (str): What stands above.
        parts (Iterable[Part]): The parts.
    """
    body = ''.join(part.html() for part in parts)
    return f'<div style="{_FRAME}"><strong>{escape(title)}</strong>{body}</div>'


def _scrolling(rows: str) -> str:
    table = f'<table style="{_TABLE}">{rows}</table>'
    return f'<div style="overflow-x:auto;">{table}</div>'


def _style(column: Column) -> str:
    return _TEXT if column.is_text else _NUMBER
