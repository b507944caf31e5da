"""What is promised stays as it is written down."""

import re
from pathlib import Path

from spikegraph import __version__
from spikegraph.moved import GOES_WITH
from tests.api import FILE, PACKAGES, lines

ROOT = Path(__file__).parents[1]
HINT = (
    'The public interface has changed. Names that go, and parameters that go or move, '
    'break programs of users: keep them, with a DeprecationWarning, as CONTRIBUTING.md '
    'says. What has come, or is meant: write a line in CHANGELOG.md, and run '
    "'python -m tests.api'"
)


def test_the_public_interface_is_as_it_was():
    held, found = FILE.read_text().splitlines(), lines()
    gone = [f'- {line}' for line in held if line not in found]
    new = [f'+ {line}' for line in found if line not in held]
    assert held == found, '\n'.join([HINT, *gone, *new])


def test_all_packages_with_names_are_there():
    """Every package that lists public names is promised, or is known to be our own."""
    own = {
        'cli',
        'conversion.tracing',
        'export.plain',
        'kernels.cpu',
        'kernels.torch',
        'running.disk',
        'running.integers',
        'running.parts',
        'zoo',  # Packages, which are listed.
    }
    listed = set()
    for path in (ROOT / 'spikegraph').rglob('__init__.py'):
        if re.search(r'^__all__ =|, __all__ = ', path.read_text(), re.MULTILINE):
            listed.add('.'.join(path.parent.relative_to(ROOT).parts))
    assert listed - {f'spikegraph.{name}' for name in own} == {*PACKAGES}


def test_old_names_go_with_a_major_version():
    """As the policy says, in warnings too."""
    assert f'{int(__version__.partition(".")[0]) + 1}.0' == GOES_WITH
    text = (ROOT / 'CHANGELOG.md').read_text()
    assert f'version {GOES_WITH}' in text
