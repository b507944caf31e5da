"""The other processes: agreement with them, and clear errors where they fail."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from spikegraph.kernels.memory import empty


class PeerError(RuntimeError):
    """Another process failed, does not answer, or runs something else.

    Example:
        >>> raise PeerError('Process 1 failed: no memory')
        Traceback (most recent call last):
        ...
        spikegraph.running.distributed.peers.PeerError: Process 1 failed: no memory
    """


class Peers:
    """The processes of a run.

    Args:
        timeout (float): Seconds that any of them waits for the others.
        group (ProcessGroup, optional): The processes. (default: :obj:`None`, all)
        hint (str, optional): What else to tell whoever has lost another process.
            (default: none)

    Raises:
        ValueError: If :obj:`torch.distributed` is not initialised, or the timeout is not
            positive.
        PeerError: If a process does not join in time.
    """

    def __init__(self, timeout: float, group: Any = None, hint: str = '') -> None:
        is_number = isinstance(timeout, (int, float)) and not isinstance(timeout, bool)
        if not is_number or not 0 < timeout < float('inf'):
            raise ValueError(
                f"Expected 'timeout' to be a positive number of seconds (got {timeout!r})"
            )
        if not (dist.is_available() and dist.is_initialized()):
            raise ValueError(
                "Expected 'torch.distributed' to be initialised (got none); start with "
                "'torchrun' and call 'torch.distributed.init_process_group' first"
            )
        self.timeout, self.hint = timeout, hint
        self.rank, self.size = dist.get_rank(group), dist.get_world_size(group)
        ranks = None if group is None else dist.get_process_group_ranks(group)
        with self.watched('joining'):
            self.group: Any = dist.new_group(
                ranks,
                timedelta(seconds=timeout),
                'gloo',
                use_local_synchronization=ranks is not None,
            )
            dist.monitored_barrier(self.group, timeout=timedelta(seconds=timeout))

    @contextlib.contextmanager
    def watched(self, doing: str) -> Iterator[None]:
        """Tells what was being done if another process fails.

        Raises:
            PeerError: If a process does not answer in time, or is gone.
        """
        try:
            yield
        except PeerError:
            raise
        except RuntimeError as error:
            raise PeerError(
                f'Process {self.rank} of {self.size} lost another one while {doing} '
                f'(waited {self.timeout:g} s at most): {_cause(error)}. Nothing was '
                'returned. Look at the output of the others for the cause, and start all '
                f'of them again{self.hint}'
            ) from error

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """If this process fails, it leaves, so that none of the others waits for it."""
        if self.group is None:
            raise PeerError(
                'Expected processes that have neither failed nor left (got some that '
                'have); start all of them again, or make a new model'
            )
        try:
            yield
        except BaseException:
            self.leave()
            raise

    def leave(self) -> None:
        """Closes what connects this process with the others."""
        group, self.group = self.group, None
        if group is not None:
            dist.destroy_process_group(group)

    def gather(self, value: Any, doing: str) -> list[Any]:
        """A small value of every process."""
        found: list[Any] = [None] * self.size
        with self.watched(doing):
            dist.all_gather_object(found, value, group=self.group)
        return found

    def check_same(self, identity: Mapping[str, Any]) -> None:
        """Makes sure that all processes run the same.

        Raises:
            PeerError: In all of them, with what differs.
        """
        found = self.gather(dict(identity), 'comparing networks, graphs and versions')
        message = differences(found)
        if message is not None:
            raise PeerError(message)

    def raise_together(self, error: Exception | None, doing: str) -> None:
        """Ends all processes if one of them cannot go on.

        Raises:
            PeerError: In those that could.
        """
        failed = self.gather(None if error is None else first_line(error), doing)
        if error is not None:
            raise error
        for rank, message in enumerate(failed):
            if message is not None:
                raise PeerError(f'Process {rank} failed while {doing}: {message}')

    def smallest(self, number: int, doing: str) -> int:
        """The least of the numbers of all processes."""
        found = torch.tensor([number])
        with self.watched(doing):
            dist.all_reduce(found, dist.ReduceOp.MIN, group=self.group)
        return int(found)

    def send(self, parts: list[Tensor], doing: str) -> Pending:
        """Sends one tensor to each process; from each of them comes one."""
        device = parts[0].device
        sizes = torch.tensor([part.numel() for part in parts], device=device)
        other = torch.empty_like(sizes)
        with self.watched(doing):
            dist.all_to_all_single(other, sizes, group=self.group)
        return self.exchange(torch.cat(parts), sizes.tolist(), other.tolist(), doing)

    def exchange(
        self,
        sent: Tensor,
        to: list[int],
        come: list[int],
        doing: str,
        received: Tensor | None = None,
    ) -> Pending:
        """Sends parts of a tensor, of which the sizes are known, to all processes; what
        comes is written to another one, if it is given.
        """
        if received is None:
            received = empty((sum(come),), sent.dtype)
        with self.watched(doing):
            work = dist.all_to_all_single(
                received, sent, come, to, group=self.group, async_op=True
            )
        return Pending(self, work, received, sent, come, doing)


class Pending:
    """What is on its way."""

    def __init__(
        self,
        peers: Peers,
        work: Any,
        received: Tensor,
        sent: Tensor,
        sizes: list[int],
        doing: str,
    ) -> None:
        self.peers, self.work, self.received = peers, work, received
        self.sent, self.sizes, self.doing = sent, sizes, doing

    def wait(self) -> list[Tensor]:
        """What came, by process."""
        with self.peers.watched(self.doing):
            self.work.wait()
        return list(self.received.split(self.sizes))


def _cause(error: BaseException) -> str:
    """What a library of communication says, in short."""
    text = str(error)
    if 'closed by peer' in text or 'reset by peer' in text or 'Broken pipe' in text:
        return 'it closed its connection'
    if 'imed out' in text or 'timeout' in text.lower():
        return 'it did not answer in time'
    return first_line(error)


def differences(found: Sequence[Mapping[str, Any]]) -> str | None:
    """What processes do not have in common, the first of it, given what each has."""
    for name in dict.fromkeys(name for each in found for name in each):
        values = [each.get(name) for each in found]
        if any(value != values[0] for value in values):
            listed = ', '.join(f'process {r}: {v}' for r, v in enumerate(values))
            return (
                f'Expected all processes to have the same {name} (got {listed}); '
                'start all of them with the same files and versions'
            )
    return None


def first_line(error: BaseException) -> str:
    """The first line of a message."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0]
