"""The sections of docs/results.md, each made from JSON."""
