"""What operations mean: rules, activations, refusals."""
