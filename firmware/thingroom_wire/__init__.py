"""The wire format of Thingroom: CBOR, SenML, COSE and the keys that go with them.

The same files run on CPython 3.11 and on MicroPython 1.24, so they use only what both have and import nothing of
ours. Start reading at `envelope` (what a device sends) and follow it down to `cose`, `cbor` and `ed25519`;
docs/wire_format.md describes the bytes.
"""
