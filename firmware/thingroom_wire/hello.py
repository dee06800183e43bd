"""The hello: what a device says when it connects, and how it asks to be paired.

Imports cbor, cose, downlink's nonce check, ed25519, envelope's header checks, errors, keys and limits. A pairing hello
is the same signed hello inside a COSE_Mac0 that proves the pairing code. Next: downlink for the answer.
"""

from collections import namedtuple

from thingroom_wire import cose, ed25519
from thingroom_wire.cbor import decode, encode
from thingroom_wire.downlink import require_nonce, require_spans
from thingroom_wire.envelope import check_signature_header, require_key_id, require_unsigned
from thingroom_wire.errors import WireError
from thingroom_wire.keys import ED25519, X25519, cose_key_map, parse_key_on
from thingroom_wire.keys import key_id as key_id_of
from thingroom_wire.limits import MAX_HELD, MAX_NAME, MAX_TEXT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

Hello = namedtuple(
    "Hello",
    (
        "key_id",
        "nonce",
        "boot",
        "uptime",
        "waiting",
        "firmware",
        "profile",
        "device_key",
        "agreement_key",
        "name",
        "commanded",
        "held",
        "update",
    ),
)
"""key_id, nonce: 8 bytes each; boot, uptime (ms), waiting (envelopes in the outbox): int; firmware, profile: str;
device_key, agreement_key: 32-byte public keys, in pairing only, else None; name: str or None; commanded: the counter of
the last command that was taken, or None for none; held: (newest number in the outbox, list of the (first, last) that
wait there, oldest first, at most MAX_HELD), or None where the device does not say; update: (architecture, counter of
the last update that was taken, 0 for none, what came of it or ""), or None where the device cannot be updated."""

SignedHello = namedtuple("SignedHello", ("hello", "signed_bytes", "signature"))
"""A parsed hello whose signature nobody has checked yet; signed_bytes is what the signature covers."""

CONTENT_HELLO = "application/vnd.thingroom.hello+cbor"

_NONCE, _BOOT, _UPTIME, _WAITING, _FIRMWARE, _PROFILE, _DEVICE_KEY, _AGREEMENT_KEY, _NAME = range(1, 10)
_COMMANDED, _HELD, _UPDATE = range(10, 13)
_UNDERSTOOD = (cose.ALGORITHM, cose.CRITICAL, cose.CONTENT_TYPE, cose.KEY_ID)
_TAG_17_HEADS = (b"\xd1", b"\xd8\x11", b"\xd9\0\x11", b"\xda\0\0\0\x11", b"\xdb\0\0\0\0\0\0\0\x11")


def hello_parts(hello: "Any") -> "tuple[bytes, bytes]":
    """Return (protected header, payload) of a hello, which is what gets signed."""
    protected = {
        cose.ALGORITHM: cose.ALGORITHM_ED25519,
        cose.CONTENT_TYPE: CONTENT_HELLO,
        cose.KEY_ID: hello.key_id,
    }
    fields = {
        _NONCE: hello.nonce,
        _BOOT: hello.boot,
        _UPTIME: hello.uptime,
        _WAITING: hello.waiting,
        _FIRMWARE: hello.firmware,
        _PROFILE: hello.profile,
    }
    if hello.device_key is not None:
        fields[_DEVICE_KEY] = cose_key_map(ED25519, hello.device_key)
    if hello.agreement_key is not None:
        fields[_AGREEMENT_KEY] = cose_key_map(X25519, hello.agreement_key)
    if hello.name is not None:
        fields[_NAME] = hello.name
    if hello.commanded is not None:
        fields[_COMMANDED] = hello.commanded
    if hello.held is not None:
        newest, waiting = hello.held
        fields[_HELD] = [newest, [list(span) for span in waiting]]
    if hello.update is not None:
        fields[_UPDATE] = list(hello.update)
    return encode(protected), encode(fields)


def encode_hello(seed: bytes, hello: "Any") -> bytes:
    """Return the hello as a COSE_Sign1, signed with the device key's 32-byte seed."""
    protected_bytes, payload = hello_parts(hello)
    signature = ed25519.sign(seed, cose.sig_structure(protected_bytes, payload))
    return cose.encode_sign1(protected_bytes, payload, signature)


def parse_hello(data: bytes) -> "Any":
    """Return the SignedHello that `data` is, its signature unchecked; raise WireError and nothing else.

    A hello that carries its device key is refused with "key_id_mismatch" where that key does not have the header's kid.
    """
    message = cose.parse_sign1(data)
    check_signature_header(message, _UNDERSTOOD)
    _check_content(message.protected)
    fields = decode(message.payload)
    if type(fields) is not dict:
        raise WireError("bad_hello", "The payload is not a map.")
    hello = Hello(
        message.protected[cose.KEY_ID],
        require_nonce(fields.get(_NONCE)),
        require_unsigned(fields.get(_BOOT), "boot"),
        require_unsigned(fields.get(_UPTIME), "uptime"),
        require_unsigned(fields.get(_WAITING), "waiting"),
        _short_text(fields.get(_FIRMWARE), "firmware"),
        _short_text(fields.get(_PROFILE), "profile"),
        parse_key_on(ED25519, fields[_DEVICE_KEY]) if _DEVICE_KEY in fields else None,
        parse_key_on(X25519, fields[_AGREEMENT_KEY]) if _AGREEMENT_KEY in fields else None,
        _short_text(fields[_NAME], "name") if _NAME in fields else None,
        require_unsigned(fields[_COMMANDED], "commanded") if _COMMANDED in fields else None,
        _held(fields[_HELD]) if _HELD in fields else None,
        _update(fields[_UPDATE]) if _UPDATE in fields else None,
    )
    if hello.device_key is not None and key_id_of(hello.device_key) != hello.key_id:
        raise WireError("key_id_mismatch", "The key id is not that of the device key.")
    return SignedHello(hello, cose.sig_structure(message.protected_bytes, message.payload), message.signature)


def encode_pairing_hello(pairing_device_key: bytes, key_id: bytes, signed_hello: bytes) -> bytes:
    """Return the COSE_Mac0 under the device's pairing key around a hello that encode_hello made."""
    protected = {
        cose.ALGORITHM: cose.ALGORITHM_HMAC_256,
        cose.CONTENT_TYPE: CONTENT_HELLO,
        cose.KEY_ID: key_id,
    }
    return cose.encode_mac0(pairing_device_key, protected, signed_hello)


def parse_pairing_hello(data: bytes, pairing_device_key: bytes) -> bytes:
    """Return the hello inside a pairing hello, to be given to parse_hello; raise WireError and nothing else.

    "bad_tag": not made with this pairing code. "missing_key": the hello lacks one of its two keys. "key_id_mismatch":
    the outer kid is not the inner one.
    """
    message = cose.parse_mac0(data)
    cose.check_critical(message.protected, _UNDERSTOOD)
    _check_content(message.protected)
    kid = require_key_id(message.protected)
    if not cose.verify_mac0(message, pairing_device_key):
        raise WireError("bad_tag", "The authentication tag is wrong.")
    payload: bytes = message.payload
    hello = parse_hello(payload).hello
    if hello.device_key is None or hello.agreement_key is None:
        raise WireError("missing_key", "A pairing hello carries the device key and the agreement key.")
    if hello.key_id != kid:
        raise WireError("key_id_mismatch", "The key ids of the hello and of its wrapping differ.")
    return payload


def is_pairing_hello(data: bytes) -> bool:
    """Whether `data` starts with tag 17, however long its encoding; says nothing about the rest."""
    for head in _TAG_17_HEADS:
        if data[: len(head)] == head:
            return True
    return False


def _check_content(protected: "dict[Any, Any]") -> None:
    if protected.get(cose.CONTENT_TYPE) != CONTENT_HELLO:
        raise WireError("bad_content_type", "The content is not a hello.")


def _short_text(value: "Any", what: str) -> str:
    if type(value) is not str or len(value) > MAX_TEXT:
        raise WireError("bad_" + what, "The " + what + " is not a short text.")
    return value


def _update(value: "Any") -> "tuple[str, int, str]":
    if type(value) is not list or len(value) != 3:
        raise WireError("bad_update", "What the hello says of updates is not an array of three.")
    for text in (value[0], value[2]):
        if type(text) is not str or len(text) > MAX_NAME:
            raise WireError("bad_update", "An architecture or an outcome is not a short text.")
    return value[0], require_unsigned(value[1], "update"), value[2]


def _held(value: "Any") -> "tuple[int, list[tuple[int, int]]]":
    if type(value) is not list or len(value) != 2 or type(value[1]) is not list or len(value[1]) > MAX_HELD:
        raise WireError("bad_held", "What the outbox holds is not an array of a number and a few ranges.")
    newest = require_unsigned(value[0], "held")
    waiting = require_spans(value[1], 2)
    before = 0
    for first, last in waiting:
        if first <= before or last > newest:
            raise WireError("bad_held", "The ranges do not ascend to the newest number.")
        before = last
    return newest, waiting
