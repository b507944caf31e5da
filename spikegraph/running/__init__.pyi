"""What `spikegraph.running` offers; see :mod:`spikegraph.lazy`."""

from spikegraph.running import blocks as blocks
from spikegraph.running import closed as closed
from spikegraph.running import delayed as delayed
from spikegraph.running import delays as delays
from spikegraph.running import disk as disk
from spikegraph.running import distributed as distributed
from spikegraph.running import heard as heard
from spikegraph.running import integers as integers
from spikegraph.running import keeping as keeping
from spikegraph.running import loaders as loaders
from spikegraph.running import model as model
from spikegraph.running import overview as overview
from spikegraph.running import parts as parts
from spikegraph.running import plan as plan
from spikegraph.running import scores as scores
from spikegraph.running import state as state
from spikegraph.running import steps as steps
from spikegraph.running import windows as windows
from spikegraph.running.blocks import layerwise as layerwise
from spikegraph.running.integers import IntegerModel as IntegerModel
from spikegraph.running.integers import IntegerSimulation as IntegerSimulation
from spikegraph.running.integers import to_integer as to_integer
from spikegraph.running.loaders import predict as predict
from spikegraph.running.model import SpikingModel as SpikingModel
from spikegraph.running.steps import Simulation as Simulation
from spikegraph.running.steps import simulate as simulate
