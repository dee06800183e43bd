"""Keys that sign, as a client makes them: devices and cross-signing keys with real Ed25519 signatures."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from nacl.signing import SigningKey as NaclSigningKey
from tests.homeserver.running import MatrixClient

from thingroom_homeserver.core.canonical_json import encode_canonical_json
from thingroom_homeserver.core.signing import encode_base64

JsonObject = dict[str, Any]


@dataclass
class Key:
    """A signing key. `public`: in unpadded base64."""

    secret: NaclSigningKey = field(default_factory=NaclSigningKey.generate)

    @property
    def public(self) -> str:
        return encode_base64(bytes(self.secret.verify_key))

    def sign(self, value: JsonObject, user_id: str, key_id: str | None = None) -> JsonObject:
        """A copy of `value` with one more signature; by default the key is named by its public part."""
        covered = {name: each for name, each in value.items() if name not in ("signatures", "unsigned")}
        signature = encode_base64(self.secret.sign(encode_canonical_json(covered)).signature)
        signatures = {signer: dict(by_key) for signer, by_key in value.get("signatures", {}).items()}
        signatures.setdefault(user_id, {})[key_id or f"ed25519:{self.public}"] = signature
        return {**value, "signatures": signatures}


@dataclass
class Identity:
    """A user's three cross-signing keys."""

    user_id: str
    master: Key = field(default_factory=Key)
    self_signing: Key = field(default_factory=Key)
    user_signing: Key = field(default_factory=Key)

    def master_json(self) -> JsonObject:
        return self._json("master", self.master)

    def upload_body(self) -> JsonObject:
        """What /keys/device_signing/upload wants."""
        body = {"master_key": self.master_json()}
        for usage, key in (("self_signing", self.self_signing), ("user_signing", self.user_signing)):
            body[f"{usage}_key"] = self.master.sign(self._json(usage, key), self.user_id)
        return body

    def _json(self, usage: str, key: Key) -> JsonObject:
        return {"user_id": self.user_id, "usage": [usage], "keys": {f"ed25519:{key.public}": key.public}}


async def publish_device(client: MatrixClient, key: Key) -> JsonObject:
    """Upload signed identity keys for the client's device; they are returned."""
    name = f"ed25519:{client.device_id}"
    keys = {
        "user_id": client.user_id,
        "device_id": client.device_id,
        "algorithms": ["m.olm.v1.curve25519-aes-sha2", "m.megolm.v1.aes-sha2"],
        "keys": {name: key.public, f"curve25519:{client.device_id}": Key().public},
    }
    signed = key.sign(keys, client.user_id, name)
    (await client.post("v3/keys/upload", {"device_keys": signed})).ok()
    return signed


async def query(client: MatrixClient, *user_ids: str) -> JsonObject:
    return (await client.post("v3/keys/query", {"device_keys": {user_id: [] for user_id in user_ids}})).ok()
