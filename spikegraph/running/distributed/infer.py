"""Runs a converted network stage by stage in several processes."""

from __future__ import annotations

import time
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from spikegraph.coding.phase_code import check_bools
from spikegraph.network.graph import Node
from spikegraph.nn.layer import values_of
from spikegraph.partitioning import Partition, PartitionedData
from spikegraph.running.closed import ClosedForm
from spikegraph.running.disk import Storage, check_resume
from spikegraph.running.distributed.exchange import Halo, Wire
from spikegraph.running.distributed.part import Owners, Part
from spikegraph.running.distributed.peers import Peers
from spikegraph.running.distributed.reports import PartResult, StageReport
from spikegraph.running.distributed.sources import (
    Divided,
    Whole,
    owners_of,
    partition_digest,
)
from spikegraph.running.model import SpikingModel, check_spiking
from spikegraph.running.parts.identity import features_digest, network_digest, version
from spikegraph.running.parts.rows import locate
from spikegraph.running.parts.staged import Staged
from spikegraph.running.parts.step import Step, take
from spikegraph.running.parts.stored import Stored


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

    Every process makes one, with the same network, graph and partition, after
    :func:`torch.distributed.init_process_group`; what is exchanged is planned once. Spike
    times are those of a single process, bit by bit. Features are divided; each process
    reads the whole structure of the graph when it is made.

    Args:
        snn (SpikingModel): The network.
        *args (Any): A graph in parts, see :func:`spikegraph.load_partition`; or the
            arguments of :meth:`SpikingModel.forward`, or PyG data, as a whole.
        partition (Partition, optional): Who owns which node, of a graph given as a whole.
            (default: :obj:`None`)
        timeout (float, optional): Seconds that a process waits for others.
            (default: :obj:`60.0`)
        packs (bool, optional): Whether two spike times are sent in one byte where they
            fit: up to 15 steps, 7 with OFF spikes. (default: :obj:`True`)
        storage (str or os.PathLike, optional): A directory where each process keeps what
            each stage leaves behind, and from which a run that was stopped goes on.
            (default: :obj:`None`)
        resume (bool, optional): Whether to go on from what is in the storage; else it
            is emptied first. (default: :obj:`True`)
        group (ProcessGroup, optional): The processes. (default: :obj:`None`, all)
        watches (bool, optional): Whether the spikes of all populations are kept.
            (default: :obj:`False`)
        **kwargs (Any): Keyword arguments of :meth:`SpikingModel.forward`.

    Raises:
        PeerError: If a process does not answer in time, or has another network, graph,
            partition or version.
        ValueError: If inputs or partition do not fit.
        NotImplementedError: If an operation mixes rows otherwise than along edges, in
            groups, or by an index.

    Example:
        >>> import torch.distributed as dist
        >>> from torch_geometric.nn.models import GCN
        >>> import spikegraph
        >>> _ = torch.manual_seed(0)
        >>> edge_index = torch.tensor([[0, 1, 2, 3, 4], [1, 2, 3, 4, 0]])
        >>> x = torch.rand(5, 4)
        >>> snn = spikegraph.convert(GCN(4, 8, 2, 3), (x, edge_index))
        >>> # torchrun says who is who; here, there is one process.
        >>> dist.init_process_group('gloo', store=dist.HashStore(), rank=0, world_size=1)
        >>> partition = spikegraph.partition_graph(edge_index, 1, num_nodes=5)
        >>> model = DistributedModel(snn, x, edge_index, partition=partition)
        >>> torch.equal(model.run().values, snn(x, edge_index))
        True
        >>> dist.destroy_process_group()
    """

    _HINT = '; finished stages are kept if a storage was given'

    def __init__(
        self,
        snn: SpikingModel,
        *args: Any,
        partition: Partition | None = None,
        timeout: float = 60.0,
        packs: bool = True,
        storage: str | PathLike[str] | None = None,
        resume: bool = True,
        group: Any = None,
        watches: bool = False,
        **kwargs: Any,
    ) -> None:
        check_spiking(snn)
        check_bools(packs=packs, resume=resume, watches=watches)
        check_resume(resume, storage)
        self.snn, self.packs = snn, packs
        self._given, self._storage, self._resume = (args, kwargs), storage, resume
        self.peers = peers = Peers(timeout, group, self._HINT)
        with peers.together():
            self._make(args, kwargs, partition, watches)

    def _make(self, args: Any, kwargs: Any, partition: Any, watches: bool) -> None:
        peers = self.peers
        error: Exception | None = None
        try:
            self._prepare(args, kwargs, partition, watches)
        except Exception as found:
            error = found
        peers.raise_together(error, 'preparing the network')
        peers.check_same(self.identity)
        self.part = Part(self.staged, Owners(self.staged, self._owners, peers), peers)
        self._features = {
            step: self.source.rows(self.staged, step, self.part.shared[step].own)
            for step in self.staged.features.values()
        }

    def _prepare(self, args: Any, kwargs: Any, partition: Any, watches: bool) -> None:
        self.source: Whole | Divided
        if args and isinstance(args[0], PartitionedData):
            self.source = Divided(self.snn, args[0], self.peers.rank)
        elif isinstance(partition, Partition):
            self.source = Whole(self.snn, args, kwargs, partition)
        else:
            raise ValueError(
                "Expected 'partition' to be a Partition of the graph (got "
                f"{type(partition).__name__}); make one with 'spikegraph."
                "partition_graph(data, num_parts)', or give a graph in parts"
            )
        partition, size = self.source.partition, self.peers.size
        if partition.num_parts != size:
            raise ValueError(
                f"Expected 'partition' to have one part for each of {size} processes (got "
                f'{partition.num_parts}); start as many, or divide the graph again with '
                f"'spikegraph partition GRAPH --parts {size} --output DIR', or with "
                "'spikegraph.partition_graph' in Python"
            )
        self.staged = Staged(
            self.snn, self.source.inputs, by_rows=True, watches=watches
        )
        self._owners = owners_of(self.staged, partition)
        _check_device(self.snn, self.source.inputs)
        self.identity = {
            'version of spikegraph': version(),
            'version of torch': torch.__version__,
            'network': network_digest(self.snn),
            'graph': self.source.graph(self.staged),
            'features': self.source.features(self.staged),
            'partition': partition_digest(partition),
            'packing': str(self.packs),
            'watching': str(watches),
            'storage': 'given' if self._storage is not None else 'none',
        }

    @torch.no_grad()
    def run(self, progress: bool = False) -> PartResult:
        """The rows of this process of what the network returns.

        Args:
            progress (bool, optional): Whether a bar is shown. (default: :obj:`False`)

        Raises:
            PeerError: If another process fails, or does not answer in time; then, none
                of the processes can go on with this model.
        """
        check_bools(progress=progress)
        with self.peers.together():
            return self._run(progress)

    def _run(self, progress: bool) -> PartResult:
        if self._storage is None:
            return _Run(self, None).run(progress)
        rank, size = self.peers.rank, self.peers.size
        place = Path(self._storage) / f'part_{rank}_of_{size}'
        identity = {**self.identity, 'own features': features_digest(self._features)}
        files, error = None, None
        try:
            files = Storage(place, identity, resume=self._resume)
        except Exception as found:
            error = found
        self.peers.raise_together(error, f"opening '{place}'")
        assert files is not None
        with files:
            return _Run(self, Stored(files)).run(progress)

    def gather(self, result: PartResult) -> Any:
        """What the network returns, with all rows, in the first process; nothing in the
        others.

        Args:
            result (PartResult): What each process has computed.
        """
        with self.peers.together():
            whole = {s: self._gathered(s, v) for s, v in result.found.items()}
        if self.peers.rank != 0:
            return None
        values, form = self.staged.returned(whole.__getitem__), self.snn.network.form
        if isinstance(self.source, Divided) and form.reads_arguments:
            return values
        return self.snn.returned(values, *self._given)

    def close(self) -> None:
        """Leaves the processes, with the connections and threads that this took; so does
        the end of a :obj:`with` statement. The model cannot be run any more.
        """
        self.peers.leave()

    def __enter__(self) -> DistributedModel:
        return self

    def __exit__(self, *args: Any) -> None:
        self.close()

    def _gathered(self, step: Step, value: Any) -> Any:
        value = values_of(value).contiguous()
        rows = self.part.owners.rows(step.axis.find())
        doing = 'gathering results'
        empty = rows[:0], value.reshape(-1)[:0]
        to: list[Any] = [empty] * self.peers.size
        to[0] = rows, value.reshape(-1)
        came = [self.peers.send([part[i] for part in to], doing).wait() for i in (0, 1)]
        out = value.new_empty(step.axis.find().size, *value.shape[1:])
        for index, part in zip(*came, strict=True):
            if self.peers.rank == 0:
                out[index] = part.view(len(index), *value.shape[1:])
        return out


def _check_device(snn: SpikingModel, inputs: Any) -> None:
    values = [v for v in (*inputs.values(), *snn.parameters()) if isinstance(v, Tensor)]
    devices = {value.device.type for value in values} - {'cpu'}
    if devices:
        raise NotImplementedError(
            'Cannot run several processes on tensors that are not on the CPU (got '
            f"{', '.join(devices)}); move the network and the data with '.cpu()'"
        )


class _Run:
    """One inference.

    Args:
        model (DistributedModel): What runs.
        files (Stored, optional): Where stages are kept.
    """

    def __init__(self, model: DistributedModel, files: Stored | None) -> None:
        self.model, self.files = model, files
        self.part, self.staged = model.part, model.staged
        self.peers = model.peers
        self.halo = Halo(model.part, model.packs)
        self.kept: dict[Step, Any] = {}
        self.read: set[Step] = set()

    def run(self, progress: bool) -> PartResult:
        features, stages = self.model._features, self.staged.stages
        self.halo.put(list(features), list(features.values()))
        num_done, gone = self._num_done(), self.staged.last_reads()
        self.read = {step for stage in stages[num_done:] for step in stage.reads}
        report, clock = StageReport('features'), _Clock()
        self._send(report, list(features), 'sending features')
        report.exchange_s = clock.lap()
        reports, sent, rank = [], report.bytes_sent, self.peers.rank
        if any(self.part.is_exchanged[step] for step in features):
            reports.append(report)
        with tqdm(
            stages, f'Part {rank}', leave=False, disable=not progress, position=rank
        ) as bar:
            for number, _ in enumerate(bar):
                report = self._stage(number, number < num_done)
                reports.append(report)
                sent += report.bytes_sent
                bar.set_postfix_str(f'{report.stage:.20}, {sent / 1e6:.1f} MB sent')
                for step in gone[number]:
                    self.halo.forget(step)
        self.peers.smallest(num_done, 'finishing')  # None returns before all are done.
        return self._result(reports)

    def _num_done(self) -> int:
        """How many stages all processes have on their disks."""
        if self.files is None:
            return 0
        found = 0
        for stage in self.staged.stages:
            size = len(self.part.rows(stage.axis))
            if not all(self.files.open(goal, size) for goal in stage.goals):
                break
            found += 1
        return self.peers.smallest(found, 'comparing what is kept on disks')

    def _stage(self, number: int, is_done: bool) -> StageReport:
        stage, frames = self.staged.stages[number], self.part.frames[number]
        report = StageReport(stage.title, is_kept=is_done)
        title = f"'{stage.title}' (stage {number + 1} of {len(self.staged.stages)})"
        clock = _Clock()
        for step in () if is_done else stage.reads:
            self.halo.wait(step)
        report.exchange_s = clock.lap()
        start, size = 0, len(self.part.rows(stage.axis))
        for block, frame in enumerate(frames):
            if is_done:
                assert self.files is not None
                rows = slice(start, start + len(frame.goal))
                made = [self.files.read(goal, rows) for goal in stage.goals]
            elif len(frame.goal):
                form = Timed(stage.flow)
                made = stage.run_by(form, frame, self.halo.read)
                report.fire_s += form.seconds
            else:
                made = [take(goal.probe, slice(0, 0)) for goal in stage.goals]
            self.halo.put(stage.goals, made, start)
            if self.files is not None and not is_done:
                for goal, value in zip(stage.goals, made, strict=True):
                    self.files.write(goal, start, value, size)
            start += len(frame.goal)
            report.local_s += clock.lap()
            if block == 0:  # While the others are made.
                self._send(report, stage.goals, f'exchanging {title}')
                report.exchange_s += clock.lap()
        if self.files is not None and not is_done:
            for goal in stage.goals:
                self.files.finish(goal)
        report.local_s += clock.lap() - report.fire_s
        for goal in stage.goals:
            if goal in self.staged.results:
                self.kept[goal] = self.halo.own(goal)
        return report

    def _send(self, report: StageReport, steps: list[Step], doing: str) -> None:
        """Sends what stages that are still to be run read."""
        steps = [step for step in steps if step in self.read]
        report.bytes_sent = self.halo.send(steps, doing)
        for step in steps:
            if self.part.is_exchanged[step]:
                num = self.part.shared[step].num_sent
                report.rows_sent += num
                report.float_bytes += num * Wire(step).float_size

    def _result(self, reports: list[StageReport]) -> PartResult:
        part, rows, values = self.part, {}, {}
        for step, value in self.kept.items():
            own = part.owners.rows(step.axis.find())
            if step in self.staged.returns:
                rows[step.axis.find().name or step.name] = own
            places = None if part.own(step) is own else locate(own, part.own(step))
            values[step] = value if places is None else take(value, places)
        found = PartResult(
            values=self.staged.returned(values.__getitem__),
            rows=rows,
            stages=reports,
            found={step: values[step] for step in self.staged.returns},
        )
        for step in self.staged.watched:
            label, own = step.record.label, part.owners.rows(step.axis.find())
            found.spikes[label] = own, values[step]
        return found


class _Clock:
    """Takes the time between calls."""

    def __init__(self) -> None:
        self.last = time.perf_counter()

    def lap(self) -> float:
        """Seconds since the last call."""
        now = time.perf_counter()
        found, self.last = now - self.last, now
        return found
