"""An authority that every server of a test trusts."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.federation.peers import Authority


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "authority")
