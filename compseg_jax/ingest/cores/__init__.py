"""Cores of tissue-array scans: found, named, cut out."""
