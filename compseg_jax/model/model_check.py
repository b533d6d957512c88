"""What can be proven of a model before it is used: `compseg check RUN`."""

from __future__ import annotations

from compseg_jax.config.locations import Location
from compseg_jax.model.model import Model
from compseg_jax.model.model_description import UNSEALED
from compseg_jax.model.model_files import load_model
from compseg_jax.model.run_folder import CONFIG, read_run, run_of


def check_model(place: Location, network: str = "") -> tuple[Model, str]:
    """Loads a model, which compares every hash it states, and says what was compared.

    Args:
      place: run, model folder, or URL of one.
      network: of one's own that may be imported for it.

    Raises:
      ModelError: where a value does not fit, or a hash is not the one that is stated; also of the run it lies in.
    """
    model = load_model(place, network=network)
    first = model.networks[0]
    several = f"{len(model.networks)} networks" if len(model.networks) > 1 else "one network"
    lines = [
        f"{place}: {several} of {len(first.scaling.mean)} channels, threshold {model.threshold:g}",
        "weights: as their hash says",
        "description: as its hash says" if model.is_sealed else f"note: {UNSEALED}",
    ]
    if any(each.distribution is not None for each in model.networks):
        lines.append("training distribution: as its hash says")
    if (run := run_of(place)) is not None:
        read_run(run)
        lines.append(f"{CONFIG}: every field in its range")
    return model, "\n".join([*lines, "no problems found"])
