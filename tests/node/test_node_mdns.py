"""The node's mDNS: packets that zeroconf and dnspython make, hostile ones in a small heap, odd and silent answerers."""

import asyncio
import json
import random
import socket
from pathlib import Path

import dns.message
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.micropython_runner import command, run_file
from zeroconf import DNSAddress, DNSOutgoing, DNSPointer, DNSService, DNSText
from zeroconf.const import _CLASS_IN, _FLAGS_AA, _FLAGS_QR_RESPONSE

from thingroom_node.links import mdns
from thingroom_node.links.mdns import MessageError, Record, Search

ON_BOARD = Path(__file__).parent / "on_board"
KIND = "_thingroom._tcp.local."
HOME, SERVER = f"Home.{KIND}", "gateway.local."
POINTER = DNSPointer(KIND, 12, _CLASS_IN, 120, HOME)
PLACE = DNSService(HOME, 33, _CLASS_IN | 0x8000, 120, 0, 0, 1884, SERVER)
ADDRESS = DNSAddress(SERVER, 1, _CLASS_IN | 0x8000, 120, socket.inet_aton("192.0.2.9"))
TEXT = DNSText(HOME, 16, _CLASS_IN | 0x8000, 120, b"\x03v=1")


def response(*records: object, query_id: int = 0) -> bytes:
    out = DNSOutgoing(_FLAGS_QR_RESPONSE | _FLAGS_AA, multicast=False, id_=query_id)
    for record in records:
        out.add_answer_at_time(record, 0)
    (packet,) = out.packets()
    return packet


WHOLE = response(POINTER, PLACE, TEXT, ADDRESS)


def test_what_zeroconf_answers_is_read() -> None:
    home, server = HOME.lower()[:-1], SERVER[:-1]
    assert mdns.parse(WHOLE) == (
        0,
        [
            Record(KIND[:-1], mdns.PTR, home),
            Record(home, mdns.SRV, (server, 1884)),
            Record(server, mdns.A, "192.0.2.9"),
        ],
    )


def test_what_we_ask_is_read_by_others() -> None:
    theirs = dns.message.from_wire(mdns.question(77, "gateway.local", mdns.A), question_only=False)
    (asked,) = theirs.question
    assert theirs.id == 77 and str(asked.name) == "gateway.local." and asked.rdtype == 1
    assert theirs.flags == 0 and asked.rdclass == 0x8001


def test_a_search_asks_for_what_it_lacks_and_takes_turns() -> None:
    search = Search("auto", 1883, "_tcp")
    assert search.step() == (None, (KIND[:-1], mdns.PTR))
    search.take(mdns.parse(response(POINTER))[1])
    assert search.step() == (None, (HOME.lower()[:-1], mdns.SRV))
    search.take(mdns.parse(response(PLACE))[1])
    assert search.step() == (None, ("gateway.local", mdns.A))
    search.take(mdns.parse(response(ADDRESS))[1])
    assert search.step() == (("192.0.2.9", 1884), None)
    other = Search("auto", 1883, "_tcp", turn=3)
    other.take([Record(KIND[:-1], mdns.PTR, name) for name in ("b", "a")])
    assert other.step() == (None, ("b", mdns.SRV))
    named = Search("Gateway.local", 1900, "_tcp")
    assert named.step() == (None, ("gateway.local", mdns.A))
    named.take(mdns.parse(WHOLE)[1])
    assert named.step() == (("192.0.2.9", 1900), None)


@given(st.binary(max_size=1600))
def test_hostile_bytes_are_an_answer_or_refused(data: bytes) -> None:
    try:
        _, records = mdns.parse(data)
    except MessageError:
        return
    assert len(records) <= mdns.MAX_RECORDS


@pytest.mark.parametrize(
    "name", [b"\xc0\x0c", b"\xc0\xff", b"\x3fabc", b"\x40abc", b"\x01\xff\x00", (b"\x3f" + b"a" * 63) * 4 + b"\x00"]
)
def test_names_that_lead_nowhere_are_refused(name: bytes) -> None:
    header = bytes((0, 0, 0x84, 0, 0, 0, 0, 1, 0, 0, 0, 0))
    with pytest.raises(MessageError):
        mdns.parse(header + name + b"\x00\x01\x00\x01\x00\x00\x00\x78\x00\x04abcd")


def test_damaged_answers_in_a_small_heap(tmp_path: Path) -> None:
    """Every cut and 4000 damaged ones, in 100 kB with the sources compiled there."""
    chance = random.Random(6)
    damaged = [WHOLE[:length] for length in range(len(WHOLE))]
    for _ in range(4000):
        data = bytearray(WHOLE)
        for _ in range(chance.randrange(1, 6)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        damaged.append(bytes(data) + chance.randbytes(chance.choice((0, 0, 3, 1400))))
    file = tmp_path / "datagrams"
    file.write_text("".join(data.hex() + "\n" for data in damaged))
    result = json.loads(run_file(ON_BOARD / "mdns_fuzz.py", str(file), heap="100k"))
    assert result["answers"] + result["refused"] == len(damaged) and min(result["answers"], result["refused"]) > 100


class Responder(asyncio.DatagramProtocol):
    """Answers the first question with nonsense, another's answer and an answer in pieces; later ones piece by piece."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, address: tuple) -> None:
        query_id, kind = int.from_bytes(data[:2], "big"), int.from_bytes(data[-4:-2], "big")
        self.asked.append(kind)
        other = DNSPointer("_other._tcp.local.", 12, _CLASS_IN, 120, "X._other._tcp.local.")
        record = {mdns.PTR: POINTER, mdns.SRV: PLACE, mdns.A: ADDRESS}[kind]
        for answer in (b"nonsense", response(other), data, response(record, query_id=query_id)):
            self._transport.sendto(answer, address)


async def find(port: int, host: str, *more: str) -> str:
    argv, environment = command(ON_BOARD / "mdns_find.py", "127.0.0.1", str(port), host, "_tcp", *more, heap="100k")
    process = await asyncio.create_subprocess_exec(*argv, env=environment, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    return output.decode().strip()


async def test_an_answer_in_pieces_among_others_is_found() -> None:
    loop = asyncio.get_running_loop()
    transport, responder = await loop.create_datagram_endpoint(Responder, ("127.0.0.1", 0))
    port = transport.get_extra_info("sockname")[1]
    assert await find(port, "auto") == "192.0.2.9 1884"
    assert {mdns.PTR, mdns.SRV, mdns.A} <= set(responder.asked)
    assert await find(port, "gateway.local") == "192.0.2.9 1883"
    transport.close()


async def test_nobody_there_is_given_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        assert await find(silent.getsockname()[1], "auto", "20") == "not_found"
