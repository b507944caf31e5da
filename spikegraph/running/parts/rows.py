"""Which rows each step of a stage makes, for the rows that are asked of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from spikegraph.kernels import Adjacency
from spikegraph.running.parts.step import Index, Links


@dataclass(frozen=True)
class Atom:
    """A set of rows, in terms of others.

    Args:
        how (str): :obj:`"goal"`, those that a stage is asked for; :obj:`"sources"` of the
            edges of others, or :obj:`"around"`, these and then other sources;
            :obj:`"taken"` by an index; :obj:`"members"` of groups; :obj:`"closed"`, all
            members of the groups of these; :obj:`"one"`, the only one.
        site (Links or Index, optional): The edges or the index.
        of (Tuple[Atom, ...]): The others.
    """

    how: str
    site: Any = None
    of: tuple[Atom, ...] = ()


Need = tuple[Atom, ...]
GOAL: Need = (Atom('goal'),)
ONE: Need = (Atom('one'),)
_FETCHED = ('goal', 'sources', 'taken', 'around')


def both(a: Need, b: Need) -> Need:
    """The rows of either, in the order of the first."""
    return tuple(dict.fromkeys((*a, *b)))


def taken(site: Index, need: Need) -> Need:
    """What an index names; of members of groups, these groups."""
    if len(need) == 1 and need[0].how == 'members' and need[0].site is site:
        return need[0].of
    return (Atom('taken', site, need),)


def members(site: Index, need: Need) -> Need:
    """The members of groups."""
    return (Atom('members', site, need),)


def closed(site: Index, need: Need) -> Need:
    """Groups as a whole."""
    if len(need) == 1 and need[0].how in ('members', 'closed') and need[0].site is site:
        return need
    return (Atom('closed', site, need),)


class Frame:
    """The rows of a stage for a block of those that it is asked for.

    Args:
        goal (torch.Tensor): The rows of the block, each once.
    """

    def __init__(self, goal: Tensor) -> None:
        self.goal = goal
        self._rows: dict[Need, Tensor] = {GOAL: goal, ONE: goal.new_zeros(1)}
        self._places: dict[tuple[Need, Need], Tensor | None] = {}
        self._local: dict[Any, Any] = {}

    def rows(self, need: Need) -> Tensor:
        """The numbers of rows, each once."""
        if need not in self._rows:
            found = self._atom(need[0]) if len(need) == 1 else self._joined(need)
            self._rows[need] = found
        return self._rows[need]

    def widen(self, need: Need, there: Tensor) -> None:
        """Lets rows that are fetched from elsewhere be all that are there, so that none of
        these has to be moved.
        """
        rows, own = self.rows(need), len(self.goal)
        is_around = any(atom.how in ('goal', 'around') for atom in need)
        is_first = torch.equal(there[:own], self.goal)
        if all(atom.how in _FETCHED for atom in need) and need != GOAL:
            if is_first or not is_around:
                self._rows[need] = torch.cat([there, without(rows, there)])

    def _joined(self, need: Need) -> Tensor:
        found = self.rows(need[:1])
        for atom in need[1:]:
            other = self.rows((atom,))
            found = torch.cat([found, without(other, found)])
        return found

    def _atom(self, atom: Atom) -> Tensor:
        own = self.rows(atom.of)
        if atom.how == 'taken':
            return _unique(atom.site.value[own], atom.site.num_groups)
        if atom.how == 'members':
            start, order = atom.site.members
            return order[_between(start, own)]
        if atom.how == 'closed':
            named = self.rows((Atom('taken', atom.site, atom.of),))
            start, order = atom.site.members
            return order[_between(start, named)]
        adjacency: Adjacency = atom.site.adjacency
        if adjacency.matrix is not None:  # Which is multiplied as a whole.
            sources = torch.arange(adjacency.num_sources, device=own.device)
        else:
            sources = _unique(self._col(atom.site, atom.of)[1], adjacency.num_sources)
        if atom.how == 'sources':
            return sources
        assert atom.how == 'around'
        return torch.cat([own, without(sources, own)])

    def _col(self, links: Links, need: Need) -> tuple[Any, Tensor]:
        """The edges of some rows, and their sources."""
        key = links, need, 'col'
        if key not in self._local:
            adjacency, own = links.adjacency, self.rows(need)
            edges: Any
            if _is_range(own):
                edges = slice(0, 0)
                if len(own):
                    first = int(adjacency.rowptr[own[0]])
                    edges = slice(first, int(adjacency.rowptr[int(own[-1]) + 1]))
            else:
                edges = _between(adjacency.rowptr, own)
            self._local[key] = edges, adjacency.col[edges]
        return self._local[key]

    def places(self, need: Need, among: Need) -> Tensor | None:
        """Where rows lie among others; None if they are the same."""
        key = need, among
        if key not in self._places:
            own, all_rows = self.rows(need), self.rows(among)
            is_same = own is all_rows or torch.equal(own, all_rows)
            self._places[key] = None if is_same else locate(own, all_rows)
        return self._places[key]

    def index(self, site: Index, need: Need, among: Need) -> Tensor:
        """What an index names, as places among rows."""
        key = site, need, among
        if key not in self._local:
            named = site.value[self.rows(need)]
            self._local[key] = locate(named, self.rows(among))
        return self._local[key]

    def adjacency(self, links: Links, need: Need, among: Need) -> Adjacency:
        """The in-edges of some rows, whose sources lie among others."""
        key = links, need, among
        if key not in self._local:
            self._local[key] = self._restricted(links, need, among)
        return self._local[key]

    def _restricted(self, links: Links, need: Need, among: Need) -> Adjacency:
        whole, own, sources = links.adjacency, self.rows(need), self.rows(among)
        edges, col = self._col(links, need)
        counts = whole.rowptr.diff()[own]
        rowptr = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        matrix = None if whole.matrix is None else whole.matrix[own][:, sources]

        def at(value: Tensor | None, rows: Any) -> Tensor | None:
            return None if value is None else value[rows]

        return Adjacency(
            rowptr=rowptr,
            col=locate(col, sources).to(col.dtype),
            weight=at(whole.weight, edges),
            source_factor=at(whole.source_factor, sources),
            target_factor=at(whole.target_factor, own),
            num_sources=len(sources),
            matrix=matrix,
        )


def locate(rows: Tensor, among: Tensor) -> Tensor:
    """Where rows lie among others, which are each there once."""
    if len(among) and _is_range(among):
        return rows.long() - among[0]
    size = int(among.max()) + 1 if len(among) else 0
    if size <= 16 * (len(rows) + len(among)):
        place = torch.empty(size, dtype=torch.long, device=among.device)
        place[among] = torch.arange(len(among), device=among.device)
        return place[rows.long()]
    ordered, order = among.sort()
    return order[torch.searchsorted(ordered, rows.long())]


def _is_range(rows: Tensor) -> bool:
    """Whether rows follow each other."""
    if len(rows) == 0:
        return True
    if int(rows[-1] - rows[0]) != len(rows) - 1:
        return False
    return bool((rows.diff() == 1).all())


def _unique(rows: Tensor, size: int) -> Tensor:
    """Each row once, in order."""
    if len(rows) * 8 < size:
        return rows.long().unique()
    found = torch.zeros(size, dtype=torch.bool, device=rows.device)
    found[rows.long()] = True
    return found.nonzero().view(-1)


def without(rows: Tensor, others: Tensor) -> Tensor:
    """The rows that are not among others, in order."""
    if len(rows) == 0 or len(others) == 0:
        return rows
    size = int(max(rows.max(), others.max())) + 1
    if size > 16 * (len(rows) + len(others)):
        return rows[~torch.isin(rows, others)]
    found = torch.zeros(size, dtype=torch.bool, device=rows.device)
    found[others] = True
    return rows[~found[rows]]


def _between(start: Tensor, rows: Tensor) -> Tensor:
    """The places from where each of some rows starts to where the next one does."""
    first = start[rows].long()
    counts = start[rows + 1].long() - first
    offset = counts.cumsum(0) - counts
    places = torch.arange(int(counts.sum()), device=rows.device)
    return places + (first - offset).repeat_interleave(counts)
