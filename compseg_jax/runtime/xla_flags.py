"""The XLA flags that correct results need; importing this module does not import jax, so they can be set before."""

from __future__ import annotations

import os
import sys
import warnings
from importlib.metadata import PackageNotFoundError, version

_NO_YNNPACK = "--xla_cpu_experimental_ynn_fusion_type="
_ONEDNN = "--xla_cpu_experimental_onednn_custom_call=true"

# Unknown flags abort XLA, so every flag is tied to the jaxlib releases that know it.
# - ynn_fusion_type (empty = off): YNNPACK fusion computes wrong results in some programs of jaxlib 0.10.2
#   (jax issue 39103).
# - onednn_custom_call: with it oneDNN runs the convolutions of jaxlib 0.11 and 0.12 on CPU, where YNNPACK leaves them
#   to it; no effect before.
_FLAGS_BY_JAXLIB: dict[tuple[int, int], tuple[str, ...]] = {
    (0, 10): (_NO_YNNPACK,),
    (0, 11): (_NO_YNNPACK, _ONEDNN),
    (0, 12): (_NO_YNNPACK, _ONEDNN),
}


def flags_for_jaxlib(jaxlib_version: str) -> tuple[str, ...]:
    """The XLA flags this package needs with a jaxlib release, empty for releases it does not know."""
    return _FLAGS_BY_JAXLIB.get(_release(jaxlib_version), ())


def is_known_jaxlib(jaxlib_version: str) -> bool:
    """Whether this package was made for a jaxlib release; if not, it sets no flags and says so (`append_xla_flags`)."""
    return _release(jaxlib_version) in _FLAGS_BY_JAXLIB


def _release(jaxlib_version: str) -> tuple[int, int]:
    major, minor = (int(part) for part in jaxlib_version.split(".")[:2])
    return major, minor


def _next_release(release: str) -> str:
    major, minor = _release(release)
    return f"{major}.{minor + 1}"


def has_onednn_convolutions() -> bool:
    """Whether oneDNN runs the convolutions on CPU; jaxlib 0.10 uses Eigen, slow for hundreds of channels."""
    return _ONEDNN in flags_for_jaxlib(version("jaxlib"))


def merged_flags(existing: str, wanted: tuple[str, ...]) -> str:
    """``existing`` with those of ``wanted`` appended whose flag the user has not set already."""
    taken = {flag.split("=")[0] for flag in existing.split()}
    return " ".join([*existing.split(), *(flag for flag in wanted if flag.split("=")[0] not in taken)])


def append_xla_flags() -> None:
    """Appends this package's XLA flags to ``XLA_FLAGS``.

    Warns when jax has already chosen its backend, and of a jaxlib whose flags this package does not know.
    """
    try:
        found = version("jaxlib")
    except PackageNotFoundError:
        return
    wanted = flags_for_jaxlib(found)
    if not is_known_jaxlib(found):
        known = [".".join(map(str, release)) for release in _FLAGS_BY_JAXLIB]
        warnings.warn(
            f"jaxlib {found} is installed; this compseg_jax knows {known[0]} to {known[-1]}, so it sets no XLA flags: "
            "on CPUs oneDNN is off and convolutions are slower. `compseg doctor` tells whether results are right. "
            f"Install 'jax<{_next_release(known[-1])}', or a newer compseg_jax.",
            RuntimeWarning,
            stacklevel=3,
        )
    existing = os.environ.get("XLA_FLAGS", "")
    merged = merged_flags(existing, wanted)
    if merged == " ".join(existing.split()):
        return
    if backend_is_running():
        warnings.warn(
            "jax started before compseg_jax was imported, so the XLA flags that correct CPU results need "
            f"({' '.join(wanted)}) have no effect. Import compseg_jax first, or set them in XLA_FLAGS.",
            RuntimeWarning,
            stacklevel=3,
        )
        return
    os.environ["XLA_FLAGS"] = merged


def backend_is_running() -> bool:
    """Whether jax has chosen its backend, after which flags and allocators are settled."""
    bridge = sys.modules.get("jax._src.xla_bridge")
    return bool(bridge is not None and getattr(bridge, "_backends", None))
