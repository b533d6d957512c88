"""What model.json and ensemble.json hold: their keys, types and ranges, and what has to fit together.

docs/format.md says what each means. Keys that are for people alone, such as `versions`, are not listed: they may hold
anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Annotated, Any

from compseg_jax.config import Network, from_json
from compseg_jax.config.file_schema import Axis, refuse_axis
from compseg_jax.config.ranges import Count, Positive, Range, Share
from compseg_jax.readers.cube import Background
from compseg_jax.spectra.preparation.kept_steps import KeptStep, refuse_steps

SEAL = "description_sha256"
UNSEALED = (
    "this model states no hash of its description, as it is of an earlier release: nobody would notice if threshold, "
    "scaling or network were edited"
)


@dataclass(frozen=True)
class KeptScaling:
    """`scaling`: mean and standard deviation of each channel."""

    mean: tuple[float, ...]
    sd: tuple[Positive, ...]


@dataclass(frozen=True)
class KeptAreas:
    """`validation_areas`: segmented parts of the tissue by label."""

    diseased: tuple[Share, ...]
    healthy: tuple[Share, ...]


@dataclass(frozen=True)
class KeptSeen:
    """`seen`: the samples that it saw."""

    samples: tuple[Mapping[str, Any], ...]
    is_complete: bool


@dataclass(frozen=True)
class ModelDescription:
    """model.json."""

    network: Mapping[str, Any]
    maps: Annotated[int, Range(1)]
    wavenumbers_cm1: Axis | None
    threshold: Share
    background: Background
    weights_sha256: str
    scaling: KeptScaling
    channels: Annotated[int, Range(1)] | None = None
    distribution_sha256: str | None = None
    files: tuple[str, ...] | None = None
    files_sha256: Mapping[str, str] | None = None
    preparation: tuple[KeptStep, ...] | None = None
    prepared_steps: Count = 0
    pixel_size_um: Positive | None = None
    pixel_sizes_um: tuple[Positive, ...] | None = None
    area_cut: Share | None = None
    validation_areas: KeptAreas | None = None
    validation_levels: tuple[float, ...] | None = None
    seen: KeptSeen | None = None
    epochs_trained: Count = 0
    history: tuple[Mapping[str, Any], ...] = ()
    licence: str = ""

    def __post_init__(self) -> None:
        channels = len(self.scaling.mean)
        if len(self.scaling.sd) != channels or self.channels not in (None, channels):
            raise ValueError(
                f"scaling has {channels} means and {len(self.scaling.sd)} standard deviations for {self.channels} "
                "channels: must be one for each"
            )
        refuse_axis(self.wavenumbers_cm1, channels)
        refuse_steps(self.preparation)
        if self.prepared_steps > len(self.preparation or ()):
            raise ValueError(
                f"prepared_steps = {self.prepared_steps}: must be at most the {len(self.preparation or ())} steps of "
                "preparation"
            )
        if self.pixel_sizes_um is not None and (
            len(self.pixel_sizes_um) != 2 or self.pixel_sizes_um[0] > self.pixel_sizes_um[1]
        ):
            raise ValueError(
                f"pixel_sizes_um = {list(self.pixel_sizes_um)}: must be the smallest and the largest"
            )
        try:
            from_json(Network, self.network)
        except ValueError as error:
            raise ValueError(f"network.{error}") from error


@dataclass(frozen=True)
class KeptMember:
    """An entry of `members`."""

    model: str
    weights_sha256: str

    def __post_init__(self) -> None:
        path = PurePosixPath(self.model)
        if path.is_absolute() or ".." in path.parts or "\\" in self.model:
            raise ValueError(f"model = {self.model!r}: must be a folder below the ensemble's")


@dataclass(frozen=True)
class EnsembleDescription:
    """ensemble.json."""

    members: tuple[KeptMember, ...]
    threshold: Share
    area_cut: Share | None
    prepared_steps: Count
    validation_areas: KeptAreas | None = None
    validation_levels: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if not self.members:
            raise ValueError("members missing")
