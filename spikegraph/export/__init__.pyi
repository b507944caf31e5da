"""What `spikegraph.export` offers; see :mod:`spikegraph.lazy`."""

from spikegraph.export import events as events
from spikegraph.export import plain as plain
from spikegraph.export import programs as programs
from spikegraph.export import sizes as sizes
from spikegraph.export.events import load_events as load_events
from spikegraph.export.events import save_events as save_events
from spikegraph.export.plain import PlainNetwork as PlainNetwork
from spikegraph.export.programs import to_onnx as to_onnx
from spikegraph.export.programs import to_program as to_program
