"""What a person reads of a converted network, of its spikes and of a simulation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spikegraph.network.graph import Node
from spikegraph.network.roles import Role
from spikegraph.running.windows import Window, windows_of
from spikegraph.tables import Column, Facts, Part, Table, percent

if TYPE_CHECKING:
    from spikegraph.running.model import SpikingModel
    from spikegraph.running.steps import Simulation

# What is worth a row; views, sums and questions about sizes are not.
_SHOWN = {
    Role.POPULATION: 'population',
    Role.GATE: 'gate',
    Role.PRODUCT: 'product',
    Role.LAYER: 'layer',
    Role.CURRENT: 'current',
    Role.ANALOG: 'analog',
    Role.READ_OUT: 'read-out',
}
_NETWORK = (
    Column('name', 10, is_text=True),
    Column('role', 10, is_text=True),
    Column('is', is_text=True),
    Column('stands for', is_text=True),
    Column('fires in steps', is_text=True),
)
_SIMULATION = (
    Column('population', is_text=True),
    Column('fires in steps', is_text=True),
    Column('neurons', 9),
    Column('spikes', 9),
    Column('fire, %', 7),
    Column('mean step', 9),
    Column('code', is_text=True),
)


def network_parts(snn: SpikingModel) -> list[Part]:
    """What the network consists of, in the order in which it runs."""
    windows = windows_of(snn.network)
    rows = [
        _row(node, snn.network.operation(node), windows.get(node))
        for node in snn.network.nodes
        if node.role in _SHOWN
    ]
    window, latency = snn.pipelined_steps, snn.latency_steps
    facts = [
        ('populations', f'{len(snn.neurons)}, {snn.depth} in a row'),
        ('time steps', f'T = {snn.config.num_steps} where nothing else was chosen'),
        ('latency', f'{latency} steps, {window} from one result to the next'),
    ]
    return [Facts(facts), Table(_NETWORK, rows)]


def simulation_parts(simulation: Simulation) -> list[Part]:
    """How many neurons of each population fired, and when."""
    rows = []
    total = 0
    for name, spikes in simulation.spikes.items():
        phase, num_steps = spikes.phase().reshape(-1), spikes.code.num_steps
        fired, size = phase[phase < num_steps].double(), phase.numel()
        start = simulation.start_step[name]
        mean = f'{float(fired.mean()):.2f}' if len(fired) else '-'
        counts = (f'{size:,}', f'{len(fired):,}', percent(len(fired), size))
        window = _steps(Window(start, num_steps))
        rows.append([name, window, *counts, mean, str(spikes.code)])
        total += len(fired)
    window = _steps(Window(0, simulation.num_steps)) if simulation.num_steps else ''
    # Gates, which are no neurons, pass spikes on: shares of a sum would mean nothing.
    rows.append(['total', window, '', f'{total:,}', '', '', ''])
    note = 'mean step: of those that fire, from the step at which their window opens'
    return [Table(_SIMULATION, rows, has_total=True, note=note)]


def _row(node: Node, operation: Any, window: Window | None) -> list[str]:
    kind = type(operation).__name__ if node.op == 'call_module' else str(node.name)
    if node.role is Role.POPULATION:
        kind = str(operation.code)
    fires = _steps(window) if window and node.role.fires else ''
    name = node.record.label if node.op == 'call_module' else node.name
    return [name, _SHOWN[node.role], kind, node.record.stands_for, fires]


def _steps(window: Window) -> str:
    return f'{window.start} to {window.end - 1}'
