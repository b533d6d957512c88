"""Segmenting networks: cube → logits. One Flax module per file, all with the same signature.

A network is a Flax linen module with the fields ``maps`` and ``head_bias`` that are set from the
configuration, and ``__call__(cube, *, train=False)`` which takes (b, y, x, c) and returns logits
(b, y, x, maps). ``compseg_jax.networks.build`` makes one from a :class:`compseg_jax.config.Network`. A field
``activation_map``, where it has one, says how predictions read its logits.
"""
