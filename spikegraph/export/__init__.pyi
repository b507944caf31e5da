"""What `spikegraph.export` offers; see :mod:`spikegraph.lazy`."""

from spikegraph.export import events as events
from spikegraph.export.events import load_events as load_events
from spikegraph.export.events import save_events as save_events
