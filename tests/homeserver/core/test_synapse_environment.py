"""The environment of Synapse: found when it is there, and a clear sentence when it cannot be made."""

import subprocess
from pathlib import Path

import pytest
from tests.own_environment import EnvironmentUnavailable
from tests.synapse_peer.environment import SYNAPSE, synapse_python


def test_it_runs_the_pinned_synapse():
    command = (str(synapse_python()), "-c", "from importlib.metadata import version; print(version('matrix-synapse'))")
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    assert f"matrix-synapse[redis]=={found}" == SYNAPSE[0]


def test_it_says_why_it_cannot_be_made(tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    said = r"matrix-synapse.redis.==[0-9.]+ .* cannot be installed in .*/file/environment"
    with pytest.raises(EnvironmentUnavailable, match=said):
        synapse_python(tmp_path / "file" / "environment")


def test_it_passes_on_what_pip_says(tmp_path: Path):
    python = tmp_path / "bin" / "python"
    python.mkdir(parents=True)  # where the interpreter would be, so that making the environment fails
    with pytest.raises(EnvironmentUnavailable, match="cannot be installed"):
        synapse_python(tmp_path)
