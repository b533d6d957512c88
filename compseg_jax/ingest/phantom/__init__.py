"""Simulated tissue arrays with ground truth."""
