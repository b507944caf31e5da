"""The kinds of values that arguments have, and arguments of several commands."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

_LONGEST = 1e7  # Seconds, about four months.


def add_root(files: Any) -> None:
    """Adds the folder of the datasets."""
    files.add_argument(
        '--root',
        type=path,
        metavar='DIR',
        help='folder of the datasets (default: the environment variable '
        'SPIKEGRAPH_ROOT, or a folder in the user cache)',
    )


def add_json(files: Any, what: str, units: str) -> None:
    """Adds the file for machines.

    Args:
        files (Any): The group of arguments.
        what (str): What it holds.
        units (str): The units of that.
    """
    files.add_argument(
        '--json',
        type=file_name,
        metavar='FILE',
        help=f"write {what} as JSON; with '-' to standard output, and the report to "
        f'standard error. {units}',
    )


def file_name(text: str) -> str:
    """A name of a file, or ``-``."""
    if not text or '\0' in text:
        raise argparse.ArgumentTypeError(f'Expected a name (got {text!r})')
    return text


def path(text: str) -> Path:
    """A path."""
    return Path(file_name(text))


def seconds(text: str) -> float:
    """A positive time."""
    try:
        found = float(text)
    except ValueError:
        found = 0.0
    if not 0 < found < _LONGEST:
        raise argparse.ArgumentTypeError(
            f"Expected a positive number of seconds (got '{text}')"
        )
    return found


def base(text: str) -> float | str:
    """A ratio of levels, or ``auto``."""
    try:
        return text if text == 'auto' else float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"Expected a number greater than 1 or 'auto' (got '{text}')"
        ) from None


def scale(text: str) -> str | tuple[str, float]:
    """A rule for scales."""
    if text in ('mse', 'max'):
        return text
    rule, _, percent = text.partition(':')
    try:
        if rule == 'percentile':
            return rule, float(percent)
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(
        f"Expected mse, max or percentile:P, such as percentile:99.9 (got '{text}')"
    )
