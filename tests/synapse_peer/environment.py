"""Synapse's own Python environment, `.synapse/` in the repository, used by tests and benchmarks only.

Synapse is never imported by our programs or tests: it is spoken to as a process (oracle.py, server.py).
"""

from __future__ import annotations

from pathlib import Path

from tests.own_environment import python_with

# What it needs beside itself for PostgreSQL (the driver as a wheel, which compiles nothing) and for workers.
SYNAPSE = ("matrix-synapse[redis]==1.163.2", "psycopg2-binary==2.9.13")
ENVIRONMENT = Path(__file__).resolve().parents[2] / ".synapse"


def synapse_python(environment: Path = ENVIRONMENT) -> Path:
    """The interpreter that can import synapse. Raises EnvironmentUnavailable."""
    return python_with(environment, *SYNAPSE)
