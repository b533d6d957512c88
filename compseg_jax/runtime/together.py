"""What processes that were joined (``runtime.cluster``) tell each other; alone, every function is right as well."""

from __future__ import annotations

import itertools
import pickle
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

LONGEST_WAIT_S = 7 * 24 * 3600
"""For one another, as long as all of them live."""
SPREAD_AT_ONCE = 8

Item = TypeVar("Item")
Result = TypeVar("Result")
_waits = itertools.count()


def process_count() -> int:
    """Processes that work as one; asking does not start jax."""
    if "jax" not in sys.modules:  # which is imported before processes are joined
        return 1
    import jax

    return jax.process_count() if jax.distributed.is_initialized() else 1


def is_first() -> bool:
    """Whether this is process 0, which alone writes."""
    import jax

    return process_count() == 1 or jax.process_index() == 0


def wait_for_all() -> None:
    """Returns when all processes are here; one that is lost ends the others instead."""
    if process_count() == 1:
        return
    from jax._src import distributed  # jax offers no public way to wait that does not keep the devices busy

    client = distributed.global_state.client
    assert client is not None
    client.wait_at_barrier(f"compseg-{next(_waits)}", LONGEST_WAIT_S * 1000)


def exchanged(own: Result) -> list[Result]:
    """What each process gives, by their numbers, on all of them."""
    if process_count() == 1:
        return [own]
    import numpy as np
    from jax.experimental.multihost_utils import process_allgather

    # Some may have had more to do than others: a barrier may last, a collective is expected to be short.
    wait_for_all()
    text = np.frombuffer(pickle.dumps(own), np.uint8)
    sizes = np.asarray(process_allgather(np.asarray(text.size, np.int32))).ravel()
    padded = np.zeros(int(sizes.max()), np.uint8)
    padded[: text.size] = text
    found = np.asarray(process_allgather(padded)).reshape(len(sizes), -1)
    return [pickle.loads(row[:size].tobytes()) for row, size in zip(found, sizes, strict=True)]


def told(value: Callable[[], Result]) -> Result:
    """What process 0 finds, on all of them; the others do not compute it."""
    return exchanged(value() if is_first() else None)[0]  # type: ignore[return-value]


def spread(of_some: Callable[[Sequence[Item]], Iterable[Result]], items: Sequence[Item]) -> Iterator[Result]:
    """What becomes of each item, in their order and on every process, though each is looked at by one process alone.

    Args:
      of_some: gives a result for each of some items.
      items: the same on every process.
    """
    processes = process_count()
    if processes == 1:
        yield from of_some(items)
        return
    import jax

    at_once = SPREAD_AT_ONCE * processes
    for start in range(0, len(items), at_once):
        part = items[start : start + at_once]
        results = exchanged(list(of_some(part[jax.process_index() :: processes])))
        for index in range(len(part)):
            yield results[index % processes][index // processes]


def any_of(flag: bool) -> bool:
    """Whether it is so on one of the processes."""
    if process_count() == 1:
        return flag
    import numpy as np
    from jax.experimental.multihost_utils import process_allgather

    return bool(np.any(process_allgather(np.asarray(flag))))
