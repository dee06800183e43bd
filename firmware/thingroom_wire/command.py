"""A command: what the gateway tells one device to do, a COSE_Sign1 under the gateway's key, inside an answer.

Imports cbor, cose, ed25519, envelope's and downlink's checks, errors, keys and limits. It sets an actuator or replaces
the configuration. The device answers with a result in the header of its next envelope (envelope.RESULTS).
"""

from collections import namedtuple

from thingroom_wire import cose, ed25519
from thingroom_wire.cbor import Decimal, decode, encode
from thingroom_wire.configured import Configuration
from thingroom_wire.downlink import require_nonce
from thingroom_wire.envelope import check_signature_header, require_unsigned
from thingroom_wire.errors import WireError
from thingroom_wire.limits import MAX_COMMAND, MAX_NAME, MAX_QUANTITIES, MAX_TEXT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

Command = namedtuple(
    "Command", ("device", "counter", "expires", "nonce", "within", "actuator", "value", "configuration")
)
"""device: the kid of the device it is for; counter: 1 to 2**53-1, grows from command to command; expires: Unix time in
milliseconds; nonce: that of a hello of the device, or None; within: for how many milliseconds after that hello the
command may be carried out, None without a nonce. Either actuator (a name) and value (bool, int, Decimal or str), or
configuration (a Configuration); the others are None."""

SignedCommand = namedtuple("SignedCommand", ("command", "key_id", "signed_bytes", "signature"))
"""A parsed command whose signature nobody has checked yet; key_id: the kid of the key that it claims."""

CONTENT_COMMAND = "application/vnd.thingroom.command+cbor"

MAX_INTERVAL_MS = 31 * 86_400_000

_DEVICE, _COUNTER, _EXPIRES, _NONCE, _WITHIN, _ACTUATOR, _VALUE, _CONFIGURATION = range(1, 9)
_VERSION, _INTERVAL, _LONGEST, _NAME, _THRESHOLDS, _CALIBRATION = range(1, 7)
_UNDERSTOOD = (cose.ALGORITHM, cose.CRITICAL, cose.CONTENT_TYPE, cose.KEY_ID)
_NAME_CHARACTERS = "abcdefghijklmnopqrstuvwxyz0123456789_"


# --- writing --------------------------------------------------------------------------------------------------------


def command_parts(gateway_kid: bytes, command: "Any") -> "tuple[bytes, bytes]":
    """Return (protected header, payload) of a command, which is what gets signed."""
    protected = {
        cose.ALGORITHM: cose.ALGORITHM_ED25519,
        cose.CONTENT_TYPE: CONTENT_COMMAND,
        cose.KEY_ID: gateway_kid,
    }
    fields: dict[int, Any] = {
        _DEVICE: command.device,
        _COUNTER: command.counter,
        _EXPIRES: command.expires,
    }
    if command.nonce is not None:
        fields[_NONCE] = command.nonce
        fields[_WITHIN] = command.within
    if command.configuration is not None:
        fields[_CONFIGURATION] = _configuration_map(command.configuration)
    else:
        fields[_ACTUATOR] = command.actuator
        fields[_VALUE] = command.value
    return encode(protected), encode(fields)


def _configuration_map(configuration: "Any") -> "dict[int, Any]":
    fields: dict[int, Any] = {_VERSION: configuration.version}
    if configuration.interval_ms is not None:
        fields[_INTERVAL] = configuration.interval_ms
    if configuration.longest_ms is not None:
        fields[_LONGEST] = configuration.longest_ms
    if configuration.name is not None:
        fields[_NAME] = configuration.name
    if configuration.thresholds:
        fields[_THRESHOLDS] = configuration.thresholds
    if configuration.calibration:
        fields[_CALIBRATION] = {name: list(pair) for name, pair in configuration.calibration.items()}
    return fields


def encode_command(seed: bytes, gateway_kid: bytes, command: "Any") -> bytes:
    """Return the command as a COSE_Sign1, signed with the gateway key's 32-byte seed."""
    protected_bytes, payload = command_parts(gateway_kid, command)
    signature = ed25519.sign(seed, cose.sig_structure(protected_bytes, payload))
    return cose.encode_sign1(protected_bytes, payload, signature)


# --- reading --------------------------------------------------------------------------------------------------------


def parse_command(data: bytes) -> "Any":
    """Return the SignedCommand that `data` is, its signature unchecked; raise WireError and nothing else."""
    if len(data) > MAX_COMMAND:
        raise WireError("too_large", "The command is longer than a command may be.")
    message = cose.parse_sign1(data)
    check_signature_header(message, _UNDERSTOOD)
    if message.protected.get(cose.CONTENT_TYPE) != CONTENT_COMMAND:
        raise WireError("bad_content_type", "The content is not a command.")
    fields = decode(message.payload)
    if type(fields) is not dict:
        raise WireError("bad_command", "The payload is not a map.")
    device = fields.get(_DEVICE)
    if type(device) is not bytes or len(device) != 8:
        raise WireError("bad_key_id", "The device is not a string of 8 bytes.")
    counter = require_unsigned(fields.get(_COUNTER), "counter")
    if counter == 0:
        raise WireError("bad_counter", "The counter is zero.")
    expires = require_unsigned(fields.get(_EXPIRES), "expires")
    nonce = within = None
    if _NONCE in fields:
        nonce = require_nonce(fields[_NONCE])
        within = require_unsigned(fields.get(_WITHIN), "within")
    actuator = value = configuration = None
    if (_ACTUATOR in fields) == (_CONFIGURATION in fields):
        raise WireError("bad_command", "A command has an actuator or a configuration.")
    if _ACTUATOR in fields:
        actuator = fields[_ACTUATOR]
        if not _is_name(actuator):
            raise WireError("bad_actuator", "An actuator's name is up to 32 lower-case letters, digits, underscores.")
        value = _value(fields.get(_VALUE))
    else:
        configuration = parse_configuration(fields[_CONFIGURATION])
    command = Command(device, counter, expires, nonce, within, actuator, value, configuration)
    signed_bytes = cose.sig_structure(message.protected_bytes, message.payload)
    return SignedCommand(command, message.protected[cose.KEY_ID], signed_bytes, message.signature)


def encode_configuration(configuration: "Any") -> bytes:
    """Return the CBOR map of a Configuration, as a device keeps it."""
    return encode(_configuration_map(configuration))


def parse_configuration(fields: "Any") -> "Any":
    """Return the Configuration in a decoded map, or in its bytes; WireError "bad_configuration" and those of CBOR."""
    if type(fields) is bytes:
        fields = decode(fields)
    if type(fields) is not dict:
        raise _bad_configuration()
    name = fields.get(_NAME)
    if name is not None and (type(name) is not str or not 0 < len(name) <= MAX_TEXT):
        raise _bad_configuration()
    thresholds = _quantities(fields.get(_THRESHOLDS, {}))
    for value in thresholds.values():
        _require_number(value)
    calibration = _quantities(fields.get(_CALIBRATION, {}))
    for quantity, pair in calibration.items():
        if type(pair) is not list or len(pair) != 2:
            raise _bad_configuration()
        _require_number(pair[0])
        _require_number(pair[1])
        calibration[quantity] = (pair[0], pair[1])
    version = _within(fields.get(_VERSION), 1, None)
    return Configuration(
        version,
        _within(fields[_INTERVAL], 1, MAX_INTERVAL_MS) if _INTERVAL in fields else None,
        _within(fields[_LONGEST], 1, MAX_INTERVAL_MS) if _LONGEST in fields else None,
        name,
        thresholds,
        calibration,
    )


def _within(value: "Any", least: int, greatest: "int | None") -> int:
    number = require_unsigned(value, "configuration")
    if number < least or (greatest is not None and number > greatest):
        raise _bad_configuration()
    return number


def _quantities(value: "Any") -> "dict[str, Any]":
    if type(value) is not dict or len(value) > MAX_QUANTITIES:
        raise _bad_configuration()
    for name in value:
        if not _is_name(name):
            raise _bad_configuration()
    return value


def _require_number(value: "Any") -> None:
    """An int or a Decimal small enough to be reckoned with on a board: 32 bits of mantissa, 9 decimals."""
    mantissa, exponent = (value.mantissa, value.exponent) if type(value) is Decimal else (value, 0)
    if type(mantissa) is not int or not -(1 << 31) < mantissa < 1 << 31 or not -9 <= exponent <= 9:
        raise _bad_configuration()


def _bad_configuration() -> WireError:
    return WireError("bad_configuration", "A part of the configuration is not what belongs there.")


def _is_name(value: "Any") -> bool:
    return type(value) is str and 0 < len(value) <= MAX_NAME and not value.strip(_NAME_CHARACTERS)


def _value(value: "Any") -> "Any":
    kind = type(value)
    if kind is str and len(value) > MAX_TEXT:
        raise WireError("bad_value", "The value of a command is too long.")
    if kind is not bool and kind is not int and kind is not Decimal and kind is not str:
        raise WireError("bad_value", "The value of a command is no truth, number or text.")
    return value
