"""Converted networks for other tools."""
