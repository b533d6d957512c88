"""From a model and labelled samples to scores and a report."""
