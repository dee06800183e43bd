"""The same keys, signatures, MACs and messages as PyNaCl, cbor2, pycose and the standard library have them."""

import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl.bindings import crypto_scalarmult, crypto_scalarmult_base, crypto_sign_open
from nacl.exceptions import BadSignatureError, CryptoError
from nacl.signing import SigningKey, VerifyKey
from pycose.algorithms import HMAC256, EdDSA
from pycose.headers import KID, Algorithm, ContentType
from pycose.keys import OKPKey, SymmetricKey
from pycose.keys.curves import Ed25519
from pycose.messages import Mac0Message, Sign1Message
from tests.wire import wire_samples as samples
from tests.wire.wire_checks import reason_of

from thingroom_wire import (
    cbor,
    cose,
    ed25519,
    ed25519_comb,
    ed25519_points,
    envelope,
    hkdf,
    keys,
    senml,
    sha512,
    sha512_portable,
    x25519,
)

VECTORS = Path(__file__).resolve().parent.parent / "vectors"
SECRETS = st.binary(min_size=32, max_size=32)


# --- hashes and keys ------------------------------------------------------------------------------------------------


@given(st.binary(max_size=600))
def test_sha512_is_hashlibs(data: bytes) -> None:
    assert sha512_portable.sha512_portable(data) == sha512.sha512(data) == hashlib.sha512(data).digest()


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_hmac_is_the_standard_librarys(key: bytes, message: bytes) -> None:
    assert hkdf.hmac_sha256(key, message) == hmac.new(key, message, "sha256").digest()


@pytest.mark.parametrize("length", [0, 8161])
def test_hkdf_has_its_range(length: int) -> None:
    with pytest.raises(ValueError, match="8160"):
        hkdf.hkdf_sha256(b"", None, b"", length)


@given(SECRETS, st.binary(max_size=300))
@settings(max_examples=60)
def test_signatures_are_libsodiums(seed: bytes, message: bytes) -> None:
    key = SigningKey(seed)
    public = key.verify_key.encode()
    assert ed25519.public_key(seed) == public
    signature = ed25519.sign(seed, message, public)
    assert signature == key.sign(message).signature
    assert ed25519.verify(public, message, signature)


def libsodium_accepts(public: bytes, message: bytes, signature: bytes) -> bool:
    try:
        crypto_sign_open(signature + message, public)
    except (BadSignatureError, CryptoError):
        return False
    return True


@given(SECRETS, st.binary(max_size=60), st.data())
@settings(max_examples=60)
def test_changed_signatures_are_refused_as_libsodium_does(seed: bytes, message: bytes, data: st.DataObject) -> None:
    public = SigningKey(seed).verify_key.encode()
    parts = [bytearray(public), bytearray(message), bytearray(SigningKey(seed).sign(message).signature)]
    part = data.draw(st.sampled_from([part for part in parts if part]))
    part[data.draw(st.integers(0, len(part) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    changed = [bytes(part) for part in parts]
    assert ed25519.verify(*changed) is libsodium_accepts(*changed) is False


def test_libsodium_refuses_what_we_refuse() -> None:
    rows = json.loads((VECTORS / "ed25519.json").read_text())["refused"]
    of_right_length = [row for row in rows if row["name"] != "long key"]
    assert len(of_right_length) > 70
    for row in of_right_length:
        public, message, signature = (bytes.fromhex(row[part]) for part in ("public", "message", "signature"))
        assert not libsodium_accepts(public, message, signature), row["name"]


def test_a_key_with_a_component_of_small_order_is_judged_as_libsodium_does() -> None:
    """Such keys are not refused as keys; the signature counts only where the equation holds without the cofactor."""
    scalar, nonce = 12345678901234567890, 98765432109876543210
    torsion = ed25519_points._decode_point((ed25519_points.P - 1).to_bytes(32, "little"))  # (0, -1), of order two
    assert torsion is not None
    mixed = ed25519_points._encode_point(ed25519_points._add(ed25519_points._multiply_base(scalar), torsion))
    commitment = ed25519_points._encode_point(ed25519_points._multiply_base(nonce))
    verdicts = []
    for number in range(12):
        message = b"message %d" % number
        digest = hashlib.sha512(commitment + mixed + message).digest()
        challenge = int.from_bytes(digest, "little") % ed25519_points.ORDER
        response = ((nonce + challenge * scalar) % ed25519_points.ORDER).to_bytes(32, "little")
        verdict = ed25519.verify(mixed, message, commitment + response)
        assert verdict is (challenge % 2 == 0)
        assert verdict is libsodium_accepts(mixed, message, commitment + response)
        verdicts.append(verdict)
    assert set(verdicts) == {True, False}


@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_secret_of_wrong_length_is_the_callers_bug(length: int) -> None:
    for function in (ed25519.public_key, x25519.public_key):
        with pytest.raises(ValueError, match="32 bytes"):
            function(bytes(length))


def test_the_comb_is_small_and_what_it_should_be() -> None:
    assert list(ed25519_comb.TABLES) == ed25519_points.build_comb()
    assert sum(map(len, ed25519_comb.TABLES)) == 6144


def test_what_machine_code_is_held_against_is_known() -> None:
    assert ed25519._known_results(ed25519_points.PortableSecrets()) == ed25519._KNOWN


@given(SECRETS, SECRETS)
@settings(max_examples=40)
def test_agreement_is_libsodiums(mine: bytes, theirs: bytes) -> None:
    assert x25519.public_key(mine) == crypto_scalarmult_base(mine)
    peer = crypto_scalarmult_base(theirs)
    assert x25519.shared_secret(mine, peer) == crypto_scalarmult(mine, peer)


@given(SECRETS, SECRETS)
@settings(max_examples=40)
def test_agreement_with_any_bytes_is_libsodiums(mine: bytes, peer: bytes) -> None:
    try:
        expected = crypto_scalarmult(mine, peer)
    except CryptoError:
        assert reason_of(x25519.shared_secret, mine, peer) == "small_order_key"
    else:
        assert x25519.shared_secret(mine, peer) == expected


# --- pycose ---------------------------------------------------------------------------------------------------------


def pycose_message(kind: Any, data: bytes) -> Any:
    """pycose 1.1 wants the mutable containers of older cbor2 releases, so the outer array is given to it decoded."""
    protected, unprotected, payload, proof = cbor2.loads(data).value
    return kind.from_cose_obj([protected, dict(unprotected), payload, proof], True)


def test_pycose_verifies_our_envelope() -> None:
    message = pycose_message(Sign1Message, samples.sample_envelope(cose.ALGORITHM_EDDSA))
    message.key = OKPKey(crv=Ed25519, x=samples.PUBLIC)
    assert message.verify_signature()
    assert message.phdr[KID] == samples.KEY_ID
    assert message.phdr[envelope.SEQUENCE] == 7
    message.payload += b"\x00"
    assert not message.verify_signature()


def test_pycose_verifies_our_mac() -> None:
    message = pycose_message(Mac0Message, samples.sample_answer())
    message.key = SymmetricKey(k=samples.KEY)
    assert message.verify_tag()
    message.key = SymmetricKey(k=samples.KEY[::-1])
    assert not message.verify_tag()


def test_we_verify_an_envelope_that_pycose_made() -> None:
    payload = senml.encode_pack("urn:dev:mac:0024befffe804ff1_", None, [senml.Record("t", "Cel", 21, 0)])
    clock = [envelope.UNSET, 1, 5]
    header = {Algorithm: EdDSA, KID: samples.KEY_ID, ContentType: 112, envelope.CLOCK: clock, envelope.SEQUENCE: 9}
    message = Sign1Message(phdr=header, uhdr={}, payload=payload)
    message.key = OKPKey(crv=Ed25519, d=samples.SEED, x=samples.PUBLIC)
    parsed = envelope.parse_envelope(message.encode())
    assert parsed.header == envelope.Header(samples.KEY_ID, 9, None, envelope.Clock(*clock))
    assert ed25519.verify(samples.PUBLIC, parsed.signed_bytes, parsed.signature)
    VerifyKey(samples.PUBLIC).verify(parsed.signed_bytes, parsed.signature)


def test_we_verify_a_mac_that_pycose_made() -> None:
    message = Mac0Message(phdr={Algorithm: HMAC256, KID: samples.KEY_ID}, uhdr={}, payload=b"payload")
    message.key = SymmetricKey(k=samples.KEY)
    mac0 = cose.parse_mac0(message.encode())
    assert mac0.payload == b"payload"
    assert cose.verify_mac0(mac0, samples.KEY)
    assert not cose.verify_mac0(mac0, samples.KEY[::-1])


# --- another writer's bytes -----------------------------------------------------------------------------------------


def loose(value: Any) -> bytes:
    """A well-formed encoding that is as far from deterministic as CBOR allows: long heads, open ends, odd order."""
    if isinstance(value, bool) or value is None:
        return cbor2.dumps(value)
    if isinstance(value, int):
        major, argument = (0, value) if value >= 0 else (0x20, -1 - value)
        return bytes((major | 27,)) + argument.to_bytes(8, "big")
    if isinstance(value, bytes):
        half = len(value) // 2
        chunks = [b"\x59" + len(part).to_bytes(2, "big") + part for part in (value[:half], value[half:])]
        return b"\x5f" + b"".join(chunks) + b"\xff"
    if isinstance(value, str):
        encoded = value.encode()
        return b"\x7b" + len(encoded).to_bytes(8, "big") + encoded
    if isinstance(value, list):
        return b"\x9f" + b"".join(map(loose, value)) + b"\xff"
    if isinstance(value, dict):
        entries = sorted(value.items(), key=lambda entry: loose(entry[0]), reverse=True)
        return b"\xbf" + b"".join(loose(key) + loose(element) for key, element in entries) + b"\xff"
    assert isinstance(value, cbor2.CBORTag)
    return b"\xd9" + value.tag.to_bytes(2, "big") + loose(value.value)


def envelope_of(encode: Any) -> bytes:
    header = {
        envelope.CLOCK: [0, 3, 70_000],
        envelope.PREDECESSOR: [40, bytes(8)],
        envelope.SEQUENCE: 41,
        4: samples.KEY_ID,
        3: 112,
        1: -8,
    }
    pack = [{2: cbor2.CBORTag(4, [-1, 215]), 1: "Cel", 0: "t", -3: 1_700_000_000, -2: "urn:dev:mac:0024befffe804ff1_"}]
    protected, payload = encode(header), encode(pack)
    signed = cbor2.dumps(["Signature1", protected, b"", payload])
    signature = SigningKey(samples.SEED).sign(signed).signature
    return bytes(encode(cbor2.CBORTag(18, [protected, {"x": 1}, payload, signature])))


@pytest.mark.parametrize("encode", [cbor2.dumps, loose], ids=["unordered", "indefinite and long"])
def test_an_envelope_in_another_encoding_is_accepted_and_verified_as_it_arrived(encode: Any) -> None:
    data = envelope_of(encode)
    parsed = envelope.parse_envelope(data)
    assert parsed.header == envelope.Header(samples.KEY_ID, 41, (40, bytes(8)), envelope.Clock(0, 3, 70_000))
    assert parsed.protected_bytes != envelope.protected_header(parsed.header)
    assert ed25519.verify(samples.PUBLIC, parsed.signed_bytes, parsed.signature)
    pack = senml.decode_pack(parsed.payload)
    assert pack == senml.Pack(
        "urn:dev:mac:0024befffe804ff1_",
        1_700_000_000_000,
        [senml.Record("t", "Cel", cbor.Decimal(215, -1), 0)],
    )


@given(
    st.dictionaries(
        st.integers(-70000, 9), st.integers() | st.binary(max_size=9) | st.lists(st.integers(0, 9)), max_size=6
    )
)
def test_loose_encodings_mean_the_same(value: dict[int, Any]) -> None:
    small = {key: element for key, element in value.items() if not isinstance(element, int) or abs(element) < 2**64}
    assert cbor.decode(loose(small), max_items=5000) == cbor2.loads(cbor2.dumps(small)) == small


def test_the_vectors_of_our_messages_stand_without_our_code() -> None:
    """messages.json in the eyes of cbor2, PyNaCl and the standard library alone."""
    vectors = json.loads((VECTORS / "messages.json").read_text())
    for row in vectors["envelopes"] + vectors["hellos"] + vectors["commands"]:
        data = bytes.fromhex(row["message"])
        message = cbor2.loads(data)
        protected, unprotected, payload, signature = message.value
        assert (message.tag, dict(unprotected)) == (18, {})
        signed = cbor2.dumps(["Signature1", protected, b"", payload])
        SigningKey(bytes.fromhex(row["seed"])).verify_key.verify(signed, signature)
        for encoded in (data, protected, payload):
            assert cbor2.dumps(cbor2.loads(encoded), canonical=True) == encoded
        assert row.get("digest") in (None, hashlib.sha256(signed).digest()[:8].hex())
    for row in vectors["answers"]:
        message = cbor2.loads(bytes.fromhex(row["message"]))
        protected, _, payload, tag = message.value
        macced = cbor2.dumps(["MAC0", protected, b"", payload])
        assert message.tag == 17
        assert hmac.digest(bytes.fromhex(row["key"]), macced, "sha256") == tag


def test_cose_keys_are_read_in_any_encoding() -> None:
    key = {2: b"a kid", -2: samples.PUBLIC, -1: 6, 1: 1, 3: -8}
    assert keys.parse_cose_key(cbor2.dumps(key)) == keys.parse_cose_key(loose(key)) == (6, samples.PUBLIC)
    assert reason_of(keys.parse_cose_key, cbor2.dumps({**key, -4: samples.SEED})) == "private_key"
