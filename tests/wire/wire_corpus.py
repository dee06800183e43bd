"""Runs every parser over a corpus, on either interpreter: argument, a JSON file of [parser, hex] rows.

Prints one line for each row: the reason of the WireError, or "ok" and what was parsed as deterministic CBOR in hex.
Anything but a WireError ends the program with a traceback. test_wire_corpus.py compares both interpreters' lines.
"""

import json
import sys
from binascii import hexlify, unhexlify

from thingroom_wire import cbor, command, downlink, envelope, hello, keys, manifest, senml
from thingroom_wire.errors import WireError


def parse(parser, data, key):
    if parser == "cbor":
        return cbor.decode(data)
    if parser == "pack":
        return senml.decode_pack(data)
    if parser == "envelope":
        return envelope.parse_envelope(data)
    if parser == "hello":
        return hello.parse_hello(data)
    if parser == "answer":
        return downlink.parse_answer(data, key)
    if parser == "command":
        return command.parse_command(data)
    if parser == "key":
        return keys.parse_cose_key(data)
    if parser == "manifest":
        return manifest.parse_manifest(data)
    if parser == "ask":
        return manifest.parse_ask(data, key)
    if parser == "block":
        return manifest.parse_block(data, key)
    assert parser == "pairing"
    return hello.parse_pairing_hello(data, key)


def outcome(parser, data, key):
    """One line about what `parser` makes of `data`."""
    try:
        parsed = parse(parser, data, key)
    except WireError as error:
        return error.reason
    return "ok " + hexlify(cbor.encode(parsed)).decode()


def outcomes(path):
    with open(path) as file:  # noqa: PTH123
        corpus = json.loads(file.read())
    key = unhexlify(corpus["key"])
    return [outcome(parser, unhexlify(text), key) for parser, text in corpus["rows"]]


def main():
    for line in outcomes(sys.argv[1]):
        print(line)


if __name__ == "__main__":
    main()
