"""Datasets, models, training and experiments to try the library on."""
