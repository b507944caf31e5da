"""Runs a converted network stage by stage in several processes."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from spikegraph.coding import Spikes
from spikegraph.network.graph import Node
from spikegraph.running.closed import ClosedForm
from spikegraph.running.distributed.exchange import Halo, Wire
from spikegraph.running.distributed.part import Owners, Part
from spikegraph.running.distributed.peers import Peers
from spikegraph.running.model import SpikingModel, check_spiking
from spikegraph.running.parts.staged import Staged
from spikegraph.running.parts.step import Step, take


@dataclass
class StageReport:
    """What a stage of one process took.

    Args:
        stage (str): What it makes.
        local_s (float): Seconds of computing, without firing.
        fire_s (float): Seconds in populations, and in sums that are made where they fire.
        exchange_s (float): Seconds of packing, waiting and unpacking.
        rows_sent (int): Rows that are sent, once for each process that needs them.
        bytes_sent (int): Their bytes.
        float_bytes (int): The bytes of the same rows as real values.
    """

    stage: str
    local_s: float = 0.0
    fire_s: float = 0.0
    exchange_s: float = 0.0
    rows_sent: int = 0
    bytes_sent: int = 0
    float_bytes: int = 0


@dataclass
class Result:
    """What a process has computed: its rows of the outputs.

    Args:
        values (Any): What the network returns, with the rows of this process.
        rows (Dict[str, torch.Tensor]): Which rows these are, by the input whose rows the
            outputs have.
        stages (List[StageReport]): What each stage took.
        spikes (Dict[str, Spikes]): The spikes of each population, if asked for.
    """

    values: Any
    rows: dict[str, Tensor]
    stages: list[StageReport] = field(default_factory=list)
    spikes: dict[str, tuple[Tensor, Spikes]] = field(default_factory=dict)


class Timed(ClosedForm):
    """Takes the time in which populations fire."""

    seconds = 0.0

    def population(self, node: Node) -> Any:
        start = time.perf_counter()
        value = super().population(node)
        self.seconds += time.perf_counter() - start
        return value


class DistributedModel:
    """A converted network over several processes, each of which owns some of the nodes.

    Every process makes one, with the same network, graph and partition; the plan of what
    is exchanged is made once.

    Args:
        snn (SpikingModel): The network.
        *args (Any): The arguments of its :meth:`forward`, or PyG data.
        owners (Mapping[str, torch.Tensor] or Partition): The process that owns each row of
            each input of features, such as ``{'x': owners}``.
        timeout (float, optional): Seconds that a process waits for others.
            (default: :obj:`60.0`)
        packs (bool, optional): Whether two spike times are sent in one byte where they
            fit, up to 15 steps. (default: :obj:`True`)
        group (ProcessGroup, optional): The processes. (default: :obj:`None`, all)
        watches (bool, optional): Whether the spikes of all populations are kept.
            (default: :obj:`False`)
        **kwargs (Any): Keyword arguments of its :meth:`forward`.

    Raises:
        PeerError: If a process does not answer in time, or has another network, graph,
            partition or version.
        ValueError: If inputs or partition do not fit.
    """

    def __init__(
        self,
        snn: SpikingModel,
        *args: Any,
        owners: Mapping[str, Tensor],
        timeout: float = 60.0,
        packs: bool = True,
        group: Any = None,
        watches: bool = False,
        **kwargs: Any,
    ) -> None:
        check_spiking(snn)
        self.peers = Peers(timeout, group)
        self.snn, self.packs = snn, packs
        inputs = snn.bind(*args, **kwargs)
        self.staged = Staged(snn, inputs, by_rows=True, watches=watches)
        self.part = Part(self.staged, Owners(self.staged, owners, self.peers), self.peers)
        self._features = {
            step: take(
                self.staged.layout.fixed_input(step), self.part.shared[step].own
            )
            for step in self.staged.features.values()
        }

    @torch.no_grad()
    def run(self, progress: bool = False) -> Result:
        """The rows of this process of what the network returns.

        Args:
            progress (bool, optional): Whether a bar is shown. (default: :obj:`False`)
        """
        halo = Halo(self.part, self.packs)
        reports, stages = [], self.staged.stages
        gone = self.staged.last_reads()
        features = list(self._features)
        halo.put(features, list(self._features.values()), 'sending features')
        kept: dict[Step, Any] = {}
        rank = self.peers.rank
        with tqdm(
            stages, f'Part {rank}', leave=False, disable=not progress, position=rank
        ) as bar:
            for number, stage in enumerate(bar):
                report = StageReport(stage.title)
                start = time.perf_counter()
                for step in stage.reads:
                    halo.wait(step)
                waited = time.perf_counter()
                frame = self.part.frames[number]
                if len(frame.goal):
                    form = Timed(stage.flow)
                    made = stage.run_by(form, frame, halo.read)
                    report.fire_s = form.seconds
                else:
                    made = [take(goal.probe, slice(0, 0)) for goal in stage.goals]
                done = time.perf_counter()
                doing = f"exchanging '{stage.title}' (stage {number + 1} of {len(stages)})"
                report.bytes_sent = halo.put(stage.goals, made, doing)
                end = time.perf_counter()
                self._count(report, stage.goals)
                report.local_s = done - waited - report.fire_s
                report.exchange_s = waited - start + end - done
                reports.append(report)
                bar.set_postfix(bytes=sum(each.bytes_sent for each in reports))
                for goal in stage.goals:
                    if goal in self.staged.results:
                        kept[goal] = halo.own(goal)
                for step in gone[number]:
                    halo.forget(step)
        self.peers.raise_together(None, 'finishing')
        axes = {s.axis.find() for s in kept}
        rows = {axis.name: self.part.owners.rows(axis) for axis in axes}
        found = Result(self.staged.returned(kept.__getitem__), rows, reports)
        for step in self.staged.watched:
            found.spikes[step.record.label] = (
                self.part.owners.rows(step.axis.find()),
                kept[step],
            )
        return found

    def _count(self, report: StageReport, goals: list[Step]) -> None:
        for goal in goals:
            if self.part.is_exchanged[goal]:
                num = sum(len(rows) for rows in self.part.shared[goal].sends)
                report.rows_sent += num
                report.float_bytes += num * Wire(goal).float_size


__all__ = ['DistributedModel', 'Result', 'StageReport']
