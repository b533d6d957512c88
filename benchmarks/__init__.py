"""Measurements of speed and quality; each prints JSON lines."""
