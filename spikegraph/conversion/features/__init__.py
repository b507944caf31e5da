"""Which inputs carry features."""
