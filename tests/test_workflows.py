"""What runs on every change is what CONTRIBUTING.md names, for what pyproject claims."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
WORKFLOW = (ROOT / '.github/workflows/checks.yml').read_text()
HOOKS = (ROOT / '.pre-commit-config.yaml').read_text()
PROJECT = (ROOT / 'pyproject.toml').read_text()


def checks():
    text = (ROOT / 'CONTRIBUTING.md').read_text().split('## Checks\n')[1]
    commands = re.search(r'```bash\n(.*?)```', text, re.DOTALL)[1].splitlines()
    assert len(commands) == 4
    return commands


@pytest.mark.parametrize('command', checks())
def test_checks_run_everywhere(command):
    assert re.search(rf'^ +- run: {re.escape(command)}$', WORKFLOW, re.MULTILINE)
    assert f'\n{command}\n' in (ROOT / '.ci/run').read_text()
    if command != 'pytest':
        tool = ' '.join(command.split()[:2]).replace(' .', '')
        assert f'entry: {tool}' in HOOKS


def test_every_python_that_is_claimed_is_tried():
    claimed = re.findall(r'Python :: (3\.\d+)"', PROJECT)
    tried = re.search(r'python: \[(.*)\]', WORKFLOW)[1]
    assert claimed == re.findall(r'3\.\d+', tried)
    assert f'requires-python = ">={claimed[0]}"' in PROJECT
    oldest = re.search(r'python: "(.*)"\n +versions: oldest', WORKFLOW)[1]
    newest = re.search(r'python: "(.*)"\n +versions: newest', WORKFLOW)[1]
    assert (oldest, newest) == (claimed[0], claimed[-1])
    assert '--resolution lowest-direct' in WORKFLOW
