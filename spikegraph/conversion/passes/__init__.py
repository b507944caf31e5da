"""From a graph of operations to one of populations and spiking layers."""
