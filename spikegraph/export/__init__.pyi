"""What `spikegraph.export` offers; see :mod:`spikegraph.lazy`."""

from spikegraph.export import bundle as bundle
from spikegraph.export import events as events
from spikegraph.export.bundle import write_bundle as write_bundle
from spikegraph.export.events import load_events as load_events
from spikegraph.export.events import save_events as save_events
