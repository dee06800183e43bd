"""Checks of thingroom_wire against tests/vectors, written for CPython and MicroPython alike.

`CHECKS` maps a name to a function that takes the folder of vectors and returns how many it has checked; a wrong one
raises AssertionError. test_wire_vectors.py runs each under CPython; as a program (argument: the folder) this file runs
them all and prints a line for each.
"""

import hashlib
import json
import struct
import sys
from binascii import hexlify, unhexlify

from thingroom_wire import (
    cbor,
    command,
    cose,
    downlink,
    ed25519,
    envelope,
    frames,
    hello,
    hkdf,
    keys,
    manifest,
    senml,
    sha512,
    sha512_portable,
    x25519,
)
from thingroom_wire.errors import WireError


def load(folder, name):
    with open(folder + "/" + name) as file:  # noqa: PTH123
        return json.loads(file.read())


def same(found, expected, what):
    assert found == expected, f"{what}: found {found}, expected {expected}"


def reason_of(function, *arguments):
    """The reason of the WireError that a call raises, None where it returns."""
    try:
        function(*arguments)
    except WireError as error:
        assert str(error).endswith(".")
        return error.reason
    return None


def hexed(value):
    return None if value is None else hexlify(value).decode()


def unhexed(value):
    return None if value is None else unhexlify(value)


def untyped(value):
    """The value that a vector's JSON stands for (see the source line of cbor.json)."""
    if type(value) is list:
        return [untyped(element) for element in value]
    if type(value) is not dict:
        return value
    ((kind, content),) = value.items()
    if kind == "bytes":
        return unhexlify(content)
    if kind == "float":
        return struct.unpack(">d", unhexlify(content))[0]
    if kind == "nan":
        return float("nan")
    if kind == "map":
        return {untyped(key): untyped(element) for key, element in content}
    if kind == "tag":
        return cbor.Tag(content[0], untyped(content[1]))
    if kind == "simple":
        return cbor.Simple(content)
    assert kind == "decimal"
    return cbor.Decimal(content[0], content[1])


def identical(one, two):
    """Equality that tells 1 from 1.0 and True, and 0.0 from -0.0, and finds NaN equal to itself."""
    if type(one) is not type(two):
        return False
    if type(one) is float:
        return struct.pack(">d", one) == struct.pack(">d", two) or (one != one and two != two)
    if type(one) is list or isinstance(one, tuple):
        return len(one) == len(two) and all(identical(one[i], two[i]) for i in range(len(one)))
    if type(one) is dict:
        return len(one) == len(two) and all(key in two and identical(one[key], two[key]) for key in one)
    return one == two


def check_cbor_accepted(folder):
    rows = load(folder, "cbor.json")["accepted"]
    for row in rows:
        data = unhexlify(row["hex"])
        value = untyped(row["value"])
        found = cbor.decode(data)
        assert identical(found, value), f"{row['hex']}: {found}"
        encoded = cbor.encode(value)
        assert identical(cbor.decode(encoded), value)
        if row["same"]:
            same(hexed(encoded), row["hex"], "encoding")
    return len(rows)


def check_cbor_refused(folder):
    rows = load(folder, "cbor.json")["refused"]
    for row in rows:
        data = b"".join([unhexlify(part) * times for part, times in row["parts"]])
        same(reason_of(cbor.decode, data), row["reason"], str(row["parts"]))
    return len(rows)


def check_sha512(folder):
    vectors = load(folder, "sha512.json")
    for row in vectors["digests"]:
        same(hexed(sha512_portable.sha512_portable(unhexlify(row["message"]))), row["digest"], row["message"])
        same(hexed(sha512.sha512(unhexlify(row["message"]))), row["digest"], row["message"])
    for row in vectors["chain"]:
        digest = b""
        for length in range(row["lengths"]):
            digest = sha512_portable.sha512_portable(digest + bytes((length & 255,)) * length)
        same(hexed(digest), row["digest"], "chain")
        digest = b""
        for length in range(row["lengths"]):
            digest = sha512.sha512(digest + bytes((length & 255,)) * length)
        same(hexed(digest), row["digest"], "chain of the chosen one")
    return len(vectors["digests"]) + len(vectors["chain"])


def check_ed25519(folder):
    rows = load(folder, "ed25519.json")["signatures"]
    for row in rows:
        seed, public, message = unhexlify(row["seed"]), unhexlify(row["public"]), unhexlify(row["message"])
        same(hexed(ed25519.public_key(seed)), row["public"], row["name"])
        signature = ed25519.sign(seed, message)
        same(hexed(signature), row["signature"], row["name"])
        same(ed25519.sign(seed, message, public), signature, row["name"])
        assert ed25519.verify(public, message, signature)
        assert not ed25519.verify(public, message + b"\x00", signature)
        for position in (0, 31, 32, 63):
            changed = bytearray(signature)
            changed[position] ^= 1
            assert not ed25519.verify(public, message, bytes(changed))
    return len(rows)


def check_ed25519_refused(folder):
    rows = load(folder, "ed25519.json")["refused"]
    for row in rows:
        verdict = ed25519.verify(unhexlify(row["public"]), unhexlify(row["message"]), unhexlify(row["signature"]))
        same(verdict, False, row["name"])
    return len(rows)


def check_x25519(folder):
    vectors = load(folder, "x25519.json")
    count = 0
    for row in vectors["function"]:
        same(hexed(x25519.shared_secret(unhexlify(row["scalar"]), unhexlify(row["u"]))), row["result"], "function")
        count += 1
    for row in vectors["agreement"]:
        private, peer = unhexlify(row["private"]), unhexlify(row["peer_private"])
        same(hexed(x25519.public_key(private)), row["public"], "public")
        same(hexed(x25519.public_key(peer)), row["peer_public"], "public")
        same(hexed(x25519.shared_secret(private, unhexlify(row["peer_public"]))), row["shared"], "shared")
        same(hexed(x25519.shared_secret(peer, unhexlify(row["public"]))), row["shared"], "shared")
        for point in vectors["small_order"]:
            same(reason_of(x25519.shared_secret, private, unhexlify(point)), "small_order_key", point)
            count += 1
        same(reason_of(x25519.shared_secret, private, bytes(31)), "bad_public_key", "short key")
        count += 1
    for row in vectors["iterated"]:
        k = u = b"\x09" + bytes(31)
        for _ in range(row["times"]):
            k, u = x25519.shared_secret(k, u), k
        same(hexed(k), row["result"], f"iterated {row['times']} times")
        count += 1
    return count


def check_hkdf(folder):
    vectors = load(folder, "hkdf.json")
    for row in vectors["hmac"]:
        tag = hkdf.hmac_sha256(unhexlify(row["key"]), unhexlify(row["message"]))
        same(len(tag), 32, "length")
        assert hkdf.constant_time_equal(tag[: len(row["tag"]) // 2], unhexlify(row["tag"])), row["name"]
        assert not hkdf.constant_time_equal(tag, tag[:-1])
        assert not hkdf.constant_time_equal(tag, bytes((tag[0] ^ 1,)) + tag[1:])
    for row in vectors["hkdf"]:
        okm = hkdf.hkdf_sha256(unhexlify(row["ikm"]), unhexlify(row["salt"]), unhexlify(row["info"]), row["length"])
        same(hexed(okm), row["okm"], row["name"])
    return len(vectors["hmac"]) + len(vectors["hkdf"])


def check_cose(folder):
    vectors = load(folder, "cose.json")
    for row in vectors["sign1"]:
        message = cose.parse_sign1(unhexlify(row["message"]))
        signed = cose.sig_structure(message.protected_bytes, message.payload)
        same(hexed(signed), row["signed"], row["name"])
        same(ed25519.verify(unhexlify(row["public"]), signed, message.signature), row["valid"], row["name"])
        same(ed25519.sign(unhexlify(row["seed"]), signed), message.signature, row["name"])
    for row in vectors["mac0"]:
        mac0 = cose.parse_mac0(unhexlify(row["message"]))
        same(cose.verify_mac0(mac0, unhexlify(row["key"])), row["valid"], row["name"])
        if row["valid"]:
            same(hexed(cose.mac_structure(mac0.protected_bytes, mac0.payload)), row["macced"], row["name"])
            again = cose.encode_mac0(unhexlify(row["key"]), mac0.protected, mac0.payload)
            same(hexed(again), row["message"], row["name"])
    for row in vectors["structure"]:
        message = cose.parse_sign1(unhexlify(row["message"]))
        found = hexed(cose.sig_structure(message.protected_bytes, message.payload))
        same(found == row["signed"], row["signature_intact"], row["name"])
    for row in vectors["refused"]:
        parse = cose.parse_mac0 if row["name"].startswith("mac") else cose.parse_sign1
        same(reason_of(parse, unhexlify(row["message"])), row["reason"], row["name"])
    for row in vectors["thumbprint"]:
        encoded = cbor.encode(untyped(row["key"]))
        same(hexed(encoded), row["encoded"], row["name"])
        same(hexed(hashlib.sha256(encoded).digest()), row["thumbprint"], row["name"])
    return sum(len(vectors[part]) for part in ("sign1", "mac0", "structure", "refused", "thumbprint"))


def records_of(row):
    return [senml.Record(name, unit, untyped(value), time) for name, unit, value, time in row["records"]]


def check_senml(folder):
    vectors = load(folder, "senml.json")
    for row in vectors["both"]:
        encoded = senml.encode_pack(row["base_name"], row["base_time_ms"], records_of(row))
        same(hexed(encoded), row["hex"], row["base_name"])
    for row in vectors["both"] + vectors["accepted"]:
        pack = senml.decode_pack(unhexlify(row["hex"]))
        same(pack.base_name, row["base_name"], row["hex"])
        same(pack.base_time_ms, row["base_time_ms"], row["hex"])
        assert identical(pack.records, records_of(row)), f"{row['hex']}: {pack.records}"
    for row in vectors["refused"]:
        same(reason_of(senml.decode_pack, unhexlify(row["hex"])), row["reason"], row["hex"])
    return sum(len(vectors[part]) for part in ("both", "accepted", "refused"))


def check_keys(folder):
    rows = load(folder, "messages.json")["keys"]
    for row in rows:
        public, kid = unhexlify(row["public"]), unhexlify(row["kid"])
        same(hexed(keys.key_id(public)), row["kid"], "kid")
        same(keys.key_id_text(kid), row["kid"], "kid as text")
        same(hexed(keys.cose_key_ed25519(public)), row["cose_key"], "COSE_Key")
        same(keys.parse_cose_key(unhexlify(row["cose_key"])), (keys.ED25519, public), "COSE_Key")
        agreement = unhexlify(row["agreement_public"])
        same(hexed(keys.cose_key_x25519(agreement)), row["agreement_key"], "COSE_Key")
        same(keys.parse_cose_key(cbor.decode(unhexlify(row["agreement_key"]))), (keys.X25519, agreement), "COSE_Key")
        secret = unhexlify(row["shared_secret"])
        downlink_key = keys.downlink_key(secret, kid, unhexlify(row["gateway_kid"]))
        same(hexed(downlink_key), row["downlink_key"], "downlink key")
        same(keys.broker_password(downlink_key), row["broker_password"], "broker password")
        pairing = keys.pairing_keys(unhexlify(row["pairing_code"]))
        same(hexed(pairing.device), row["pairing_device"], "pairing key of the device")
        same(hexed(pairing.gateway), row["pairing_gateway"], "pairing key of the gateway")
        same(pairing.broker_password, row["pairing_broker_password"], "pairing broker password")
        same(keys.base_name(keys.eui64_from_mac(unhexlify(row["mac"]))), row["base_name"], "base name")
        same(keys.base_name(keys.eui64_from_key_id(kid)), row["base_name_without_mac"], "base name without MAC")
    return len(rows)


def check_envelopes(folder):
    rows = load(folder, "messages.json")["envelopes"]
    for row in rows:
        predecessor = row["predecessor"]
        if predecessor is not None:
            predecessor = (predecessor[0], unhexlify(predecessor[1]))
        clock = envelope.Clock(*row["clock"])
        header = envelope.Header(unhexlify(row["key_id"]), row["sequence"], predecessor, clock)
        protected, payload = envelope.protected_header(header), unhexlify(row["payload"])
        same(hexed(protected), row["protected"], "protected")
        same(hexed(envelope.digest(protected, payload)), row["digest"], "digest")
        signature = ed25519.sign(unhexlify(row["seed"]), cose.sig_structure(protected, payload))
        same(hexed(cose.encode_sign1(protected, payload, signature)), row["message"], "message")
        parsed = envelope.parse_envelope(unhexlify(row["message"]))
        same(parsed.header, header, "header")
        same((parsed.protected_bytes, parsed.payload, parsed.signature), (protected, payload, signature), "parts")
        assert ed25519.verify(ed25519.public_key(unhexlify(row["seed"])), parsed.signed_bytes, parsed.signature)
    return len(rows)


def check_answers(folder):
    rows = load(folder, "messages.json")["answers"]
    for row in rows:
        answer = downlink.Answer(
            [tuple(span) for span in row["acknowledged"]],
            row["time"],
            unhexed(row["nonce"]),
            [tuple(span) for span in row["refused"]],
            unhexed(row["gateway_key"]),
            unhexed(row["agreement_key"]),
            [unhexlify(text) for text in row.get("commands", [])],
            row.get("pause"),
        )
        key = unhexlify(row["key"])
        same(hexed(downlink.encode_answer(key, unhexlify(row["key_id"]), answer)), row["message"], "message")
        same(downlink.parse_answer(unhexlify(row["message"]), key), answer, "answer")
    return len(rows)


def held_of(row):
    return row and (row[0], [tuple(span) for span in row[1]])


def check_hellos(folder):
    rows = load(folder, "messages.json")["hellos"]
    for row in rows:
        plain = hello.Hello(
            unhexlify(row["key_id"]),
            unhexlify(row["nonce"]),
            row["boot"],
            row["uptime"],
            row["waiting"],
            row["firmware"],
            row["profile"],
            unhexed(row["device_key"]),
            unhexed(row["agreement_key"]),
            row["name"],
            row.get("commanded"),
            held_of(row.get("held")),
            None,
        )
        message = hello.encode_hello(unhexlify(row["seed"]), plain)
        same(hexed(message), row["message"], "message")
        parsed = hello.parse_hello(message)
        same(parsed.hello, plain, "hello")
        assert ed25519.verify(ed25519.public_key(unhexlify(row["seed"])), parsed.signed_bytes, parsed.signature)
        assert not hello.is_pairing_hello(message)
        if row["wrapped"] is not None:
            key = unhexlify(row["pairing_key"])
            wrapped = hello.encode_pairing_hello(key, plain.key_id, message)
            same(hexed(wrapped), row["wrapped"], "wrapped")
            assert hello.is_pairing_hello(wrapped)
            same(hello.parse_pairing_hello(wrapped, key), message, "inner hello")
    return len(rows)


def configuration_of(row):
    if row is None:
        return None
    return command.Configuration(
        row["version"],
        row["interval_ms"],
        row["longest_ms"],
        row["name"],
        {name: untyped(value) for name, value in row["thresholds"].items()},
        {name: tuple(untyped(value) for value in pair) for name, pair in row["calibration"].items()},
    )


def check_commands(folder):
    rows = load(folder, "messages.json")["commands"]
    for row in rows:
        plain = command.Command(
            unhexlify(row["device"]),
            row["counter"],
            row["expires"],
            unhexed(row["nonce"]),
            row["within"],
            row["actuator"],
            untyped(row["value"]),
            configuration_of(row["configuration"]),
        )
        message = command.encode_command(unhexlify(row["seed"]), unhexlify(row["gateway_kid"]), plain)
        same(hexed(message), row["message"], "message")
        parsed = command.parse_command(message)
        same(parsed.command, plain, "command")
        assert type(parsed.command.value) is type(plain.value)
        same(hexed(parsed.key_id), row["gateway_kid"], "kid")
        assert ed25519.verify(ed25519.public_key(unhexlify(row["seed"])), parsed.signed_bytes, parsed.signature)
        if plain.configuration is not None:
            kept = command.encode_configuration(plain.configuration)
            same(command.parse_configuration(kept), plain.configuration, "kept configuration")
    return len(rows)


def check_results(folder):
    rows = load(folder, "messages.json")["results"]
    for row in rows:
        results = [tuple(pair) for pair in row["results"]]
        header = envelope.Header(unhexlify(row["key_id"]), row["sequence"], None, envelope.Clock(*row["clock"]))
        protected = envelope.protected_header(header, results)
        same(hexed(protected), row["protected"], "protected")
        parsed = envelope.parse_envelope(cose.encode_sign1(protected, unhexlify(row["payload"]), bytes(64)))
        same(parsed.results, results, "results")
    return len(rows)


def parse_with(parser, data, key):
    """Call a parser of messages by its name in the vectors and samples."""
    if parser == "manifest":
        return manifest.parse_manifest(data)
    if parser == "ask":
        return manifest.parse_ask(data, key)
    if parser == "block":
        return manifest.parse_block(data, key)
    if parser in ("command", "configuration"):
        return command.parse_command(data)
    if parser == "envelope":
        return envelope.parse_envelope(data)
    if parser == "hello":
        return hello.parse_hello(data)
    if parser == "answer":
        return downlink.parse_answer(data, key)
    assert parser == "pairing"
    return hello.parse_pairing_hello(data, key)


def check_messages_refused(folder):
    rows = load(folder, "messages.json")["refused"]
    for row in rows:
        reason = reason_of(parse_with, row["parser"], unhexlify(row["hex"]), unhexed(row["key"]))
        same(reason, row["reason"], row["parser"] + " " + row["hex"])
    return len(rows)


GOOD_UTF8 = ("", "61", "c280", "dfbf", "e0a080", "ed9fbf", "ee8080", "f0908080", "f48fbfbf")
BAD_UTF8 = ("80", "c080", "c1bf", "c2", "c261", "e09fbf", "eda080", "e180", "e16180", "e18061")
BAD_UTF8_LONG = ("f08fbfbf", "f4908080", "f18080", "f5808080", "ff")


def check_utf8(folder):
    for good in [unhexlify(text) for text in GOOD_UTF8]:
        assert cbor.is_utf8(good) and cbor.is_utf8(good + b"z" + good), good
    for bad in [unhexlify(text) for text in BAD_UTF8 + BAD_UTF8_LONG]:
        assert not cbor.is_utf8(bad) and not cbor.is_utf8(b"a" + bad), bad
    return len(GOOD_UTF8) + len(BAD_UTF8) + len(BAD_UTF8_LONG)


def check_frames(folder):
    vectors = load(folder, "frames.json")
    for row in vectors["stuffing"]:
        data, stuffed = unhexlify(row["data"]), unhexlify(row["stuffed"])
        same(hexed(frames.stuff(data)), row["stuffed"], row["data"])
        same(hexed(frames.unstuff(stuffed)), row["data"], row["stuffed"])
    for row in vectors["frames"]:
        payload = row["payload"]
        payload = bytes([payload["byte"]]) * payload["times"] if type(payload) is dict else unhexlify(payload)
        line, mark = frames.encode_frame(row["kind"], payload)
        same((hexed(mark), len(line)), (row["mark"], row["length"]), "frame")
        same(row["line"] in (None, hexed(line)), True, "line")
        same(frames.FrameReader().feed(line), [frames.Frame(row["kind"], payload, mark)], "frame")
    for row in vectors["streams"]:
        line = unhexlify(row["line"])
        for step in (1, 3, len(line)):
            reader = frames.FrameReader()
            found = []
            for start in range(0, len(line), step):
                found.extend(reader.feed(line[start : start + step]))
            shown = [
                [item.reason, hexed(item.data)]
                if isinstance(item, frames.Noise)
                else ["frame", item.kind, hexed(item.payload)]
                for item in found
            ]
            same(shown, row["found"], row["name"])
    same(reason_of(frames.encode_frame, 1, bytes(8193)), "too_large", "frame")
    return len(vectors["stuffing"]) + len(vectors["frames"]) + len(vectors["streams"])


CHECKS = {
    "frames": check_frames,
    "cbor accepted": check_cbor_accepted,
    "cbor refused": check_cbor_refused,
    "utf8": check_utf8,
    "sha512": check_sha512,
    "ed25519": check_ed25519,
    "ed25519 refused": check_ed25519_refused,
    "x25519": check_x25519,
    "hkdf": check_hkdf,
    "cose": check_cose,
    "senml": check_senml,
    "keys": check_keys,
    "envelopes": check_envelopes,
    "answers": check_answers,
    "hellos": check_hellos,
    "commands": check_commands,
    "results": check_results,
    "messages refused": check_messages_refused,
}


def main():
    for name in sorted(CHECKS):
        try:
            result = CHECKS[name](sys.argv[1])
        except AssertionError as error:
            result = "failed: " + str(error)
        print(f"{name}\t{result}")


if __name__ == "__main__":
    main()
