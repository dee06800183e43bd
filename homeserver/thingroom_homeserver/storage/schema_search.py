"""The table of events that wait to be put into the search index (its table is in schema_relations.py).

May import thingroom_common only. Next: search_index.py.
"""

from __future__ import annotations

from thingroom_common.database import Migration

SEARCH = Migration(
    "search_1_waiting",
    """
CREATE TABLE search_waiting (position INTEGER PRIMARY KEY);
""",
)

SEARCH_MIGRATIONS = (SEARCH,)
