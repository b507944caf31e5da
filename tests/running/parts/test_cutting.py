"""What is kept costs least: against all choices of small graphs."""

from itertools import chain, combinations

import pytest
import torch

from spikegraph.running.parts.cutting import find_depths, find_stored
from spikegraph.running.parts.step import Kind


class Step:
    """As much of a step as is looked at."""

    def __init__(self, kind, inputs, cost, axis, can_keep=True):
        self.kind, self.inputs, self.cost, self.axis = kind, inputs, cost, axis
        self.depth, self.dim, self.effort = 0, 0, 0
        self.probe = torch.ones(1) if can_keep else 'a size'


class Nodes:
    name = 'x'

    def find(self):
        return self


def draw(random, num):
    """A random graph of steps, of which the first is an input."""
    axis, steps = Nodes(), []

    def integer(end):
        return int(torch.randint(end, (), generator=random))

    for number in range(num):
        kind = (Kind.ROWS, Kind.ROWS, Kind.LINKS, Kind.SIZE)[integer(4)]
        if number == 0:
            kind = Kind.FEATURE
        inputs = tuple(
            {steps[integer(number)] for _ in range(1 + integer(2))} if number else ()
        )
        can_keep = kind not in (Kind.SIZE, Kind.ROWS) or integer(5) > 0
        cost = 0 if kind is Kind.FEATURE else 1 + integer(9)
        steps.append(Step(kind, inputs, cost, axis, can_keep))
        steps[-1].effort = integer(6) * integer(2)
    find_depths(steps)
    return steps


def price(steps, kept, free):
    """What is kept, and what is made anew, costs together; None if what is read at a
    greater depth is neither kept nor made of what is."""
    anew = set()

    def can_make(step, is_fetched):
        if step in kept:
            return True
        if step.kind is not Kind.ROWS or (is_fetched and step not in free):
            return False
        anew.add(step)
        return all(
            can_make(before, is_fetched)
            for before in step.inputs
            if before.kind is not Kind.SIZE
        )

    is_enough = all(
        can_make(step, user.kind is Kind.LINKS)
        for user in steps
        for step in user.inputs
        if step.depth < user.depth and Kind.SIZE not in (step.kind, user.kind)
    )
    found = sum(s.cost for s in kept) + sum(s.effort for s in anew)
    return found if is_enough else None


def cheapest(steps, free):
    candidates = [step for step in steps if isinstance(step.probe, torch.Tensor)]
    sizes = range(len(candidates) + 1)
    choices = chain.from_iterable(combinations(candidates, n) for n in sizes)
    prices = [price(steps, kept, free) for kept in choices]
    return min((found for found in prices if found is not None), default=None)


@pytest.mark.parametrize('seed', range(60))
def test_least_cost(seed):
    random = torch.Generator().manual_seed(seed)
    least = None
    while least is None:  # Else what is read can neither be kept nor made.
        steps = draw(random, 9)
        free = {s for s in steps if torch.rand((), generator=random) < 0.7}
        least = cheapest(steps, free)
    kept = find_stored(steps, free.__contains__, lambda s: s.cost, lambda s: s.effort)
    assert price(steps, kept, free) == least


def test_depths():
    axis = Nodes()
    x = Step(Kind.FEATURE, (), 0, axis)
    near = Step(Kind.LINKS, (x,), 1, axis)
    act = Step(Kind.ROWS, (near,), 1, axis)
    far = Step(Kind.LINKS, (act,), 1, axis)
    both = Step(Kind.ROWS, (far, x), 1, axis)
    find_depths([x, near, act, far, both])
    assert [s.depth for s in (x, near, act, far, both)] == [0, 1, 1, 2, 2]
    every = [x, near, act, far, both]
    for effort, expected in ((0, {x, near}), (3, {x, act})):
        near.cost, act.cost, act.effort = 1, 2, effort
        kept = find_stored(every, lambda s: True, lambda s: s.cost, lambda s: s.effort)
        assert set(kept) == expected
