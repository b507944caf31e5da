"""``spikegraph run`` and ``sweep``, and the table of all commands."""

from __future__ import annotations

import io
import sys
from argparse import Namespace
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from spikegraph.cli.export import write_network
from spikegraph.cli.infer import infer
from spikegraph.cli.outputs import Outputs
from spikegraph.cli.partition import divide
from spikegraph.cli.program import say, text_of
from spikegraph.conversion import ConversionConfig
from spikegraph.formatting import format_experiment, format_sweep
from spikegraph.measurement import energy_table
from spikegraph.running.steps import Simulation
from spikegraph.storage import to_bytes
from spikegraph.zoo.datasets import GraphDataset, ImageDataset
from spikegraph.zoo.experiment import (
    Experiment,
    Sweep,
    default_config,
    run_experiment,
    run_sweep,
)
from spikegraph.zoo.experiment.evaluation import measured_batches

_DRAWN_IMAGES = 16  # Simulated step by step for the pictures.
_BASES = ('auto', 2.0, 1.41, 1.19)


def _run(args: Namespace, outputs: Outputs) -> None:
    config = _config(args, num_steps=args.num_steps, base=args.base)
    work = partial(
        run_experiment, args.dataset, config, profile=args.profile, **_options(args)
    )
    stopped, result = _finished(work)
    done = f'the report is on {len(result.runs)} of {args.seeds} seeds'
    _report(outputs, format_experiment(result), result.to_dict(), stopped, done)
    if outputs.folder is not None:
        outputs.write_files(_pictures(result))
    _end(outputs, stopped, done)


def _sweep(args: Namespace, outputs: Outputs) -> None:
    given = args.base or []
    base = next((q for q in given if q != 'auto'), 'auto')
    config = _config(args, base=base)
    bases = given or (['auto'] if config.levels == 'fitted' else _BASES)
    work = partial(
        run_sweep, args.dataset, args.num_steps, bases, config, **_options(args)
    )
    stopped, result = _finished(work)
    done = f'the report is on {len(result.rows)} of {len(args.num_steps) * len(bases)} '
    done += 'conversions'
    _report(outputs, format_sweep(result), result.to_dict(), stopped, done)
    if outputs.folder is not None:
        files = {}
        if 'loss_points' in result.rows[0]:  # Else there is no accuracy to plot.
            from spikegraph.plotting import plot_sweep

            files['sweep.png'] = partial(_png, plot_sweep, result.rows)
        outputs.write_files(files)
    _end(outputs, stopped, done)


COMMANDS: dict[str, Callable[[Namespace, Outputs], None]] = {
    'run': _run,
    'sweep': _sweep,
    'partition': divide,
    'infer': infer,
    'export': write_network,
}


def _finished(work: Callable[..., Any]) -> tuple[BaseException | None, Any]:
    """The result; or what stopped the work, and the result of what was finished."""
    found: list[Experiment | Sweep] = []
    try:
        return None, work(on_progress=found.append)
    except BaseException as error:
        if not found:
            raise
        return error, found[-1]


def _report(
    outputs: Outputs,
    text: str,
    values: dict[str, Any],
    stopped: BaseException | None,
    done: str,
) -> None:
    if stopped is not None:
        values = {**values, 'stopped': f'{_reason(stopped)}: {done}'}
    outputs.write(text, values)


def _end(outputs: Outputs, stopped: BaseException | None, done: str) -> None:
    if stopped is None:
        outputs.finish()
        return
    if outputs.failures:
        say(f'error: {text_of(*outputs.failures)}')
    text = f'{_reason(stopped)}: {done}'
    if isinstance(stopped, KeyboardInterrupt):
        raise KeyboardInterrupt(text) from stopped
    say(text)
    raise stopped


def _reason(stopped: BaseException) -> str:
    return 'interrupted' if isinstance(stopped, KeyboardInterrupt) else 'stopped'


def _config(args: Namespace, **values: Any) -> ConversionConfig:
    for name in ('per_channel', 'levels'):
        if getattr(args, name) is not None:
            values[name] = getattr(args, name)
    return default_config(
        args.dataset,
        args.model,
        scale=args.scale,
        fold_degree=args.fold_degree,
        compensate=None if args.compensate == 'none' else args.compensate,
        encode_input=not args.analog_input,
        weight_bits=args.weight_bits,
        **values,
    )


def _options(args: Namespace) -> dict[str, Any]:
    return {
        'model': args.model,
        'hidden': args.hidden,
        'layers': args.layers,
        'seeds': args.seeds,
        'root': args.root,
        'weights': args.weights,
        'mirror': args.mirror,
        'per': args.per,
        'energy_table': energy_table(args.energy_table),
        'progress': sys.stderr.isatty(),
    }


def _pictures(result: Experiment) -> dict[str, Callable[[], bytes]]:
    from spikegraph.plotting import plot_coding_error, plot_raster, plot_spike_times

    run, simulation = result.runs[0], _simulation(result)
    return {
        'ann.pt': lambda: _pickled(run.trained.model.state_dict()),
        'snn.safetensors': lambda: to_bytes(run.snn),
        'raster.png': partial(_png, plot_raster, simulation),
        'spike_times.png': partial(_png, plot_spike_times, simulation.spikes),
        'coding_error.png': partial(_png, plot_coding_error, run.snn.report),
    }


def _simulation(result: Experiment) -> Simulation:
    from spikegraph.running.steps import simulate

    snn, dataset = result.runs[0].snn, result.dataset
    if isinstance(dataset, GraphDataset):
        return simulate(snn, measured_batches(dataset)[0])
    if isinstance(dataset, ImageDataset):
        return simulate(snn, dataset.normalize(dataset.test_x[:_DRAWN_IMAGES]))
    return simulate(snn, dataset.data.x, dataset.data.edge_index)


def _png(plot: Callable[[Any], Any], values: Any) -> bytes:
    file = io.BytesIO()
    plot(values).savefig(file, format='png')
    return file.getvalue()


def _pickled(values: Any) -> bytes:
    file = io.BytesIO()
    torch.save(values, file)
    return file.getvalue()
