"""What the homeserver's parts know of themselves, for metrics.py: asked when Prometheus comes, counted nowhere.

May import storage and the parts. Made by server.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from sqlite3 import Connection

from thingroom_common.database import Database
from thingroom_homeserver.accounts.appservices import AppServices
from thingroom_homeserver.federation.service import Federation
from thingroom_homeserver.metrics import Reading
from thingroom_homeserver.notifier import Notifier
from thingroom_homeserver.storage.appservices import load_stream
from thingroom_homeserver.storage.positions import current_position
from thingroom_homeserver.storage.staged_events import count_staged


def readings(
    database: Database, notifier: Notifier, appservices: AppServices, federation: Federation
) -> tuple[Reading, ...]:
    """The gauges and counters of a running server."""

    def queues() -> Iterable[tuple[str, float]]:
        return database.read(lambda connection: [(each.id, _behind(connection, each.id)) for each in appservices])

    return (
        (
            "thingroom_events_stored",
            "Events in the database.",
            True,
            lambda: [("all", database.read(_events_stored))],
        ),
        ("thingroom_sync_waiters", "Long polls that wait.", False, lambda: [("all", notifier.waiting)]),
        (
            "thingroom_database_batches",
            "Commits; many writes share one.",
            True,
            lambda: [("all", database.batches_committed)],
        ),
        ("thingroom_database_writes", "Writes committed.", True, lambda: [("all", database.writes_committed)]),
        ("thingroom_database_waiting", "Writes that wait.", False, lambda: [("all", database.writes_waiting)]),
        (
            "thingroom_appservice_behind",
            "How far each application service is behind the stream, in stream positions.",
            False,
            queues,
        ),
        (
            "thingroom_federation_requests",
            "Requests to other homeservers, by how they ended.",
            True,
            lambda: list(federation.client.ended.items()),
        ),
        (
            "thingroom_federation_waiting",
            "Events that wait in memory for other homeservers, counted once for each.",
            False,
            lambda: [("all", federation.sender.waiting)],
        ),
        (
            "thingroom_federation_received",
            "What other homeservers sent: transactions, events (PDUs), ephemeral messages (EDUs).",
            True,
            lambda: list(federation.traffic.received.items()),
        ),
        (
            "thingroom_federation_sent",
            "What other homeservers took: transactions, events (PDUs), ephemeral messages (EDUs).",
            True,
            lambda: list(federation.traffic.sent.items()),
        ),
        (
            "thingroom_federation_backing_off",
            "Homeservers that do not answer.",
            False,
            lambda: [("all", federation.reachability.failing)],
        ),
        (
            "thingroom_federation_staged",
            "Events of other homeservers that wait for what came before them.",
            False,
            lambda: [("all", database.read(count_staged))],
        ),
    )


def _events_stored(connection: Connection) -> int:
    return int(connection.execute("SELECT coalesce(max(nid), 0) FROM events").fetchone()[0])


def _behind(connection: Connection, appservice_id: str) -> int:
    stream = load_stream(connection, appservice_id)
    return 0 if stream is None else max(0, current_position(connection) - stream.position)
