"""`compseg doctor`'s checks as one JSON line; fails where the device computes wrong."""

from __future__ import annotations

import json

import jax

from compseg_jax.runtime.self_check import refuse_wrong_results, self_check
from compseg_jax.runtime.versions import versions


def main() -> None:
    """Prints the deviations, then refuses wrong ones."""
    deviations = {check.name: check.error for check in self_check()}
    device = jax.devices()[0].device_kind
    print(
        json.dumps({"name": "self_check", "device": device, "versions": versions(), "deviations": deviations})
    )
    refuse_wrong_results()


if __name__ == "__main__":
    main()
