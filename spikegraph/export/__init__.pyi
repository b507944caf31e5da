"""What `spikegraph.export` offers; see :mod:`spikegraph.lazy`."""

from spikegraph.export import events as events
from spikegraph.export import neurobench as neurobench
from spikegraph.export import neurobench_metrics as neurobench_metrics
from spikegraph.export import stepped_counts as stepped_counts
from spikegraph.export.events import load_events as load_events
from spikegraph.export.events import save_events as save_events
