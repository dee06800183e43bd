"""The envelope: one numbered, signed reading, a COSE_Sign1 over a SenML pack.

Imports cbor, cose, errors and limits. A node fixes header and payload when it numbers a reading and signs them when it
sends (docs/decisions/0001); a gateway parses here, then verifies `signed_bytes` itself. Next: senml for the payload.
"""

import hashlib
from collections import namedtuple

from thingroom_wire import cose
from thingroom_wire.cbor import encode
from thingroom_wire.errors import WireError
from thingroom_wire.limits import MAX_NAME, MAX_RESULTS, MAX_SEQUENCE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SYNCHRONISED, DRIFTING, UNSET = 0, 1, 2
"""Clock states: set from the gateway lately; set once, and drifting since; never set since boot."""

Clock = namedtuple("Clock", ("state", "boot", "uptime"))
"""state as above; boot: the boot counter; uptime: milliseconds since boot at the base time."""

Header = namedtuple("Header", ("key_id", "sequence", "predecessor", "clock"))
"""key_id: 8 bytes; sequence: 1 to 2**53-1; predecessor: None or (sequence, digest of 8 bytes); clock: Clock."""

Envelope = namedtuple("Envelope", ("header", "protected_bytes", "payload", "signature", "signed_bytes", "results"))
"""A parsed envelope whose signature nobody has checked yet; signed_bytes is what the signature covers; results: list of
(counter, outcome), what came of commands, the outcome a snake_case str: "done" or why not."""

SEQUENCE = -65537
PREDECESSOR = -65538
CLOCK = -65539
RESULTS = -65540

CONTENT_SENML = 112
"""application/senml+cbor as a CoAP Content-Format."""

_CONTENT_SENML_TEXT = "application/senml+cbor"
_UNDERSTOOD = (cose.ALGORITHM, cose.CRITICAL, cose.CONTENT_TYPE, cose.KEY_ID, SEQUENCE, PREDECESSOR, CLOCK, RESULTS)
DIGEST_LENGTH = 8
SIGNATURE_LENGTH = 64


def protected_header(header: "Any", results: "Any" = ()) -> bytes:
    """Return the encoded protected header of `header` with the `results` of commands, a sequence of (counter, outcome).

    ValueError where a field is out of its range.
    """
    if len(results) > MAX_RESULTS:
        raise ValueError("too many results")
    if not 1 <= header.sequence <= MAX_SEQUENCE or len(header.key_id) != 8:
        raise ValueError("sequence or key id out of range")
    fields = {
        cose.ALGORITHM: cose.ALGORITHM_ED25519,
        cose.CONTENT_TYPE: CONTENT_SENML,
        cose.KEY_ID: header.key_id,
        SEQUENCE: header.sequence,
        CLOCK: list(header.clock),
    }
    if header.predecessor is not None:
        sequence, digest_bytes = header.predecessor
        if not 1 <= sequence < header.sequence or len(digest_bytes) != DIGEST_LENGTH:
            raise ValueError("predecessor out of range")
        fields[PREDECESSOR] = [sequence, digest_bytes]
    if results:
        fields[RESULTS] = [list(result) for result in results]
    return encode(fields)


def digest(protected_bytes: bytes, payload: bytes) -> bytes:
    """Return what the next envelope names this one by: 8 bytes of SHA-256 over the Sig_structure."""
    return hashlib.sha256(cose.sig_structure(protected_bytes, payload)).digest()[:DIGEST_LENGTH]


def parse_envelope(data: bytes) -> "Any":
    """Return the Envelope that `data` is, its signature unchecked; raise WireError and nothing else.

    Accepts any well-formed encoding of the format, algorithm -19 or -8, the content type as number or text, and header
    parameters it does not know unless they are marked critical.
    """
    message = cose.parse_sign1(data)
    fields = message.protected
    check_signature_header(message, _UNDERSTOOD)
    content = fields.get(cose.CONTENT_TYPE)
    if (type(content) is not int or content != CONTENT_SENML) and content != _CONTENT_SENML_TEXT:
        raise WireError("bad_content_type", "The content is not application/senml+cbor.")
    sequence = require_unsigned(fields.get(SEQUENCE), "sequence")
    if sequence == 0:
        raise WireError("bad_sequence", "The sequence number is zero.")
    header = Header(fields[cose.KEY_ID], sequence, _predecessor(fields, sequence), _clock(fields.get(CLOCK)))
    signed_bytes = cose.sig_structure(message.protected_bytes, message.payload)
    results = parse_results(fields[RESULTS]) if RESULTS in fields else []
    return Envelope(header, message.protected_bytes, message.payload, message.signature, signed_bytes, results)


def check_signature_header(message: "Any", understood: "tuple[int, ...]") -> None:
    """Raise WireError unless a Sign1 names Ed25519, a kid of 8 bytes, nothing critical and unknown, and has 64 bytes
    of signature."""
    fields = message.protected
    cose.check_critical(fields, understood)
    algorithm = fields.get(cose.ALGORITHM)
    if type(algorithm) is not int or (algorithm != cose.ALGORITHM_ED25519 and algorithm != cose.ALGORITHM_EDDSA):
        raise WireError("bad_algorithm", "The signature algorithm is not Ed25519.")
    require_key_id(fields)
    if len(message.signature) != SIGNATURE_LENGTH:
        raise WireError("bad_signature_length", "The signature does not have 64 bytes.")


def require_key_id(fields: "dict[Any, Any]") -> bytes:
    """Return the kid of a protected header; WireError "bad_key_id" unless it is 8 bytes."""
    kid = fields.get(cose.KEY_ID)
    if type(kid) is not bytes or len(kid) != 8:
        raise WireError("bad_key_id", "The key id is not a string of 8 bytes.")
    return kid


def require_unsigned(value: "Any", what: str) -> int:
    """Return `value` if it is an integer from 0 to 2**53-1; else WireError "bad_" + what."""
    if type(value) is not int or not 0 <= value <= MAX_SEQUENCE:
        raise WireError("bad_" + what, "The " + what + " is not an integer from 0 to 2**53-1.")
    return value


def parse_results(value: "Any") -> "list[tuple[int, str]]":
    """Return the (counter, outcome) of each result in a decoded header parameter; else WireError "bad_results"."""
    if type(value) is not list or len(value) > MAX_RESULTS:
        raise WireError("bad_results", "The results are not a short array.")
    results = []
    for pair in value:
        if type(pair) is not list or len(pair) != 2 or type(pair[1]) is not str or len(pair[1]) > MAX_NAME:
            raise WireError("bad_results", "A result is not an array of a counter and an outcome.")
        results.append((require_unsigned(pair[0], "results"), pair[1]))
    return results


def _predecessor(fields: "dict[Any, Any]", sequence: int) -> "tuple[int, bytes] | None":
    if PREDECESSOR not in fields:
        return None
    pair = fields[PREDECESSOR]
    if type(pair) is not list or len(pair) != 2:
        raise WireError("bad_predecessor", "The predecessor is not an array of two.")
    before, digest_bytes = pair
    if type(before) is not int or not 1 <= before < sequence:
        raise WireError("bad_predecessor", "The predecessor's number is not below the envelope's own.")
    if type(digest_bytes) is not bytes or len(digest_bytes) != DIGEST_LENGTH:
        raise WireError("bad_predecessor", "The predecessor's digest is not a string of 8 bytes.")
    return before, digest_bytes


def _clock(value: "Any") -> "Any":
    if type(value) is not list or len(value) != 3:
        raise WireError("bad_clock", "The clock is not an array of three.")
    state = require_unsigned(value[0], "clock")
    if state > UNSET:
        raise WireError("bad_clock", "The clock's state is unknown.")
    return Clock(state, require_unsigned(value[1], "clock"), require_unsigned(value[2], "clock"))
