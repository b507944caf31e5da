"""Networks of single stages, between what is kept and what is kept next."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from spikegraph.network.graph import Record, Ref, called
from spikegraph.network.network import Network
from spikegraph.network.roles import Role
from spikegraph.nn import EarliestNeighbor, GraphFilter
from spikegraph.nn.routing import gather_rows, move_spikes
from spikegraph.running.closed import ClosedForm, Flow
from spikegraph.running.parts.hops import Prepared
from spikegraph.running.parts.kept import aligned
from spikegraph.running.parts.rows import (
    GOAL,
    ONE,
    Atom,
    Frame,
    Need,
    both,
    closed,
    members,
    taken,
)
from spikegraph.running.parts.step import Axis, Fixed, Kind, Step, mapped, take

_NUMBERS = (int, float, complex, str, bool, type(None), torch.dtype, torch.device)
Read = Callable[[Step, Tensor], Any]


@dataclass(frozen=True)
class Feed:
    """What a stage is given for a block.

    Args:
        how (str): :obj:`"kept"` rows of a step, :obj:`"rows"` of a fixed value, an
            :obj:`"index"` or the :obj:`"adjacency"` of a site, the :obj:`"places"` of
            rows among others, or their :obj:`"count"`.
        what (Any): The step, the value or the site.
        need (Tuple[Atom, ...]): The rows.
        among (Tuple[Atom, ...]): Those that they lie among.
    """

    how: str
    what: Any
    need: Need
    among: Need = ()

    def value(self, frame: Frame, read: Read) -> Any:
        """It, for the rows of a frame.

        Args:
            frame (Frame): The rows.
            read (Callable): Reads rows of what is kept.
        """
        if self.how == 'kept':
            return read(self.what, frame.rows(self.need))
        if self.how == 'rows':
            return take(self.what.value, frame.rows(self.need))
        if self.how == 'count':
            return len(frame.rows(self.need))
        if self.how == 'places':
            return frame.places(self.need, self.among)
        if self.how == 'index':
            return frame.index(self.what, self.need, self.among)
        assert self.how == 'adjacency'
        return frame.adjacency(self.what, self.need, self.among)


class Stage:
    """The steps from what is kept to some of what is kept next.

    Args:
        goals (List[Step]): What it makes, of one axis and depth.
        is_kept (Callable): Whether a step is kept.
        form (Form): The structure of what the network returns.

    Attributes:
        network (Network): The steps as a network.
        feeds (Dict[str, Feed]): Its inputs.
        reads (Dict[Step, Tuple[Atom, ...]]): Which rows of what is kept it reads.
    """

    def __init__(
        self, goals: list[Step], is_kept: Callable[[Step], bool], form: Any
    ) -> None:
        self.goals, self.axis = goals, goals[0].axis.find()
        self.depth = goals[0].depth
        self._is_kept = is_kept
        self.feeds: dict[str, Feed] = {}
        self._records: list[Record] = []
        self._modules: dict[str, Any] = {}
        self._fixed: dict[str, Any] = {}
        self._refs: dict[Any, Ref] = {}
        self.needs = self._find_needs()
        self.reads = {s: n for s, n in self.needs.items() if self._is_given(s)}
        self.network = self._build(form)
        self.flow = Flow(self.network, keeps=False)

    @property
    def title(self) -> str:
        """What it makes, as people know it."""
        records = [goal.record for goal in self.goals]
        names = [
            r.label if r.op == 'call_module' else r.row or r.origin or r.name
            for r in records
        ]
        return ', '.join(dict.fromkeys(names))

    def run(self, frame: Frame, read: Read) -> list[Any]:
        """The rows of each goal."""
        return self.run_by(ClosedForm(self.flow), frame, read)

    def run_by(self, form: ClosedForm, frame: Frame, read: Read) -> list[Any]:
        """The same, by a form of the network of the stage."""
        inputs = {name: feed.value(frame, read) for name, feed in self.feeds.items()}
        made = form.run(inputs)
        return [aligned(g, v) for g, v in zip(self.goals, made, strict=True)]

    @property
    def reads_directly(self) -> bool:
        """Whether rows that are fetched are read as they are kept, so that nothing is
        made twice in two blocks.
        """
        made = [s for s in self.needs if not self._is_given(s) and s.kind is Kind.ROWS]
        return all(self.needs[step] in (GOAL, ONE) for step in made) and not any(
            atom.how == 'around' for need in self.reads.values() for atom in need
        )

    def blocks(self, block_size: int) -> list[Tensor]:
        """The rows that it makes, in blocks."""
        return list(torch.arange(self.axis.size).split(block_size))

    def _is_given(self, step: Step) -> bool:
        if step in self.goals:
            return False
        is_before = step.depth < self.depth and self._is_kept(step)
        return step.kind is Kind.FEATURE or is_before

    # Which rows.

    def _inside(self) -> list[Step]:
        """The steps that are made, and those that are given, each before its readers."""
        order: dict[Step, None] = {}

        def visit(step: Step) -> None:
            stack = [(step, False)]
            while stack:
                each, done = stack.pop()
                if each in order:
                    continue
                if done or self._is_given(each):
                    order[each] = None
                    continue
                stack.append((each, True))
                stack += [(s, False) for s in reversed(each.inputs)]

        for goal in self.goals:
            visit(goal)
        return list(order)

    def _find_needs(self) -> dict[Step, Need]:
        needs: dict[Step, Need] = {goal: GOAL for goal in self.goals}
        self._order = self._inside()
        for step in reversed(self._order):
            if step.kind is Kind.SIZE or self._is_given(step):
                continue
            if step.kind is Kind.GROUPS:
                needs[step] = closed(step.site, needs[step])
            for source, need in self._asked(step, needs[step]):
                needs[source] = _ordered(both(needs.get(source, ()), need))
        return {step: needs[step] for step in self._order if step in needs}

    def _asked(self, step: Step, need: Need) -> list[tuple[Step, Need]]:
        """Which rows of its inputs a step reads."""
        found: list[tuple[Step, Need]] = []
        for source in step.inputs:
            if source.kind is Kind.SIZE:
                found += self._asked(source, need)
            else:
                found.append((source, self._asked_of(step, source, need)))
        return found

    def _asked_of(self, step: Step, source: Step, need: Need) -> Need:
        if step.kind in (Kind.ROWS, Kind.SIZE):
            is_one = source.axis.find().size == 1 != step.axis.find().size
            return ONE if is_one else need
        if step.kind is Kind.LINKS:
            return (Atom('around' if step.own else 'sources', step.site, need),)
        if step.kind is Kind.GATHER:
            return taken(step.site, need)
        if step.kind is Kind.MEMBERS:
            return members(step.site, need)
        assert step.kind is Kind.GROUPS
        return need  # Groups as a whole already.

    # The network.

    def _build(self, form: Any) -> Network:
        for step in self._order:
            if step.kind is not Kind.SIZE:
                self._refs[step] = self._given(step) or self._made(step)
        found = tuple(self._rows(goal, GOAL) for goal in self.goals)
        self._emit(Record('output', Role.OUTPUT, 'output', 'output', (found,)))
        network = Network(self._records, form)
        for name, module in self._modules.items():
            network.add_module(name, module)
        for name, value in self._fixed.items():
            network.__dict__[name] = value
        return network.eval()

    def _emit(self, record: Record) -> Ref:
        self._records.append(record)
        return Ref(len(self._records) - 1)

    def _feed(self, how: str, what: Any, need: Need, among: Need = ()) -> Ref:
        feed = Feed(how, what, need, among)
        if feed not in self._refs:
            name = f'{how}_{len(self.feeds)}'
            self.feeds[name] = feed
            self._refs[feed] = self._emit(Record(name, Role.INPUT, 'placeholder', name))
        return self._refs[feed]

    def _given(self, step: Step) -> Ref | None:
        if not self._is_given(step):
            return None
        return self._feed('kept', step, self.needs[step])

    def _rows(self, step: Step, need: Need) -> Ref:
        """Some of the rows of a step."""
        own = self.needs[step]
        if own == need:
            return self._refs[step]
        key = step, need
        if key not in self._refs:
            places = self._feed('places', None, need, own)
            args = self._refs[step], places, step.dim
            name = f'{step.name}_rows_{len(self._records)}'
            record = Record(name, Role.MOVE, 'call_function', take_places, args)
            self._refs[key] = self._emit(record)
        return self._refs[key]

    def _made(self, step: Step) -> Ref:
        need, record, site = self.needs[step], step.record, step.site
        module, args, kwargs = step.module, step.args, step.kwargs
        if step.kind is Kind.ROWS:
            args, kwargs = self._arguments(step, need)
            return self._call(step, record, module, args, kwargs)
        (x,) = step.inputs
        if step.kind is Kind.GATHER:
            index = self._feed('index', site, need, self.needs[x])
            if called(record) is move_spikes and record.args[1] == '__getitem__':
                args = self._refs[x], '__getitem__', index
                return self._call(step, record, None, args)
            record = replace(record, op='call_function', target=gather_rows)
            return self._call(step, record, None, (self._refs[x], index))
        (_, asked), *_ = self._asked(step, need)
        if step.kind is Kind.LINKS:
            if isinstance(module, EarliestNeighbor):
                module = copy.copy(module)
                module.__dict__['shift'] = Prepared()
            assert isinstance(module, (GraphFilter, EarliestNeighbor))
            among = asked if step.own else self.needs[x]
            source = self._rows(x, asked) if step.own else self._refs[x]
            graph = self._feed('adjacency', site, need, among)
            return self._call(step, record, module, (source, graph))
        of = need if step.kind is Kind.MEMBERS else taken(site, need)
        index = self._feed('index', site, asked, of)
        num = self._feed('count', None, of)
        return self._call(step, record, module, (self._rows(x, asked), index, num))

    def _arguments(self, step: Step, need: Need) -> tuple[Any, Any]:
        def part(value: Any) -> Any:
            if isinstance(value, Fixed):
                return self._constant(value, need)
            if not isinstance(value, Step):
                return value
            if value.kind is Kind.SIZE:
                return self._size(value, need)
            return self._rows(value, self._asked_of(step, value, need))

        found: tuple[Any, Any] = mapped((step.args, step.kwargs), part)
        return found

    def _size(self, step: Step, need: Need) -> Ref:
        """What is asked of the rows of a block."""
        key = step, need
        if key not in self._refs:
            args, kwargs = self._arguments(step, need)
            name = f'{step.name}_{len(self._records)}'
            record = replace(step.record, name=name, args=args, kwargs=kwargs)
            self._refs[key] = self._emit(record)
        return self._refs[key]

    def _constant(self, fixed: Fixed, need: Need) -> Any:
        if fixed.axis is not None:
            return self._feed('rows', fixed, need)
        if isinstance(fixed.value, _NUMBERS):
            return fixed.value
        if fixed not in self._refs:
            name = f'fixed_{fixed.name}'
            self._fixed[name] = fixed.value
            record = Record(name, Role.CONSTANT, 'get_attr', name)
            self._refs[fixed] = self._emit(record)
        return self._refs[fixed]

    def _call(
        self, step: Step, record: Record, module: Any, args: Any, kwargs: Any = None
    ) -> Ref:
        name, op, target = step.name, record.op, record.target
        if module is not None:
            op, target = 'call_module', f'own_{name}'
            self._modules[target] = module
        made = replace(
            record, name=name, op=op, target=target, args=args, kwargs=kwargs or {}
        )
        return self._emit(made)


def take_places(value: Any, places: Tensor | None, dim: int = 0) -> Any:
    """Rows at some places, all of them if none are given."""
    return value if places is None else take(value, places, dim)


def find_stages(
    steps: list[Step], kept: list[Step], results: list[Step], form: Any
) -> list[Stage]:
    """The stages of a network, in order.

    Args:
        steps (List[Step]): All steps.
        kept (List[Step]): Those that are kept in between.
        results (List[Step]): Those that are returned.
        form (Form): The structure of what the network returns.
    """
    goals = {step for step in (*kept, *results) if step.kind is not Kind.FEATURE}
    inside = set(kept)
    grouped: dict[tuple[int, Axis], list[Step]] = {}
    for step in steps:
        if step in goals:
            grouped.setdefault((step.depth, step.axis.find()), []).append(step)
    ordered = sorted(grouped.items(), key=lambda item: item[0][0])
    return [Stage(found, inside.__contains__, form) for _, found in ordered]


def _ordered(need: Need) -> Need:
    """The rows that a stage is asked for first."""
    return tuple(sorted(need, key=lambda atom: atom.how != 'goal'))
