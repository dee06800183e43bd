"""A fixed corpus of damaged messages: on MicroPython every parser says what it says on CPython, and nothing escapes."""

import json
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.micropython_runner import run_file
from tests.wire import wire_corpus
from tests.wire import wire_samples as samples

HERE = Path(__file__).resolve().parent
VECTORS = HERE.parent / "vectors"


def valid_messages() -> Iterator[tuple[str, bytes]]:
    """Inputs of every parser, nearly all well-formed."""
    yield "envelope", samples.sample_envelope()
    yield "hello", samples.sample_hello()
    yield "answer", samples.sample_answer()
    yield "pairing", samples.sample_pairing_hello()
    yield "command", samples.sample_command()
    yield "command", samples.sample_configuration()
    yield "manifest", samples.sample_manifest()
    yield "ask", samples.sample_ask()
    yield "block", samples.sample_block()
    packs = json.loads((VECTORS / "senml.json").read_text())
    for row in packs["accepted"] + packs["refused"]:
        yield "pack", bytes.fromhex(row["hex"])
    for row in json.loads((VECTORS / "cbor.json").read_text())["accepted"]:
        yield "cbor", bytes.fromhex(row["hex"])
    for row in json.loads((VECTORS / "messages.json").read_text())["keys"]:
        yield "key", bytes.fromhex(row["cose_key"])


def damaged(generator: random.Random, message: bytes) -> bytes:
    """`message` with up to three bytes changed, put in, taken out, or its end cut off."""
    changed = bytearray(message)
    for _ in range(generator.randint(1, 3)):
        position = generator.randrange(len(changed) + 1)
        match generator.randrange(9):
            case 0:
                changed.insert(position, generator.choice((0x00, 0x18, 0x1B, 0x5F, 0x80, 0xA0, 0xC4, 0xF6, 0xF9, 0xFF)))
            case 1:
                del changed[position : position + generator.randint(1, 4)]
            case 2:
                del changed[max(position, 1) :]
            case _:
                changed[position : position + 1] = bytes((generator.randrange(256),))
    return bytes(changed)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    generator = random.Random(20260101)
    valid = list(valid_messages())
    rows = [(parser, message.hex()) for parser, message in valid]
    weights = [1 if parser == "cbor" else 4 if parser in ("pack", "key") else 40 for parser, _ in valid]
    for parser, message in generator.choices(valid, weights, k=1500):
        rows.append((parser, damaged(generator, message).hex()))
    path = tmp_path_factory.mktemp("corpus") / "corpus.json"
    path.write_text(json.dumps({"key": samples.KEY.hex(), "rows": rows}))
    return path


def test_both_interpreters_agree_on_every_damaged_message(corpus: Path) -> None:
    expected = wire_corpus.outcomes(str(corpus))
    assert run_file(HERE / "wire_corpus.py", str(corpus)).splitlines() == expected


def test_the_corpus_reaches_many_ends(corpus: Path) -> None:
    ends = Counter(line.split()[0] for line in wire_corpus.outcomes(str(corpus)))
    assert ends["ok"] > 100
    assert len(ends) > 25
