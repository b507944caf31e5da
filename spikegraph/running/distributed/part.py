"""Which rows a process has of each axis, which it needs of others, and who has these."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from spikegraph.running.distributed.peers import Peers
from spikegraph.running.parts.kept import is_all
from spikegraph.running.parts.rows import Frame, locate, without
from spikegraph.running.parts.staged import Staged
from spikegraph.running.parts.stages import Stage
from spikegraph.running.parts.step import Axis, Kind, Step


class Owners:
    """Who owns the rows of each axis.

    Args:
        staged (Staged): The network.
        owners (Mapping[str, torch.Tensor]): The process of each row of named axes.
        peers (Peers): All processes.
    """

    def __init__(self, staged: Staged, owners: Any, peers: Peers) -> None:
        self.staged, self.given, self.peers = staged, owners, peers
        self._found: dict[Axis, Tensor | None] = {}
        self._rows: dict[Axis, Tensor] = {}

    def of(self, axis: Axis, rows: Tensor) -> Tensor:
        """The process that owns each of some rows."""
        owners = self._owners(axis)
        if owners is not None:
            return owners[rows].long()
        share = max(1, -(-axis.size // self.peers.size))
        return rows // share

    def rows(self, axis: Axis) -> Tensor:
        """The rows of this process, in order."""
        if axis not in self._rows:
            owners, rank = self._owners(axis), self.peers.rank
            if owners is not None:
                found = (owners == rank).nonzero().view(-1)
            else:
                share = max(1, -(-axis.size // self.peers.size))
                first = min(axis.size, rank * share)
                found = torch.arange(first, min(axis.size, first + share))
            self._rows[axis] = found
        return self._rows[axis]

    def _owners(self, axis: Axis) -> Tensor | None:
        """The process of each row; None if they are divided evenly."""
        if axis not in self._found:
            owners = self.given.get(axis.name)
            if owners is None:
                owners = self._of_members(axis)
            self._found[axis] = owners
        return self._found[axis]

    def _of_members(self, axis: Axis) -> Tensor | None:
        """Edges belong to whom the nodes that they end in belong to."""
        for step in self.staged.layout.steps:
            if step.kind is Kind.MEMBERS and step.inputs[0].axis.find() is axis:
                owners = self.given.get(step.axis.find().name)
                if owners is not None:
                    return owners[step.site.value]
        return None


class Shared:
    """The rows of a step that a process has, and those that it is sent.

    Args:
        own (torch.Tensor): Those that it has.
        halo (torch.Tensor): Those that it is sent, in order.
        sent (List[torch.Tensor]): Those that each process needs of it.
        owner (torch.Tensor): The process that has each row of the halo.
    """

    def __init__(
        self, own: Tensor, halo: Tensor, sent: list[Tensor], owner: Tensor
    ) -> None:
        self.own, self.halo = own, halo
        self.rows = torch.cat([own, halo]) if len(halo) else own
        self.sends = [locate(rows, own) for rows in sent]
        self.receives = [
            locate(halo[owner == rank], self.rows) for rank in range(len(sent))
        ]
        self._places: dict[int, Tensor | slice | None] = {}

    def places(self, rows: Tensor) -> Tensor | slice | None:
        """Where rows lie; None if they are all of them."""
        key = id(rows)  # Of a frame, which lives as long.
        if key not in self._places:
            self._places[key] = self._found(rows)
        return self._places[key]

    def _found(self, rows: Tensor) -> Tensor | slice | None:
        if rows is self.rows or torch.equal(rows, self.rows):
            return None
        places = locate(rows, self.rows)
        first = int(places[0]) if len(places) else 0
        if is_all(places - first):
            return slice(first, first + len(places))
        return places


class Part:
    """What a process does: the rows of each stage, and what it sends after it.

    Its own rows are ordered: first those that others need, which are made and sent first.

    Args:
        staged (Staged): The network.
        owners (Owners): Who owns what.
        peers (Peers): All processes.

    Attributes:
        frames (List[List[Frame]]): The rows of each stage, in one or two blocks, of which
            the first one is sent while the second one is made.
        shared (Dict[Step, Shared]): The rows of what is kept.
        is_exchanged (Dict[Step, bool]): Whether any process needs rows of others.
    """

    def __init__(self, staged: Staged, owners: Owners, peers: Peers) -> None:
        self.staged, self.owners, self.peers = staged, owners, peers
        self._ordered: dict[Axis, Tensor] = {}
        self._framed: dict[tuple[Axis, bool, bool], list[Frame]] = {}
        goals = [goal for stage in staged.stages for goal in stage.goals]
        read = {step for stage in staged.stages for step in stage.reads}
        self._last = {  # Of stages that nobody reads: in the order of their numbers.
            goal
            for stage in staged.stages
            if read.isdisjoint(stage.goals)
            for goal in stage.goals
        }
        steps = dict.fromkeys((*staged.features.values(), *goals))
        wanted = self._wanted()
        halos = {step: self._halo(step, wanted.get(step, [])) for step in steps}
        found = {step: self._ask(step, halo) for step, halo in halos.items()}
        self.first = self._first(found)
        self.shared = {}
        for step, halo in halos.items():
            owner = owners.of(step.axis.find(), halo)
            self.shared[step] = Shared(self.own(step), halo, found[step], owner)
        sizes = peers.gather(
            [len(halo) for halo in halos.values()], 'planning what is exchanged'
        )
        any_halo = [any(each) for each in zip(*sizes, strict=True)]
        self.is_exchanged = dict(zip(steps, any_halo, strict=True))
        self.frames = [self._frames(stage) for stage in staged.stages]

    def own(self, step: Step) -> Tensor:
        """The rows of a step that this process has, in its order."""
        axis = step.axis.find()
        if step.kind is Kind.FEATURE and not self.is_divided(step):
            return torch.arange(axis.size)
        return self.owners.rows(axis) if step in self._last else self.rows(axis)

    def rows(self, axis: Axis) -> Tensor:
        """The rows of an axis that this process has, in its order."""
        own = self.owners.rows(axis)
        if axis not in self._ordered:
            first = self.first.get(axis, own[:0])
            self._ordered[axis] = torch.cat([first, without(own, first)])
        return self._ordered[axis]

    def is_divided(self, step: Step) -> bool:
        """Whether a process has its own rows of an input only."""
        return step.axis.find().name in self.owners.given

    def _wanted(self) -> dict[Step, list[Tensor]]:
        """The rows that stages read of each step."""
        wanted: dict[Step, list[Tensor]] = {}
        for stage in self.staged.stages:
            frame = Frame(self.owners.rows(stage.axis))
            for step, need in stage.reads.items():
                wanted.setdefault(step, []).append(frame.rows(need))
        return wanted

    def _halo(self, step: Step, wanted: list[Tensor]) -> Tensor:
        """The rows of a step that others have."""
        axis = step.axis.find()
        none = self.owners.rows(axis)[:0]
        is_whole = step.kind is Kind.FEATURE and not self.is_divided(step)
        if is_whole or not wanted:
            return none
        rows = torch.cat(wanted).unique()
        return rows[self.owners.of(axis, rows) != self.peers.rank]

    def _ask(self, step: Step, halo: Tensor) -> list[Tensor]:
        """The rows that each process asks for."""
        owner = self.owners.of(step.axis.find(), halo)
        asked = [halo[owner == rank] for rank in range(self.peers.size)]
        doing = f"planning the exchange of '{step.name}'"
        return self.peers.send(asked, doing).wait()

    def _first(self, found: dict[Step, list[Tensor]]) -> dict[Axis, Tensor]:
        """The rows that others need of any step, by axis."""
        asked: dict[Axis, list[Tensor]] = {}
        for step, rows in found.items():
            asked.setdefault(step.axis.find(), []).extend(rows)
        return {axis: torch.cat(rows).unique() for axis, rows in asked.items()}

    def _frames(self, stage: Stage) -> list[Frame]:
        own = self.own(stage.goals[0])
        num = len(self.first.get(stage.axis, own[:0]))
        is_sent = any(self.is_exchanged[goal] for goal in stage.goals)
        is_split = is_sent and stage.reads_directly and 0 < num < len(own)
        key = stage.axis, is_split, stage.goals[0] in self._last
        if key not in self._framed:
            blocks = own.split([num, len(own) - num]) if is_split else [own]
            self._framed[key] = [Frame(rows) for rows in blocks]
        frames = self._framed[key]
        for frame in frames:
            for step, need in stage.reads.items():
                frame.widen(need, self.shared[step].rows)
        return frames
