"""How models are called: arguments from data and loaders, outputs, wrappers."""
