"""What the tests of C++ programs share."""

from __future__ import annotations

import subprocess

from tests.e2e.programs import ROOT

EXAMPLES = ROOT / "examples" / "cpp"

# Compilers take their time on a busy machine.
BUILD_DEADLINE_S = 600


def run(*command, **options):
    """Run a command that must succeed."""
    done = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        timeout=BUILD_DEADLINE_S,
        stdin=subprocess.DEVNULL,
        **options,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done
