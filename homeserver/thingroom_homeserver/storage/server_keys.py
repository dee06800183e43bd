"""SQL of other servers' signing keys and the documents that they stand in.

May import storage.connection. Called by federation/server_keys.py.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from thingroom_common.database import Transaction
from thingroom_homeserver.storage.connection import Reader


@dataclass(frozen=True, slots=True)
class ServerKey:
    """One Ed25519 key of another server. `valid_until_ts` (ms): until when its signatures count."""

    key_id: str
    public_key: bytes
    valid_until_ts: int
    is_old: bool


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """A document as its server signed it (JSON). Times are in ms."""

    fetched_ts: int
    valid_until_ts: int
    document: bytes


def keys_of(connection: Reader, server_name: str) -> list[ServerKey]:
    """Every key that the server ever showed."""
    rows = connection.execute("SELECT * FROM server_keys WHERE server_name = ?", (server_name,)).fetchall()
    return [ServerKey(row["key_id"], row["public_key"], row["valid_until_ts"], bool(row["is_old"])) for row in rows]


def documents_of(connection: Reader, server_name: str) -> list[StoredDocument]:
    """The documents that tell of them, the newest first."""
    rows: list[sqlite3.Row] = connection.execute(
        "SELECT fetched_ts, valid_until_ts, document FROM server_key_documents WHERE server_name = ? ORDER BY id DESC",
        (server_name,),
    ).fetchall()
    return [StoredDocument(row["fetched_ts"], row["valid_until_ts"], row["document"]) for row in rows]


def store_document(
    transaction: Transaction, server_name: str, stored: StoredDocument, keys: Sequence[ServerKey]
) -> None:
    """Keep a document and its keys. Keys that it no longer names stay as they were, with the document that had them."""
    document_id = transaction.execute(
        "INSERT INTO server_key_documents (server_name, fetched_ts, valid_until_ts, document) VALUES (?, ?, ?, ?)",
        (server_name, stored.fetched_ts, stored.valid_until_ts, stored.document),
    ).lastrowid
    transaction.executemany(
        "INSERT OR REPLACE INTO server_keys VALUES (?, ?, ?, ?, ?, ?)",
        [(server_name, key.key_id, key.public_key, key.valid_until_ts, key.is_old, document_id) for key in keys],
    )
    transaction.execute(
        "DELETE FROM server_key_documents WHERE server_name = ?"
        " AND id NOT IN (SELECT document_id FROM server_keys WHERE server_name = ?)",
        (server_name, server_name),
    )
