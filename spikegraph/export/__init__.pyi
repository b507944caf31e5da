"""What `spikegraph.export` offers; see :mod:`spikegraph.lazy`."""

from spikegraph.export import bundle as bundle
from spikegraph.export import connections as connections
from spikegraph.export import events as events
from spikegraph.export import neurobench as neurobench
from spikegraph.export import neurobench_metrics as neurobench_metrics
from spikegraph.export import nir as nir
from spikegraph.export import nir_layers as nir_layers
from spikegraph.export import nir_nodes as nir_nodes
from spikegraph.export import nir_rates as nir_rates
from spikegraph.export import segments as segments
from spikegraph.export import stepped_counts as stepped_counts
from spikegraph.export.bundle import write_bundle as write_bundle
from spikegraph.export.connections import load_connections as load_connections
from spikegraph.export.connections import save_connections as save_connections
from spikegraph.export.events import from_nir_data as from_nir_data
from spikegraph.export.events import from_tonic as from_tonic
from spikegraph.export.events import load_events as load_events
from spikegraph.export.events import save_events as save_events
from spikegraph.export.events import to_nir_data as to_nir_data
from spikegraph.export.events import to_tonic as to_tonic
from spikegraph.export.nir import to_nir as to_nir
from spikegraph.export.nir_nodes import register_nodes as register_nodes
