"""The gateway's answer: a COSE_Mac0 that acknowledges, tells the time, refuses, brings commands and, in pairing, keys.

Imports cbor, cose, envelope's header checks, errors, keys and limits. Next: hello, which asks for an answer.
"""

from collections import namedtuple

from thingroom_wire import cose
from thingroom_wire.cbor import decode, encode
from thingroom_wire.envelope import require_key_id, require_unsigned
from thingroom_wire.errors import WireError
from thingroom_wire.keys import ED25519, X25519, cose_key_map, parse_key_on
from thingroom_wire.limits import MAX_COMMANDS, MAX_SEQUENCE, MAX_TEXT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

Answer = namedtuple(
    "Answer", ("acknowledged", "time", "nonce", "refused", "gateway_key", "agreement_key", "commands", "pause")
)
"""acknowledged: list of (first, last); time: Unix time in milliseconds or None; nonce: 8 bytes or None; refused: list
of (first, last, reason), the reason a snake_case str; gateway_key, agreement_key: 32-byte public keys or None;
commands: list of bytes, each a command (command.py), oldest first; pause: milliseconds to send no readings, or None."""

NONCE_LENGTH = 8

_ACKNOWLEDGED, _TIME, _NONCE, _REFUSED, _COMMANDS, _PAUSE, _GATEWAY_KEY, _AGREEMENT_KEY = range(1, 9)
_UNDERSTOOD = (cose.ALGORITHM, cose.CRITICAL, cose.CONTENT_TYPE, cose.KEY_ID)


def encode_answer(key: bytes, device_kid: bytes, answer: "Any") -> bytes:
    """Return the COSE_Mac0 of `answer` to the device `device_kid` under its downlink key, or in pairing under the
    gateway's pairing key. Empty lists and None are left out."""
    fields: dict[int, Any] = {}
    if answer.acknowledged:
        fields[_ACKNOWLEDGED] = [list(span) for span in answer.acknowledged]
    if answer.time is not None:
        fields[_TIME] = answer.time
    if answer.nonce is not None:
        fields[_NONCE] = answer.nonce
    if answer.refused:
        fields[_REFUSED] = [list(span) for span in answer.refused]
    if answer.commands:
        fields[_COMMANDS] = answer.commands
    if answer.pause is not None:
        fields[_PAUSE] = answer.pause
    if answer.gateway_key is not None:
        fields[_GATEWAY_KEY] = cose_key_map(ED25519, answer.gateway_key)
    if answer.agreement_key is not None:
        fields[_AGREEMENT_KEY] = cose_key_map(X25519, answer.agreement_key)
    protected = {
        cose.ALGORITHM: cose.ALGORITHM_HMAC_256,
        cose.CONTENT_TYPE: cose.CONTENT_CBOR,
        cose.KEY_ID: device_kid,
    }
    return cose.encode_mac0(key, protected, encode(fields))


def parse_answer(data: bytes, key: bytes) -> "Any":
    """Return the Answer that `data` is; raise WireError and nothing else, "bad_tag" where the MAC is wrong under `key`.

    The payload is not looked at before its MAC has been verified. Labels unknown to this reader are ignored.
    """
    message = cose.parse_mac0(data)
    cose.check_critical(message.protected, _UNDERSTOOD)
    require_key_id(message.protected)
    content = message.protected.get(cose.CONTENT_TYPE)
    if type(content) is not int or content != cose.CONTENT_CBOR:
        raise WireError("bad_content_type", "The content is not application/cbor.")
    if not cose.verify_mac0(message, key):
        raise WireError("bad_tag", "The authentication tag is wrong.")
    fields = decode(message.payload)
    if type(fields) is not dict:
        raise WireError("bad_answer", "The payload is not a map.")
    return Answer(
        require_spans(fields.get(_ACKNOWLEDGED, []), 2),
        require_unsigned(fields[_TIME], "time") if _TIME in fields else None,
        require_nonce(fields[_NONCE]) if _NONCE in fields else None,
        require_spans(fields.get(_REFUSED, []), 3),
        parse_key_on(ED25519, fields[_GATEWAY_KEY]) if _GATEWAY_KEY in fields else None,
        parse_key_on(X25519, fields[_AGREEMENT_KEY]) if _AGREEMENT_KEY in fields else None,
        _commands(fields.get(_COMMANDS, [])),
        require_unsigned(fields[_PAUSE], "pause") if _PAUSE in fields else None,
    )


def require_nonce(value: "Any") -> bytes:
    """Return `value` if it is a string of 8 bytes; else WireError "bad_nonce"."""
    if type(value) is not bytes or len(value) != NONCE_LENGTH:
        raise WireError("bad_nonce", "The nonce is not a string of 8 bytes.")
    return value


def require_spans(value: "Any", width: int) -> "list[tuple[Any, ...]]":
    """The ranges of sequences in an array, each [first, last] or, `width` being 3, [first, last, reason]; else
    WireError "bad_ranges"."""
    if type(value) is not list:
        raise WireError("bad_ranges", "The ranges are not an array.")
    spans = []
    for span in value:
        if type(span) is not list or len(span) != width:
            raise WireError("bad_ranges", "A range is not an array of its length.")
        if type(span[0]) is not int or type(span[1]) is not int or not 1 <= span[0] <= span[1] <= MAX_SEQUENCE:
            raise WireError("bad_ranges", "A range does not go from a sequence number to one not below it.")
        if width == 3 and (type(span[2]) is not str or len(span[2]) > MAX_TEXT):
            raise WireError("bad_ranges", "A refusal's reason is not a short text.")
        spans.append(tuple(span))
    return spans


def _commands(value: "Any") -> "list[bytes]":
    if type(value) is not list or len(value) > MAX_COMMANDS:
        raise WireError("bad_commands", "The commands are not a short array.")
    for command in value:
        if type(command) is not bytes:
            raise WireError("bad_commands", "A command is not a byte string.")
    return value
