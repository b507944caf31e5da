"""What `spikegraph.zoo` offers; see :mod:`spikegraph.lazy`."""

from spikegraph.zoo import datasets as datasets
from spikegraph.zoo import experiment as experiment
from spikegraph.zoo import models as models
from spikegraph.zoo import training as training
