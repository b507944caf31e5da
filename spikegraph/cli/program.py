"""The program around the commands: standard streams, interrupts, messages."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

# Whatever takes time is imported where an interrupt is answered in one line.
if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence

STANDARD_OUTPUT = 'standard output'
#: The standard streams that were closed when the program started, by name.
closed: set[str] = set()
_INTERRUPTED = 130  # As shells have it: 128 + SIGINT.
_MEMORY = ('allocate memory', 'out of memory')  # In what torch says.


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Args:
        argv (List[str], optional): The arguments.
            (default: :obj:`None`, those of the process)

    Returns:
        int: The exit code: 0, or 2 if the user has to change something, or 130
        if he has interrupted the program.
    """
    status = 0
    try:
        _open_streams()
        # Else idle threads of torch spin, and on a busy machine that takes most of
        # the time.
        os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
        status = _run(argv)
    except KeyboardInterrupt as error:
        say(str(error) or 'interrupted')
        status = _INTERRUPTED
    except SystemExit as error:  # Of what is asked for, such as --help.
        failed = _flush()
        raise SystemExit(error.code or failed) from None
    return status or _flush()


def say(text: str) -> None:
    """Prints a line to standard error, if somebody is there to read it."""
    try:
        print(f'spikegraph: {text}', file=sys.stderr, flush=True)
    except OSError:
        discard(sys.stderr)


def _run(argv: Sequence[str] | None) -> int:
    from spikegraph.cli.arguments import make_parser

    args = make_parser().parse_args(argv)
    try:
        _call(args)
    except BrokenPipeError:  # The reader has seen enough: `spikegraph datasets | head`.
        discard(sys.stdout)
    except (ValueError, NotImplementedError, OSError, ImportError) as error:
        say(f'error: {text_of(error)}')
        return 2
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not any(
            text in str(error) for text in _MEMORY
        ):
            raise
        say(
            'error: the memory of this machine does not suffice; choose fewer '
            "'--hidden' features or '--layers', or a smaller dataset"
        )
        return 2
    return 0


def _call(args: Namespace) -> None:
    if args.command == 'datasets':
        from spikegraph.cli.listing import list_datasets
        from spikegraph.files import naming

        with naming(STANDARD_OUTPUT):
            list_datasets()
        return
    from spikegraph.cli.outputs import Outputs

    # The folder of a partition holds nothing else, and outputs of nodes are a file.
    is_own = args.command in ('partition', 'infer', 'export')
    folder = None if is_own else args.output
    outputs = Outputs(args.json, folder)  # Fails before the work, not after it.
    with _leaving_at_once():
        from spikegraph.cli import commands
    commands.COMMANDS[args.command](args, outputs)


def text_of(*errors: BaseException) -> str:
    """What errors say, in the words of users: each thing once, with all its files."""
    import errno

    texts: list[str] = []
    files: dict[str, list[str]] = {}
    for error in errors:
        if isinstance(error, OSError) and error.strerror and error.filename:
            files.setdefault(error.strerror, []).append(f"'{error.filename}'")
        else:
            texts.append(str(error) or type(error).__name__)
    texts += [f'{reason}: {", ".join(names)}' for reason, names in files.items()]
    full = (errno.ENOSPC, errno.EDQUOT)
    if any(isinstance(error, OSError) and error.errno in full for error in errors):
        texts.append('free some space on that disk, or choose another')
    return '; '.join(texts)


def named(error: OSError) -> OSError:
    """An error of standard output, which has no name of its own."""
    return OSError(error.errno, error.strerror, STANDARD_OUTPUT)


def _open_streams() -> None:
    """Opens what the caller has closed, so that no other file gets its number."""
    closed.clear()
    for number, name in enumerate(('stdin', 'stdout', 'stderr')):
        if getattr(sys, name) is None:
            try:
                os.fstat(number)
            except OSError:
                mode = os.O_RDONLY if number == 0 else os.O_WRONLY
                if os.open(os.devnull, mode) != number:  # Of a free one, the lowest.
                    continue
            closed.add(name)
            stream = open(os.devnull, 'r' if number == 0 else 'w')  # noqa: SIM115
            setattr(sys, name, stream)


def _flush() -> int:
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        discard(sys.stdout)
    except OSError as error:
        discard(sys.stdout)
        say(f'error: {text_of(named(error))}')
        return 2
    return 0


def discard(stream: object) -> None:
    """What is still in a stream, and comes later, goes nowhere."""
    number = os.open(os.devnull, os.O_WRONLY)
    os.dup2(number, stream.fileno())  # type: ignore[attr-defined]
    os.close(number)


class _leaving_at_once:
    """Meanwhile an interrupt ends the process: an exception in the middle of an
    import is often taken for a missing module."""

    def __enter__(self) -> None:
        import signal
        import threading

        self.restored = (
            threading.current_thread() is threading.main_thread()
            and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        )
        if self.restored:
            signal.signal(signal.SIGINT, _leave)

    def __exit__(self, *args: object) -> None:
        import signal

        if self.restored:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def _leave(*args: object) -> None:
    os.write(2, b'spikegraph: interrupted\n')
    os._exit(_INTERRUPTED)
