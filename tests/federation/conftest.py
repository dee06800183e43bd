"""An authority that every server of a test trusts; a Synapse and one of ours that the tests of a module share."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.federation.peers import Authority
from tests.federation.synapse_sides import host_and_guest, sides

__all__ = ["authority", "host_and_guest", "sides"]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "authority")
