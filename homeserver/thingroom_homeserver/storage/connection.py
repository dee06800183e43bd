"""What the functions of this package run on: the reader's connection, or a transaction inside a write.

May import thingroom_common only.
"""

from __future__ import annotations

import sqlite3
from typing import TypeAlias

from thingroom_common.database import Transaction

Reader: TypeAlias = sqlite3.Connection | Transaction
