"""What `spikegraph.running.distributed` offers; see :mod:`spikegraph.lazy`."""

from spikegraph.running.distributed import exchange as exchange
from spikegraph.running.distributed import infer as infer
from spikegraph.running.distributed import part as part
from spikegraph.running.distributed import peers as peers
from spikegraph.running.distributed import reports as reports
from spikegraph.running.distributed import results as results
from spikegraph.running.distributed import sources as sources
from spikegraph.running.distributed.infer import DistributedModel as DistributedModel
from spikegraph.running.distributed.peers import PeerError as PeerError
from spikegraph.running.distributed.peers import Peers as Peers
from spikegraph.running.distributed.reports import PartResult as PartResult
from spikegraph.running.distributed.reports import StageReport as StageReport
from spikegraph.running.distributed.results import OutputRows as OutputRows
from spikegraph.running.distributed.results import rows_of as rows_of
from spikegraph.running.distributed.results import rows_of_part as rows_of_part
from spikegraph.running.distributed.results import summed as summed
