"""Arrays on disk: what layers leave behind, kept so that a run can go on from them."""

from spikegraph.running.disk.array import StoredArray
from spikegraph.running.disk.storage import Storage, check_resume

__all__ = ['Storage', 'StoredArray', 'check_resume']
