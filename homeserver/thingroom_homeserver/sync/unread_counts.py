"""The unread counts of a room in a /sync. Pure.

Source: Client-Server API, "Syncing" (unread_notifications, unread_thread_notifications).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MAIN = "main"


def unread_fields(counts: Mapping[str, tuple[int, int]], *, by_thread: bool) -> dict[str, Any]:
    """The fields for (notifications, highlights) by thread. Not `by_thread`: all threads in one."""
    if not by_thread:
        both = counts.values()
        return {"unread_notifications": _count(sum(pair[0] for pair in both), sum(pair[1] for pair in both))}
    fields: dict[str, Any] = {"unread_notifications": _count(*counts.get(MAIN, (0, 0)))}
    threads = {thread_id: _count(*pair) for thread_id, pair in counts.items() if thread_id != MAIN and pair[0]}
    if threads:
        fields["unread_thread_notifications"] = threads
    return fields


def _count(notifications: int, highlights: int) -> dict[str, int]:
    return {"notification_count": notifications, "highlight_count": highlights}
