"""Which rows a process has of each axis, which it needs of others, and who has these."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from spikegraph.running.distributed.peers import Peers
from spikegraph.running.parts.rows import Frame, locate
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
    """

    def __init__(self, own: Tensor, halo: Tensor) -> None:
        self.own, self.halo = own, halo
        self.rows = torch.cat([own, halo]) if len(halo) else own
        self.sends: list[Tensor] = []  # Places among its own, by process.
        self.receives: list[Tensor] = []  # Places among all, by process.
        self._places: dict[int, Tensor | None] = {}

    def places(self, rows: Tensor) -> Tensor | None:
        """Where rows lie; None if they are all of them."""
        key = id(rows)  # Of a frame, which lives as long.
        if key not in self._places:
            is_all = rows is self.rows or torch.equal(rows, self.rows)
            self._places[key] = None if is_all else locate(rows, self.rows)
        return self._places[key]


class Part:
    """What a process does: the rows of each stage, and what it sends after it.

    Args:
        staged (Staged): The network.
        owners (Owners): Who owns what.
        peers (Peers): All processes.

    Attributes:
        frames (List[Frame]): The rows of each stage.
        shared (Dict[Step, Shared]): The rows of what is kept.
        is_exchanged (Dict[Step, bool]): Whether any process needs rows of others.
    """

    def __init__(self, staged: Staged, owners: Owners, peers: Peers) -> None:
        self.staged, self.owners, self.peers = staged, owners, peers
        self.frames = [Frame(owners.rows(stage.axis)) for stage in staged.stages]
        wanted: dict[Step, list[Tensor]] = {}
        for stage, frame in zip(staged.stages, self.frames, strict=True):
            for step, need in stage.reads.items():
                frame.widen(need, self.owners.rows(step.axis.find()))
                wanted.setdefault(step, []).append(frame.rows(need))
        goals = [goal for stage in staged.stages for goal in stage.goals]
        self.shared: dict[Step, Shared] = {}
        for step in dict.fromkeys((*staged.features.values(), *goals)):
            self.shared[step] = self._share(step, wanted.get(step, []))
        halos = [len(shared.halo) for shared in self.shared.values()]
        found = peers.gather(halos, 'planning what is exchanged')
        any_halo = [any(sizes) for sizes in zip(*found, strict=True)]
        self.is_exchanged = dict(zip(self.shared, any_halo, strict=True))

    def _share(self, step: Step, wanted: list[Tensor]) -> Shared:
        axis = step.axis.find()
        own = self.owners.rows(axis)
        halo = own[:0]
        if step.kind is Kind.FEATURE and not self.is_divided(step):
            own = torch.arange(axis.size)
            wanted = []
        if wanted:
            rows = torch.cat(wanted).unique()
            halo = rows[self.owners.of(axis, rows) != self.peers.rank]
        shared = Shared(own, halo)
        owner = self.owners.of(axis, halo)
        asked = [halo[owner == rank] for rank in range(self.peers.size)]
        sent = self.peers.send(asked, f"planning the exchange of '{step.name}'").wait()
        shared.sends = [locate(rows, own) for rows in sent]
        shared.receives = [locate(rows, shared.rows) for rows in asked]
        return shared

    def is_divided(self, step: Step) -> bool:
        """Whether a process has its own rows of an input only."""
        return step.axis.find().name in self.owners.given

    def stage(self, number: int) -> tuple[Stage, Frame]:
        """A stage, and its rows."""
        return self.staged.stages[number], self.frames[number]
