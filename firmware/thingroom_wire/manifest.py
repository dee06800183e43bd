"""An update: the manifest that the gateway signs for one device, and the asking for blocks of what it describes.

Imports cbor, cose, ed25519, envelope's header checks, errors and limits. The manifest is a COSE_Sign1 under the
gateway's key, among the commands of an answer; ask and block are each a COSE_Mac0 under the downlink key. See
docs/wire_format.md, "Updates".
"""

from collections import namedtuple

from thingroom_wire import cose, ed25519
from thingroom_wire.cbor import decode, encode
from thingroom_wire.envelope import check_signature_header, require_key_id, require_unsigned
from thingroom_wire.errors import WireError
from thingroom_wire.limits import MAX_BLOCK, MAX_BUNDLE, MAX_MANIFEST, MAX_NAME

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

Manifest = namedtuple(
    "Manifest", ("device", "counter", "number", "version", "architecture", "kind", "size", "digest", "patience")
)
"""device: the kid of the device it is for; counter: 1 to 2**53-1, grows from update to update of a device; number: what
versions are compared by; version: its text; architecture: as mpy-cross -march calls it, or the chip of a whole image;
kind: FILES or IMAGE; size: bytes; digest: the 32 bytes of their SHA-256; patience: seconds within which
the new version must have a reading acknowledged."""

SignedManifest = namedtuple("SignedManifest", ("manifest", "key_id", "signed_bytes", "signature"))
"""A parsed manifest whose signature nobody has checked yet; key_id: the kid of the key that it claims."""

Ask = namedtuple("Ask", ("counter", "offset", "length"))
"""counter: of the update; offset, length: bytes of its bundle that are wanted."""

Block = namedtuple("Block", ("counter", "offset", "data"))
"""data: the bytes from `offset` on; None: the update is over, ask no more."""

MAX_PATIENCE = 86_400

CONTENT_MANIFEST = "application/vnd.thingroom.manifest+cbor"
CONTENT_ASK = "application/vnd.thingroom.ask+cbor"
CONTENT_BLOCK = "application/vnd.thingroom.block+cbor"

FILES = 0
"""A bundle of compiled modules (firmware_image.py)."""
IMAGE = 1
"""A whole image of MicroPython for an OTA partition."""

_DEVICE, _COUNTER, _NUMBER, _VERSION, _ARCHITECTURE, _KIND, _SIZE, _DIGEST, _PATIENCE = range(1, 10)
_OF, _OFFSET, _LENGTH, _DATA = range(1, 5)
_UNDERSTOOD = (cose.ALGORITHM, cose.CRITICAL, cose.CONTENT_TYPE, cose.KEY_ID)


def manifest_parts(gateway_kid: bytes, manifest: "Any") -> "tuple[bytes, bytes]":
    """Return (protected header, payload) of a manifest, which is what gets signed."""
    protected = {
        cose.ALGORITHM: cose.ALGORITHM_ED25519,
        cose.CONTENT_TYPE: CONTENT_MANIFEST,
        cose.KEY_ID: gateway_kid,
    }
    fields = {
        _DEVICE: manifest.device,
        _COUNTER: manifest.counter,
        _NUMBER: manifest.number,
        _VERSION: manifest.version,
        _ARCHITECTURE: manifest.architecture,
        _KIND: manifest.kind,
        _SIZE: manifest.size,
        _DIGEST: manifest.digest,
        _PATIENCE: manifest.patience,
    }
    return encode(protected), encode(fields)


def encode_manifest(seed: bytes, gateway_kid: bytes, manifest: "Any") -> bytes:
    """Return the manifest as a COSE_Sign1, signed with the gateway key's 32-byte seed."""
    protected_bytes, payload = manifest_parts(gateway_kid, manifest)
    signature = ed25519.sign(seed, cose.sig_structure(protected_bytes, payload))
    return cose.encode_sign1(protected_bytes, payload, signature)


def parse_manifest(data: bytes) -> "Any":
    """Return the SignedManifest that `data` is, its signature unchecked; raise WireError and nothing else."""
    if len(data) > MAX_MANIFEST:
        raise WireError("too_large", "The manifest is longer than a manifest may be.")
    message = cose.parse_sign1(data)
    check_signature_header(message, _UNDERSTOOD)
    if message.protected.get(cose.CONTENT_TYPE) != CONTENT_MANIFEST:
        raise WireError("bad_content_type", "The content is not a manifest.")
    fields = decode(message.payload)
    if type(fields) is not dict:
        raise WireError("bad_manifest", "The payload is not a map.")
    device = fields.get(_DEVICE)
    if type(device) is not bytes or len(device) != 8:
        raise WireError("bad_key_id", "The device is not a string of 8 bytes.")
    digest = fields.get(_DIGEST)
    if type(digest) is not bytes or len(digest) != 32:
        raise WireError("bad_digest", "The digest is not a string of 32 bytes.")
    counter = require_unsigned(fields.get(_COUNTER), "counter")
    kind = require_unsigned(fields.get(_KIND), "kind")
    size = require_unsigned(fields.get(_SIZE), "size")
    patience = require_unsigned(fields.get(_PATIENCE), "patience")
    if not 0 < patience <= MAX_PATIENCE:
        raise WireError("bad_patience", "The patience is nothing, or more than a day.")
    if counter == 0:
        raise WireError("bad_counter", "The counter is zero.")
    if kind > IMAGE:
        raise WireError("bad_kind", "The kind of update is unknown.")
    if not 0 < size <= MAX_BUNDLE:
        raise WireError("bad_size", "The size is nothing, or more than a bundle may have.")
    manifest = Manifest(
        device,
        counter,
        require_unsigned(fields.get(_NUMBER), "number"),
        _name(fields.get(_VERSION), "version"),
        _name(fields.get(_ARCHITECTURE), "architecture"),
        kind,
        size,
        digest,
        patience,
    )
    signed_bytes = cose.sig_structure(message.protected_bytes, message.payload)
    return SignedManifest(manifest, message.protected[cose.KEY_ID], signed_bytes, message.signature)


def encode_ask(key: bytes, device_kid: bytes, ask: "Any") -> bytes:
    """Return the COSE_Mac0 of `ask` from the device `device_kid` under its downlink key."""
    return _encode(key, device_kid, CONTENT_ASK, {_OF: ask.counter, _OFFSET: ask.offset, _LENGTH: ask.length})


def ask_key_id(data: bytes) -> bytes:
    """Return the kid of the device that claims to ask; raise WireError and nothing else."""
    return require_key_id(cose.parse_mac0(data).protected)


def parse_ask(data: bytes, key: bytes) -> "Any":
    """Return the Ask that `data` is; raise WireError and nothing else, "bad_tag" where the MAC is wrong under `key`."""
    fields = _decode(data, key, CONTENT_ASK)
    length = require_unsigned(fields.get(_LENGTH), "length")
    if not 0 < length <= MAX_BLOCK:
        raise WireError("bad_length", "The block is nothing, or more than a block may have.")
    return Ask(require_unsigned(fields.get(_OF), "counter"), require_unsigned(fields.get(_OFFSET), "offset"), length)


def encode_block(key: bytes, device_kid: bytes, block: "Any") -> bytes:
    """Return the COSE_Mac0 of `block` to the device `device_kid` under its downlink key."""
    fields = {_OF: block.counter, _OFFSET: block.offset}
    if block.data is not None:
        fields[_DATA] = block.data
    return _encode(key, device_kid, CONTENT_BLOCK, fields)


def parse_block(data: bytes, key: bytes) -> "Any":
    """Return the Block that `data` is; raise WireError and nothing else, "bad_content_type" for another message."""
    fields = _decode(data, key, CONTENT_BLOCK)
    piece = fields.get(_DATA)
    if piece is not None and (type(piece) is not bytes or not 0 < len(piece) <= MAX_BLOCK):
        raise WireError("bad_length", "The block is nothing, or more than a block may have.")
    return Block(require_unsigned(fields.get(_OF), "counter"), require_unsigned(fields.get(_OFFSET), "offset"), piece)


def _encode(key: bytes, device_kid: bytes, content: str, fields: "dict[int, Any]") -> bytes:
    protected = {cose.ALGORITHM: cose.ALGORITHM_HMAC_256, cose.CONTENT_TYPE: content, cose.KEY_ID: device_kid}
    return cose.encode_mac0(key, protected, encode(fields))


def _decode(data: bytes, key: bytes, content: str) -> "dict[int, Any]":
    message = cose.parse_mac0(data)
    cose.check_critical(message.protected, _UNDERSTOOD)
    require_key_id(message.protected)
    if message.protected.get(cose.CONTENT_TYPE) != content:
        raise WireError("bad_content_type", "The content is something else.")
    if not cose.verify_mac0(message, key):
        raise WireError("bad_tag", "The authentication tag is wrong.")
    fields = decode(message.payload)
    if type(fields) is not dict:
        raise WireError("bad_ask", "The payload is not a map.")
    return fields


def _name(value: "Any", what: str) -> str:
    if type(value) is not str or not 0 < len(value) <= MAX_NAME:
        raise WireError("bad_" + what, "The " + what + " is not a short text.")
    return value
