"""`make audit` where something is known, where nothing is, and where nobody answers."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "tools" / "audit.sh"
KNOWN = "Name Version ID Fix Versions\nabsl-py 2.5.1 CVE-1 2.5.2"


def audited(folder, pip_audit):
    """Exit code and what is said with a pip-audit of these lines; None for one that cannot be installed."""
    (folder / "tools").mkdir()
    shutil.copy(SCRIPT, folder / "tools")
    program = folder / ".venv-audit" / "bin" / "pip-audit"
    if pip_audit is not None:
        program.parent.mkdir(parents=True)
        program.write_text(f"#!/bin/sh\n{pip_audit}\n")
        program.chmod(0o755)
    ran = subprocess.run(
        ["sh", "tools/audit.sh"],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "COMPSEG_PYTHON": "false", "HOME": os.fspath(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    return ran.returncode, ran.stdout, ran.stderr


@pytest.mark.skipif(os.name == "nt", reason="a shell script")
@pytest.mark.parametrize(
    ("pip_audit", "code", "said"),
    [
        ("echo 'No known vulnerabilities found' >&2", 0, ""),
        (f"echo '{KNOWN}'; exit 1", 1, KNOWN.splitlines()[1]),
        (
            "echo 'ERROR: no route to host' >&2; exit 1",
            2,
            "audit: pip-audit found no answer, so nothing is known of packaging/locked-all.txt; its reason is above; "
            "run it again with a network.",
        ),
        (None, 2, "audit: pip-audit could not be installed, so nothing is known of any release; "),
    ],
)
def test_what_could_not_be_asked_is_no_pass(tmp_path, pip_audit, code, said):
    found, out, errors = audited(tmp_path, pip_audit)
    assert found == code
    assert said in out + errors
    assert ("nothing is known" in errors) == (code == 2)
