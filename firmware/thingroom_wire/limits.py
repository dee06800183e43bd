"""Limits of the wire format, as docs/wire_format.md states them. Imports nothing."""

MAX_ENVELOPE = 8192
"""Bytes in one envelope, answer or hello."""

MAX_DEPTH = 8
"""Arrays, maps and tags open at the same time in one CBOR encoding."""

MAX_ITEMS = 1024
"""CBOR data items in one encoding; keys, values, tags, containers and string chunks count one each."""

MAX_DECIMAL_EXPONENT = 1000
"""Largest absolute exponent of a decimal fraction (tag 4)."""

MAX_SEQUENCE = (1 << 53) - 1
"""Largest sequence number and largest counter or time: what every JSON and Matrix implementation holds exactly."""

MAX_TEXT = 128
"""Characters in a name, a firmware version, a profile name or a refusal's reason."""

MAX_COMMAND = 1024
"""Bytes in one command, so that it fits into an answer beside what else that says."""

MAX_COMMANDS = 4
"""Commands in one answer."""

MAX_RESULTS = 4
"""Results of commands in one envelope."""

MAX_NAME = 32
"""Characters in the name of an actuator or a quantity, and in an outcome."""

MAX_QUANTITIES = 16
"""Quantities with a threshold, or with a calibration, in one configuration."""

MAX_HELD = 16
"""Ranges of waiting numbers that one hello names."""

MAX_MANIFEST = 512
"""Bytes in the manifest of an update."""

MAX_BUNDLE = 1 << 24
"""Bytes of what an update brings."""

MAX_BLOCK = 1024
"""Bytes of it in one answer."""
