"""Cross-signing: which keys are taken, when a password is asked for, whose signatures are kept and who sees them."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.homeserver.encryption.key_support import Identity, Key, publish_device, query
from tests.homeserver.running import PASSWORD, MatrixClient, RunningHomeserver

UPLOAD = "v3/keys/device_signing/upload"
SIGNATURES = "v3/keys/signatures/upload"


async def published(client: MatrixClient) -> Identity:
    identity = Identity(client.user_id)
    (await client.post(UPLOAD, identity.upload_body())).ok()
    return identity


async def test_the_first_upload_and_the_same_again_need_no_password(alice: MatrixClient, bob: MatrixClient) -> None:
    identity = Identity(alice.user_id)
    body = identity.upload_body()
    (await alice.post(UPLOAD, body)).ok()
    (await alice.post(UPLOAD, body)).ok()
    (await alice.post(UPLOAD, {"master_key": body["master_key"]})).ok()
    own, others = await query(alice, alice.user_id), await query(bob, alice.user_id)
    assert own["master_keys"][alice.user_id]["keys"] == body["master_key"]["keys"]
    assert own["self_signing_keys"] == {alice.user_id: body["self_signing_key"]}
    assert own["user_signing_keys"] == {alice.user_id: body["user_signing_key"]}
    assert others["self_signing_keys"] == own["self_signing_keys"]
    assert others["user_signing_keys"] == {}


async def test_other_keys_need_the_password(alice: MatrixClient) -> None:
    first = await published(alice)
    body = Identity(alice.user_id).upload_body()
    for new in (body, {**first.upload_body(), "self_signing_key": first.master.sign(_renewed(first), alice.user_id)}):
        challenge = await alice.post(UPLOAD, new)
        assert challenge.status == 401
        assert challenge.body["flows"] == [{"stages": ["m.login.password"]}]
    assert (await query(alice, alice.user_id))["master_keys"][alice.user_id]["keys"] == first.master_json()["keys"]
    challenge = await alice.post(UPLOAD, body)
    auth = {"type": "m.login.password", "session": challenge.body["session"], "password": PASSWORD}
    auth["identifier"] = {"type": "m.id.user", "user": "alice"}
    (await alice.post(UPLOAD, {**body, "auth": auth})).ok()
    keys = (await query(alice, alice.user_id))["master_keys"][alice.user_id]["keys"]
    assert keys == body["master_key"]["keys"]


async def test_of_two_first_uploads_at_once_one_wins(alice: MatrixClient) -> None:
    bodies = [Identity(alice.user_id).upload_body() for _ in range(4)]
    answers = await asyncio.gather(*(alice.post(UPLOAD, body) for body in bodies))
    statuses = [answer.status for answer in answers]
    assert statuses.count(200) == 1 and set(statuses) <= {200, 401, 403}
    winner = bodies[statuses.index(200)]
    seen = await query(alice, alice.user_id)
    assert seen["master_keys"][alice.user_id]["keys"] == winner["master_key"]["keys"]
    assert seen["self_signing_keys"] == {alice.user_id: winner["self_signing_key"]}


def _renewed(identity: Identity) -> dict[str, Any]:
    key = Key()
    return {"user_id": identity.user_id, "usage": ["self_signing"], "keys": {f"ed25519:{key.public}": key.public}}


async def test_keys_that_are_not_taken(alice: MatrixClient, bob: MatrixClient) -> None:
    body = Identity(alice.user_id).upload_body()
    (await alice.post(UPLOAD, {"self_signing_key": body["self_signing_key"]})).is_error(400, "M_MISSING_PARAM")
    (await alice.post(UPLOAD, {})).is_error(400, "M_MISSING_PARAM")
    unsigned = {name: each for name, each in body["self_signing_key"].items() if name != "signatures"}
    (await alice.post(UPLOAD, {**body, "self_signing_key": unsigned})).is_error(400, "M_INVALID_SIGNATURE")
    by_other = Key().sign(unsigned, alice.user_id)
    (await alice.post(UPLOAD, {**body, "self_signing_key": by_other})).is_error(400, "M_INVALID_SIGNATURE")
    (await bob.post(UPLOAD, body)).is_error(400, "M_INVALID_PARAM")
    for wrong in ({"usage": ["other"]}, {"keys": {}}, {"keys": {"ed25519:a": "b"}}, {"keys": {"ed25519:YQ": "YQ"}}):
        master = {**body["master_key"], **wrong}
        (await alice.post(UPLOAD, {"master_key": master})).is_error(400, "M_INVALID_PARAM")
    (await alice.post(UPLOAD, {"master_key": "x"})).is_error(400, "M_BAD_JSON")
    assert (await query(bob, alice.user_id))["master_keys"] == {}


async def test_a_device_and_a_key_never_share_a_name(homeserver: RunningHomeserver, alice: MatrixClient) -> None:
    identity = Identity(alice.user_id)
    login = {"type": "m.login.password", "user": "alice", "password": PASSWORD}
    named = {**login, "device_id": identity.master.public}
    (await homeserver.client().post("v3/login", named)).ok()
    (await alice.post(UPLOAD, identity.upload_body())).is_error(403, "M_FORBIDDEN")
    other = await published(alice)
    taken = {**login, "device_id": other.user_signing.public}
    (await homeserver.client().post("v3/login", taken)).is_error(400, "M_INVALID_PARAM")


async def test_signatures_are_checked_merged_and_shown_to_whom_they_concern(
    homeserver: RunningHomeserver, alice: MatrixClient, bob: MatrixClient
) -> None:
    carol = await homeserver.register("carol")
    alices, bobs = await published(alice), await published(bob)
    device_key = Key()
    device = await publish_device(alice, device_key)
    own_device = alices.self_signing.sign(device, alice.user_id)
    master_by_device = device_key.sign(alices.master_json(), alice.user_id, f"ed25519:{alice.device_id}")
    bobs_master = alices.user_signing.sign(bobs.master_json(), alice.user_id)
    answer = await alice.post(
        SIGNATURES,
        {
            alice.user_id: {alice.device_id: own_device, alices.master.public: master_by_device},
            bob.user_id: {bobs.master.public: bobs_master},
        },
    )
    assert answer.ok() == {"failures": {}}
    for viewer in (alice, bob, carol):
        seen = await query(viewer, alice.user_id, bob.user_id)
        assert seen["device_keys"][alice.user_id][alice.device_id]["signatures"] == own_device["signatures"]
        assert seen["master_keys"][alice.user_id]["signatures"] == master_by_device["signatures"]
        by_alice = seen["master_keys"][bob.user_id]["signatures"].get(alice.user_id)
        assert by_alice == (bobs_master["signatures"][alice.user_id] if viewer is alice else None)
    # New identity keys of the device are not signed by anyone.
    await publish_device(alice, Key())
    seen = await query(bob, alice.user_id)
    signatures = seen["device_keys"][alice.user_id][alice.device_id]["signatures"]
    assert list(signatures[alice.user_id]) == [f"ed25519:{alice.device_id}"]


async def test_each_bad_signature_fails_for_itself(alice: MatrixClient, bob: MatrixClient) -> None:
    alices, bobs = await published(alice), await published(bob)
    device = await publish_device(alice, Key())
    wrong_key = Key().sign(device, alice.user_id, f"ed25519:{alices.self_signing.public}")
    changed = alices.self_signing.sign({**device, "algorithms": []}, alice.user_id)
    good = alices.user_signing.sign(bobs.master_json(), alice.user_id)

    async def failures(name: str, value: Any, user_id: str = alice.user_id) -> dict[str, Any]:
        body = (
            {user_id: {name: value}, bob.user_id: {bobs.master.public: good}}
            if user_id != bob.user_id
            else {user_id: {name: value}}
        )
        return (await alice.post(SIGNATURES, body)).ok()["failures"]

    async def errcode(name: str, value: Any, user_id: str = alice.user_id) -> str:
        found = await failures(name, value, user_id)
        assert list(found) == [user_id] and list(found[user_id]) == [name]
        return found[user_id][name]["errcode"]

    assert await errcode(alice.device_id, wrong_key) == "M_INVALID_SIGNATURE"
    assert await errcode(alice.device_id, device) == "M_INVALID_SIGNATURE"
    assert await errcode(alice.device_id, changed) == "M_INVALID_PARAM"
    assert await errcode("NOBODY", changed) == "M_NOT_FOUND"
    assert await errcode(alice.device_id, "x") == "M_BAD_JSON"
    assert await errcode(alices.master.public, alices.master_json()) == "M_INVALID_SIGNATURE"
    unknown = Key().sign(alices.master_json(), alice.user_id, "ed25519:NOBODY")
    assert await errcode(alices.master.public, unknown) == "M_INVALID_SIGNATURE"
    assert await errcode("other", good, bob.user_id) == "M_NOT_FOUND"
    forged = Key().sign(bobs.master_json(), alice.user_id, f"ed25519:{alices.user_signing.public}")
    assert await errcode(bobs.master.public, forged, bob.user_id) == "M_INVALID_SIGNATURE"
    assert await failures(bobs.master.public, good, bob.user_id) == {}
    (await alice.post(SIGNATURES, {alice.user_id: []})).is_error(400, "M_BAD_JSON")


async def test_what_a_deleted_device_signed_is_gone(homeserver: RunningHomeserver, alice: MatrixClient) -> None:
    alices = await published(alice)
    login = {"type": "m.login.password", "user": "alice", "password": PASSWORD}
    session = (await homeserver.client().post("v3/login", login)).ok()
    tablet = homeserver.client(session["access_token"])
    tablet.user_id, tablet.device_id = session["user_id"], session["device_id"]
    key = Key()
    await publish_device(tablet, key)
    signed = key.sign(alices.master_json(), alice.user_id, f"ed25519:{tablet.device_id}")
    assert (await tablet.post(SIGNATURES, {alice.user_id: {alices.master.public: signed}})).ok()["failures"] == {}
    assert (await query(alice, alice.user_id))["master_keys"][alice.user_id]["signatures"] != {}
    (await tablet.post("v3/logout")).ok()
    seen = await query(alice, alice.user_id)
    assert seen["master_keys"][alice.user_id]["signatures"] == {}
    assert seen["device_keys"][alice.user_id] == {}
