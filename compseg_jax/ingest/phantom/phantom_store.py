"""A store of simulated tissue arrays with ground truth: `compseg phantom`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from compseg_jax.config.locations import Location
from compseg_jax.config.ranges import Seed, check_ranges
from compseg_jax.ingest.phantom.spots import PhantomConfig, simulate_array, wavenumber_axis
from compseg_jax.store.read import Sample
from compseg_jax.store.write import StoreWriter

# As in the paper: training and validation spots come from two arrays, test spots from a third.
TEST_ARRAY = 2


@dataclass(frozen=True)
class PhantomOptions:
    """How many spots to simulate, of what kind, and where to."""

    out: Location = Path("data")
    """Store to write, a directory or a URL (s3://, gs://); it must not exist."""
    train: int = 100
    """Training spots, from arrays 0 and 1 in equal parts, half of them diseased."""
    val: int = 20
    """Validation spots, from arrays 0 and 1."""
    test: int = 40
    """Test spots, from array 2."""
    seed: Seed = 0
    """Seed of everything simulated."""
    phantom: PhantomConfig = field(default_factory=PhantomConfig)

    def __post_init__(self) -> None:
        check_ranges(self)


def write_phantom(
    options: PhantomOptions, *, progress: Callable[[int, int], None] = lambda done, total: None
) -> None:
    """Simulates the arrays and writes them as a store.

    Raises:
      StoreError: when ``out`` exists.
      ValueError: when a split would hold fewer than two spots.
    """
    for name in ("train", "val", "test"):
        if getattr(options, name) < 2:
            raise ValueError(
                f"--{name} {getattr(options, name)}: at least 2 spots, one of each label, are needed."
            )
    config = options.phantom
    plan = []
    next_index = {0: 0, 1: 0, TEST_ARRAY: 0}
    for split, n in (("train", options.train), ("val", options.val), ("test", options.test)):
        shares = {TEST_ARRAY: n} if split == "test" else {0: n - n // 2, 1: n // 2}
        for array, share in shares.items():
            # Healthy spots have even indices, diseased ones odd: the second array of a split goes on where
            # the first one ended, so that half of the split is diseased.
            first = next_index[array] + (shares[0] % 2 if array == 1 else 0)
            plan.append((split, array, first, share))
            next_index[array] = first + share + (first + share) % 2
    total = options.train + options.val + options.test
    writer = StoreWriter(
        options.out,
        channels=config.channels,
        wavenumbers_cm1=wavenumber_axis(config.channels),
        pixel_size_um=config.pixel_size_um,
        background="zero",
        created_by="compseg phantom",
    )
    done = 0
    with writer:
        for split, array, first, n in plan:
            for spot in simulate_array(config, seed=options.seed, n=n, array=array, first_index=first):
                name = f"array{array}-{spot.index:03d}"
                height, width = spot.tissue.shape
                sample = Sample(name, spot.label, split, name, height, width, True, f"phantom array {array}")
                writer.add(sample, spot.absorbance, spot.tissue, spot.tumour)
                done += 1
                progress(done, total)
