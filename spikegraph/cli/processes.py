"""The processes of ``torchrun``: how they join, and end together."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, NoReturn, TypeVar

import torch.distributed as dist

from spikegraph.running.distributed import PeerError, Peers

_VARIABLES = ('RANK', 'WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT')
_PATIENCE = 2.0  # Seconds until a process that was told to end is ended.
_PAUSE = 1.0  # Seconds between two answers of a process that works, at most.
_TERMINATED = 128 + signal.SIGTERM
T = TypeVar('T')


def is_launched() -> bool:
    """Whether ``torchrun`` has started this process."""
    return 'RANK' in os.environ and 'WORLD_SIZE' in os.environ


class Together:
    """What processes do together: if one cannot go on, all end with its message.

    Args:
        peers (Peers, optional): The processes; this one alone without.
    """

    def __init__(self, peers: Peers | None) -> None:
        self.peers = peers
        self._tidies: list[Callable[[], None]] = []

    @property
    def is_first(self) -> bool:
        """Whether this is the process that speaks for all."""
        return self.peers is None or self.peers.rank == 0

    def all(self, work: Callable[[], T], doing: str) -> T:
        """Does something in every process, for as long as it takes each of them."""
        if self.peers is None:
            return work()
        found: Any = None
        error: Exception | None = None
        with _answering(self.peers, doing):
            try:
                found = work()
            except Exception as raised:
                error = raised
        self.peers.raise_together(error, doing)
        return found

    def first(self, work: Callable[[], T], doing: str) -> T:
        """Does something in the first process; all get what it finds."""
        found = self.all(lambda: work() if self.is_first else None, doing)
        return self.gather(found, doing)[0]

    def gather(self, value: Any, doing: str) -> list[Any]:
        """A small value of every process."""
        return [value] if self.peers is None else self.peers.gather(value, doing)

    @contextlib.contextmanager
    def tidying(self, tidy: Callable[[], None]) -> Iterator[None]:
        """Meanwhile a process that is ended in the middle of something tidies first."""
        self._tidies.append(tidy)
        try:
            yield
        finally:
            self._tidies.remove(tidy)

    def tidy(self) -> None:
        """Removes what lies aside."""
        for each in self._tidies:
            each()


@contextlib.contextmanager
def _answering(peers: Peers, doing: str) -> Iterator[None]:
    """Ends when the same statement ends in all processes. Meanwhile each of them answers
    the others, so that they wait for one that works, but not for one that is gone."""
    is_done, is_left, is_over = (threading.Event() for _ in range(3))
    pause = min(_PAUSE, peers.timeout / 4)
    errors: list[Exception] = []

    def answer() -> None:
        try:
            while True:
                done = is_done.wait(pause)
                if is_left.is_set() or peers.smallest(int(done), doing):
                    return
        except Exception as error:
            errors.append(error)
        finally:
            is_over.set()  # An interrupted 'join' takes the thread for ended.

    threading.Thread(target=answer, daemon=True).start()
    try:
        yield
        is_done.set()
        is_over.wait()
    except BaseException:
        is_left.set()
        is_done.set()
        is_over.wait()  # No answer breaks off in the middle.
        raise
    if errors:
        raise errors[0]


@contextlib.contextmanager
def joined(timeout: float) -> Iterator[Together]:
    """The processes of ``torchrun``, as long as this statement lasts.

    Args:
        timeout (float): Seconds that each of them waits for the others.

    Raises:
        ConnectionError: If one of them does not join, fails, or is lost.
        ValueError: If what ``torchrun`` sets is missing.
    """
    missing = [name for name in _VARIABLES if not os.environ.get(name)]
    if missing:
        raise ValueError(
            f'Expected {" and ".join(missing)} in the environment (got none); start with '
            "'torchrun --nproc-per-node N -m spikegraph infer ...'"
        )
    rank, size = os.environ['RANK'], os.environ['WORLD_SIZE']
    together = Together(None)
    with _ending(together.tidy):
        try:
            limit = timedelta(seconds=timeout)
            try:
                dist.init_process_group('gloo', timeout=limit)
            except (RuntimeError, ValueError) as error:
                raise PeerError(
                    f'Process {rank} of {size} was not joined by all others within '
                    f'{timeout:g} s: {str(error).splitlines()[0]}. Nothing was computed; '
                    "start all of them again, with a longer '--timeout' if some take so "
                    'long to start'
                ) from error
            together.peers = Peers(timeout)
            yield together
        except PeerError as error:
            raise ConnectionError(str(error)) from error
        finally:
            if dist.is_initialized():
                dist.destroy_process_group()


@contextlib.contextmanager
def _ending(tidy: Callable[[], None]) -> Iterator[None]:
    """Meanwhile Ctrl-C and the signal of ``torchrun`` end the process even where it
    waits for others: there no exception arrives before they answer."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    read, write = os.pipe()
    os.set_blocking(write, False)
    known = signal.signal(signal.SIGTERM, _terminate)
    signals = signal.set_wakeup_fd(write, warn_on_full_buffer=False)

    is_over = threading.Event()

    def watch() -> None:
        while not is_over.is_set():
            number = os.read(read, 1)[0]
            if number in (signal.SIGINT, signal.SIGTERM) and not is_over.wait(
                _PATIENCE
            ):
                tidy()
                os.write(2, b'spikegraph: interrupted while waiting for others\n')
                os._exit(128 + number)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        signal.set_wakeup_fd(signals)
        signal.signal(signal.SIGTERM, known)
        os.write(write, b'\0')
        thread.join()
        os.close(write)
        os.close(read)


def _terminate(*args: Any) -> NoReturn:
    raise SystemExit(_TERMINATED)
