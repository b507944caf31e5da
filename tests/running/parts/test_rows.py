"""Rows of blocks, against sets of numbers and whole products."""

import pytest
import torch

from spikegraph.kernels import Adjacency, aggregate
from spikegraph.running.parts.rows import (
    GOAL,
    Atom,
    Frame,
    both,
    closed,
    locate,
    members,
    taken,
    without,
)
from spikegraph.running.parts.step import Index, Links

NUM_ROWS, NUM_GROUPS = 40, 9


@pytest.fixture
def random():
    return torch.Generator().manual_seed(3)


@pytest.fixture
def links(random):
    edge_index = torch.randint(NUM_ROWS, (2, 120), generator=random)
    weight = torch.rand(120, generator=random)
    factors = torch.rand(2, NUM_ROWS, 1, generator=random)
    adjacency = Adjacency.from_edges(*edge_index, weight, NUM_ROWS, NUM_ROWS, *factors)
    return Links(adjacency), edge_index


@pytest.fixture
def groups(random):
    value = torch.randint(NUM_GROUPS, (NUM_ROWS,), generator=random)
    return Index(value, NUM_GROUPS)


GOALS = [[], [5], [3, 4, 5, 6], [7, 0, 31, 12], list(range(NUM_ROWS))]


def rows_of(frame, need):
    found = frame.rows(need).tolist()
    assert len(set(found)) == len(found)
    return found


@pytest.mark.parametrize('goal', GOALS)
def test_sources(links, goal):
    site, (source, target) = links
    frame = Frame(torch.tensor(goal, dtype=torch.long))
    near = {int(s) for s, t in zip(source, target, strict=True) if int(t) in goal}
    assert set(rows_of(frame, (Atom('sources', site, GOAL),))) == near
    around = rows_of(frame, (Atom('around', site, GOAL),))
    assert around[: len(goal)] == goal and set(around) == near | set(goal)
    twice = (Atom('sources', site, (Atom('sources', site, GOAL),)),)
    far = {int(s) for s, t in zip(source, target, strict=True) if int(t) in near}
    assert set(rows_of(frame, twice)) == far
    either = both((Atom('sources', site, GOAL),), twice)
    assert set(rows_of(frame, either)) == near | far


@pytest.mark.parametrize('goal', GOALS)
def test_groups(groups, goal):
    frame = Frame(torch.tensor(goal, dtype=torch.long))
    named = {int(groups.value[row]) for row in goal}
    assert set(rows_of(frame, taken(groups, GOAL))) == named
    whole = {row for row in range(NUM_ROWS) if int(groups.value[row]) in named}
    assert set(rows_of(frame, closed(groups, GOAL))) == whole
    few = Frame(torch.tensor(sorted(named), dtype=torch.long))
    found = rows_of(few, members(groups, GOAL))
    assert set(found) == whole
    # Groups stay together, in their order.
    order = [int(groups.value[row]) for row in found]
    assert order == sorted(order)
    # Whose groups' members there are is known, and not looked for.
    assert taken(groups, members(groups, GOAL)) == GOAL
    assert closed(groups, members(groups, GOAL)) == members(groups, GOAL)


@pytest.mark.parametrize('goal', GOALS)
@pytest.mark.parametrize('is_wider', [False, True])
def test_products(links, goal, is_wider, random):
    """In-edges of a block, on the rows that it has, give the rows of the whole product."""
    site, _ = links
    x = torch.rand(NUM_ROWS, 3, generator=random)
    frame, need = (
        Frame(torch.tensor(goal, dtype=torch.long)),
        (Atom('sources', site, GOAL),),
    )
    if is_wider:
        there = torch.randperm(NUM_ROWS, generator=random)
        frame.widen(need, there)
        assert torch.equal(frame.rows(need), there)
    block = frame.adjacency(site, GOAL, need)
    found = aggregate(block, x[frame.rows(need)])
    assert torch.equal(found, aggregate(site.adjacency, x)[frame.goal])


def test_places(random):
    among = torch.randperm(1000, generator=random)[:50]
    for all_rows in (among, among + 10**7, torch.arange(30, 80)):
        places = torch.randperm(50, generator=random)[:20]
        assert torch.equal(locate(all_rows[places], all_rows), places)
        others = all_rows[places]
        kept = without(all_rows, others).tolist()
        gone = set(others.tolist())
        assert kept == [row for row in all_rows.tolist() if row not in gone]
    none = torch.empty(0, dtype=torch.long)
    assert len(locate(none, among)) == 0 and without(none, among) is none
    assert without(among, none) is among


def test_places_of_the_same_rows(groups):
    frame = Frame(torch.tensor([4, 2]))
    assert frame.places(GOAL, GOAL) is None
    whole = closed(groups, GOAL)
    places = frame.places(GOAL, whole)
    assert frame.rows(whole)[places].tolist() == [4, 2]
    index = frame.index(groups, whole, taken(groups, GOAL))
    named = frame.rows(taken(groups, GOAL))[index]
    assert torch.equal(named, groups.value[frame.rows(whole)])
