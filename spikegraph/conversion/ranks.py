"""Calibration by several processes, each of which has batches of its own."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from spikegraph.calls.call import copy_of
from spikegraph.running.distributed.peers import (
    PeerError,
    Peers,
    differences,
    first_line,
)

_Own = TypeVar('_Own')
_Found = TypeVar('_Found')


class Ranks:
    """The processes that calibrate one network, here the only one. All that batches are
    asked for together goes through :meth:`merge`.

    Attributes:
        leads (bool): Whether this process has the first of all batches, and decides.
        total (int): How many batches all processes have.
        before (int): How many batches the processes in front of this one have.
    """

    leads = True
    total = before = 0

    def merge(
        self,
        doing: str,
        own: Callable[[], _Own],
        decide: Callable[[Iterator[_Own]], _Found],
    ) -> _Found:
        """What one process decides on, given what each of them has found in its own
        batches. All of them must call this in the same order.

        Args:
            doing (str): What is being done, for messages.
            own (Callable): What this process has found.
            decide (Callable): What to make of that, in the order of ranks, where one
                leads. All get the same.

        Raises:
            PeerError: If another process failed, or is gone.
        """
        return decide(iter([own()]))

    def join(
        self,
        model: nn.Module,
        identity: Callable[[], Mapping[str, Any]],
        calls: Sequence[Any],
    ) -> Any:
        """Agrees with the others, and returns the first of all batches.

        Args:
            model (torch.nn.Module): The model.
            identity (Callable): What must be the same in all processes.
            calls (Sequence[Any]): The batches of this process.

        Raises:
            PeerError: If others have another model, configuration or version.
            ValueError: If no process has a batch.
        """
        self.total = len(calls)
        return calls[0]

    def check_same(self, doing: str, identity: Callable[[], Mapping[str, Any]]) -> None:
        """Makes sure that all processes have come to the same.

        Raises:
            PeerError: In all of them, with what differs.
        """

    @contextlib.contextmanager
    def telling(self) -> Iterator[None]:
        """Tells the others of errors, so that none of them waits in vain."""
        yield


class SeveralRanks(Ranks):
    """Several processes.

    Args:
        peers (Peers): The processes.

    Attributes:
        bytes_sent (int): What this process has sent, each byte counted once for each
            process that gets it.
    """

    def __init__(self, peers: Peers) -> None:
        self.peers, self.leader = peers, 0
        self.device = torch.device('cpu')
        self.bytes_sent = 0
        self._told: BaseException | None = None

    @property
    def leads(self) -> bool:  # type: ignore[override]
        return self.peers.rank == self.leader

    def merge(
        self,
        doing: str,
        own: Callable[[], _Own],
        decide: Callable[[Iterator[_Own]], _Found],
    ) -> _Found:
        value, error, data = None, None, b''
        try:
            value = own()
            data = b'' if self.leads else _packed(value)
        except Exception as caught:
            error = caught
        sizes = self._agree(doing, error, len(data))
        if not self.leads:
            self._send(data, doing)
            return self._open(self._spread(b'', doing), doing)
        values, answer = self._received(value, sizes, doing), b''
        try:
            found = decide(values)
            answer = _packed((found, None))
        except PeerError:
            raise
        except Exception as caught:
            error, answer = caught, _packed((None, first_line(caught)))
        for _ in values:  # None of the others is left with what it sends.
            pass
        self._spread(answer, doing)
        if error is not None:
            self._told = error
            raise error
        return found

    def join(
        self,
        model: nn.Module,
        identity: Callable[[], Mapping[str, Any]],
        calls: Sequence[Any],
    ) -> Any:
        tensors = chain(model.parameters(), model.buffers())
        self.device = next((t.device for t in tensors), self.device)
        self.check_same('comparing models, configurations and versions', identity)
        counts = self.merge('counting batches', lambda: len(calls), list)
        self.total, self.before = sum(counts), sum(counts[: self.peers.rank])
        if self.total == 0:
            raise ValueError(
                "Expected 'calibration_data' to hold at least one sample in one process "
                f'(got none in all {self.peers.size})'
            )
        self.leader = next(rank for rank, count in enumerate(counts) if count > 0)
        return self.merge(
            'sending the first batch', lambda: None, lambda _: copy_of(calls[0])
        )

    def check_same(self, doing: str, identity: Callable[[], Mapping[str, Any]]) -> None:
        message = self.merge(doing, identity, lambda found: differences(list(found)))
        if message is not None:
            raise PeerError(message)

    @contextlib.contextmanager
    def telling(self) -> Iterator[None]:
        try:
            yield
        except PeerError:
            raise
        except Exception as error:
            if error is not self._told:
                with contextlib.suppress(PeerError):
                    self.peers.gather((first_line(error), 0), 'converting')
            raise

    def _agree(self, doing: str, error: Exception | None, size: int) -> list[int]:
        """The sizes of what all processes have to say, if none of them failed."""
        message = None if error is None else first_line(error)
        found = self.peers.gather((message, size), doing)
        if error is not None:
            self._told = error
            raise error
        for rank, (failure, _) in enumerate(found):
            if failure is not None:
                raise PeerError(
                    f'Process {rank} failed, while this one was {doing}: {failure}'
                )
        return [size for _, size in found]

    def _send(self, data: bytes, doing: str) -> None:
        self.bytes_sent += len(data)
        with self.peers.watched(doing):
            dist.send(_bytes_of(data), self._place(self.leader), self.peers.group)

    def _received(self, value: Any, sizes: list[int], doing: str) -> Iterator[Any]:
        """What each process has found, one after the other."""
        for rank, size in enumerate(sizes):
            if rank == self.leader:
                yield value
                continue
            data = torch.zeros(size, dtype=torch.uint8)
            with self.peers.watched(doing):
                dist.recv(data, self._place(rank), self.peers.group)
            yield self._unpacked(data)

    def _spread(self, data: bytes, doing: str) -> Tensor:
        """What the process that leads sends to all."""
        size, source = torch.tensor([len(data)]), self._place(self.leader)
        with self.peers.watched(doing):
            dist.broadcast(size, source, self.peers.group)
            sent = _bytes_of(data) if self.leads else torch.zeros(int(size)).byte()
            dist.broadcast(sent, source, self.peers.group)
        if self.leads:
            self.bytes_sent += len(data) * (self.peers.size - 1)
        return sent

    def _open(self, data: Tensor, doing: str) -> Any:
        found, failure = self._unpacked(data)
        if failure is not None:
            raise PeerError(f'Process {self.leader} failed while {doing}: {failure}')
        return found

    def _place(self, rank: int) -> int:
        return dist.get_global_rank(self.peers.group, rank)

    def _unpacked(self, data: Tensor) -> Any:
        """An object of another process; tensors of its GPU are put on that of this one."""

        def place(storage: Any, location: str) -> Any:
            there = 'cpu' if location == 'cpu' else str(self.device)
            return torch.serialization.default_restore_location(storage, there)

        file = io.BytesIO(data.numpy().tobytes())
        return torch.load(file, map_location=place, weights_only=False)


def open_ranks(group: Any, timeout: float) -> Ranks:
    """The processes of a group, see :func:`spikegraph.convert`.

    Raises:
        ValueError: If it is no group, or processes have not been started.
        PeerError: If a process does not join in time.
    """
    if group is None:
        return Ranks()
    if isinstance(group, str) and group == 'all':
        return SeveralRanks(Peers(timeout))
    if dist.is_available() and isinstance(group, dist.ProcessGroup):
        return SeveralRanks(Peers(timeout, group))
    raise ValueError(
        "Expected 'group' to be None, 'all' or a group of processes (got "
        f'{group!r}); start them with torchrun, call '
        "'torch.distributed.init_process_group', and pass group='all'"
    )


def _packed(value: Any) -> bytes:
    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()


def _bytes_of(data: bytes) -> Tensor:
    if not data:
        return torch.zeros(0, dtype=torch.uint8)
    return torch.frombuffer(bytearray(data), dtype=torch.uint8)
