"""Tables for plain MQTT devices: devices without keys, whose words the gateway attests.

May import thingroom_common. schema.py lists these migrations; storage/plain.py has the statements.
"""

from __future__ import annotations

from typing import Final

from thingroom_common.database import Migration

MIGRATIONS: Final = [
    Migration(
        "plain_0001_devices",
        """
-- A device that the gateway attests has no keys (empty BLOBs) and gets its sequence numbers here.
ALTER TABLE devices ADD COLUMN attested INTEGER NOT NULL DEFAULT 0;
-- How an adopted device speaks. `binding` is JSON: what it said of itself, and the topics of its actuators.
CREATE TABLE plain (
    device INTEGER PRIMARY KEY REFERENCES devices,
    base TEXT NOT NULL UNIQUE,
    dialect TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    binding TEXT NOT NULL
);
-- The last message of each topic, as a digest: the same one, retained, is no second reading.
CREATE TABLE plain_heard (
    device INTEGER NOT NULL REFERENCES devices,
    topic TEXT NOT NULL,
    digest BLOB NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (device, topic)
) WITHOUT ROWID;
-- By MQTT packet identifier the message that was stored under it, as a digest over topic and payload: what the broker
-- delivers again, because it did not hear that we have it, is no second reading.
CREATE TABLE plain_packets (packet INTEGER PRIMARY KEY, digest BLOB NOT NULL);
""",
    )
]
