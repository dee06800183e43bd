"""Synapse's own Python environment, `.synapse/` in the repository, used by tests and benchmarks only.

Synapse is never imported by our programs or tests: it is spoken to as a process (oracle.py, server.py).
"""

from __future__ import annotations

from pathlib import Path

from tests.own_environment import python_with

SYNAPSE = "matrix-synapse==1.163.2"
ENVIRONMENT = Path(__file__).resolve().parents[2] / ".synapse"


def synapse_python(environment: Path = ENVIRONMENT) -> Path:
    """The interpreter that can import synapse. Raises EnvironmentUnavailable."""
    return python_with(environment, SYNAPSE)
