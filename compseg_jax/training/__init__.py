"""Training: the pure step, the augmentation inside it, the loop around it and its checkpoints."""
