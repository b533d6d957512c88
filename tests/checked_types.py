"""Checks every call of the package against its annotations; imported before anything of it is."""

from __future__ import annotations

import dataclasses

import jax
import jaxtyping
from beartype import BeartypeConf, beartype

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))  # an int is a float


def register_dataclass(node, data_fields=None, meta_fields=None):
    """As jax registers one, but trees are rebuilt without ``__init__``, which is checked.

    Transformations put into a tree what they like (mapped arrays, shapes, None); that is no call of ours.
    """
    fields = {field.name: field for field in dataclasses.fields(node)}
    if meta_fields is None:
        meta_fields = [name for name in fields if fields[name].metadata.get("static")]
    if data_fields is None:
        data_fields = [name for name in fields if name not in meta_fields]

    def flat(tree):
        leaves = [(jax.tree_util.GetAttrKey(name), getattr(tree, name)) for name in data_fields]
        return leaves, tuple(getattr(tree, name) for name in meta_fields)

    def rebuilt(fixed, leaves):
        tree = object.__new__(node)
        for name, value in zip((*data_fields, *meta_fields), (*leaves, *fixed), strict=True):
            object.__setattr__(tree, name, value)
        return tree

    jax.tree_util.register_pytree_with_keys(node, flat, rebuilt)
    return node


jax.tree_util.register_dataclass = register_dataclass
jaxtyping.install_import_hook("compseg_jax", "checked_types.checked")
