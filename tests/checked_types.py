"""Checks the calls of the package against its annotations; imported before anything of it is.

A function is checked in its first ``most_checked`` calls since ``calls`` was cleared, in all where that is None.

A test process took 19 s to import the whole package with its checks written for every function and its modules compiled
anew; it takes 2 s where a check is written at the first call of its function and the compiled modules are kept.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import os
import sys
from collections import Counter

import jax
import jaxtyping
from beartype import BeartypeConf, beartype

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))  # an int is a float
checked_at_once = jaxtyping.jaxtyped
calls: Counter[int] = Counter()
most_checked: int | None = None


def checked_when_called(node=None, *, typechecker):
    """As ``jaxtyped``, but the check of a function is written at its first call: most are never called here."""
    if node is None:
        return functools.partial(checked_when_called, typechecker=typechecker)
    if isinstance(node, classmethod | staticmethod):
        return type(node)(checked_when_called(node.__func__, typechecker=typechecker))
    if isinstance(node, property):
        of = (
            f and checked_when_called(f, typechecker=typechecker) for f in (node.fget, node.fset, node.fdel)
        )
        return property(*of)
    if inspect.isclass(node):
        made = vars(node).get("__init__")
        if dataclasses.is_dataclass(node) and made and made.__globals__ is not globals():
            node.__init__ = checked_when_called(made, typechecker=typechecker)
        return node
    check, key = None, id(node.__code__)

    @functools.wraps(node)
    def call(*args, **kwargs):
        nonlocal check
        __tracebackhide__ = True
        calls[key] += 1
        if jaxtyping.config.jaxtyping_disable or (most_checked is not None and calls[key] > most_checked):
            return node(*args, **kwargs)
        check = check or checked_at_once(node, typechecker=typechecker)
        return check(*args, **kwargs)

    return call


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
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # of child processes, too; git ignores where modules are kept
sys.dont_write_bytecode = False
jaxtyping.jaxtyped = checked_when_called
jaxtyping.install_import_hook("compseg_jax", "checked_types.checked")
