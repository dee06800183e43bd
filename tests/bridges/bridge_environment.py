"""The bridges' own Python environment, `.bridges/` in the repository, used by tests only.

heisenbridge pins older libraries than ours and brings the mautrix that it was made for; python-olm, for encrypted
bridges, is built from source. They are never imported by our programs or tests, but run as processes.
"""

from __future__ import annotations

from pathlib import Path

from tests.own_environment import python_with

REQUIREMENTS = ("heisenbridge==1.15.4", "mautrix[encryption]==0.20.8")
ENVIRONMENT = Path(__file__).resolve().parents[2] / ".bridges"


def bridges_python(environment: Path = ENVIRONMENT) -> Path:
    """The interpreter that can import heisenbridge and mautrix. Raises EnvironmentUnavailable."""
    return python_with(environment, *REQUIREMENTS)
