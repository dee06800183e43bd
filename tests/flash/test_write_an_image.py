"""Images: the real esptool against an ESP32 of software; downloads over real TLS; UF2 files onto a disk"
" that is a folder."""

from __future__ import annotations

import hashlib
import http.server
import random
import ssl
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from tests.flash.scripted_esp import ScriptedEsp

from thingroom.boards import find_board
from thingroom.cli import main
from thingroom.flashing import drives, esptool_child, images
from thingroom.flashing.esp_image import CHIP_IDS, image_trouble
from thingroom.flashing.trouble import FlashError
from thingroom.flashing.uf2 import uf2_trouble

DEVKIT, C3, PICO_W, PICO_2_W = (find_board(name) for name in ("esp32-devkit", "esp32-c3", "pico-w", "pico-2-w"))


def esp_image(chip: str, size: int = 150_000) -> bytes:
    head = b"\xe9\x03\x02\x20" + bytes(8) + CHIP_IDS[chip].to_bytes(2, "little") + bytes(10)
    return head + random.Random(1).randbytes(size // 2) + bytes(size // 2)


def uf2(blocks: int, family: int = 0xE48BFF56, address: int = 0x10000000) -> bytes:
    return b"".join(
        struct.pack("<8I", 0x0A324655, 0x9E5D5157, 0x2000, address + 256 * number, 256, number, blocks, family)
        + bytes([number % 256]) * 476
        + struct.pack("<I", 0x0AB16F30)
        for number in range(blocks)
    )


class Bar:
    def __init__(self) -> None:
        self.seen: list[tuple[int, int]] = []

    def __call__(self, done: int, total: int) -> None:
        self.seen.append((done, total))


@pytest.mark.parametrize("board", [DEVKIT, C3], ids=lambda board: board.name)
@pytest.mark.parametrize("erase", [True, False], ids=["erased", "kept"])
def test_esptool_writes_the_image_where_it_belongs(board, erase: bool, tmp_path: Path) -> None:
    image = esp_image(board.chip)
    file = tmp_path / "image.bin"
    file.write_bytes(image)
    bar = Bar()
    with ScriptedEsp(board.chip) as esp:
        found = esptool_child.find_chip(esp.port)
        assert (found.chip, found.flash_bytes) == (board.chip, 4 * 1024 * 1024)
        esptool_child.write_image(esp.port, board, file, 460_800, erase, bar)
    assert not esp.surprises
    offset = board.image.offset
    assert esp.flash[offset : offset + len(image)] == image
    assert set(esp.flash[0x200000:]) == {0xFF if erase else 0xA5}
    assert bar.seen[-1] == (len(image), len(image)) and len(bar.seen) > 3


def test_another_chip_is_named_with_the_boards_that_have_it(tmp_path: Path) -> None:
    file = tmp_path / "image.bin"
    file.write_bytes(esp_image("esp32"))
    with ScriptedEsp("esp32c3") as esp:
        words = [
            "flash",
            "--board",
            "esp32-devkit",
            "--port",
            esp.port,
            "--image",
            str(file),
            "--no-enrol",
            "--no-wifi",
        ]
        said = CliRunner().invoke(main, [*words, "--host", "x", "--name", "A", "--sensor", "bme280"])
    assert said.exit_code == 1 and "The chip is an esp32c3, but esp32-devkit has an esp32." in said.output, said.output
    assert "Boards with it: esp32-c3, xiao-esp32c3" in said.output
    assert not esp.surprises and set(esp.flash) == {0xA5}


def test_an_image_for_another_chip_never_reaches_the_board(tmp_path: Path) -> None:
    file = tmp_path / "image.bin"
    file.write_bytes(esp_image("esp32s3"))
    with ScriptedEsp("esp32") as esp:
        words = [
            "flash",
            "--board",
            "esp32-devkit",
            "--port",
            esp.port,
            "--image",
            str(file),
            "--no-enrol",
            "--no-wifi",
        ]
        said = CliRunner().invoke(main, [*words, "--host", "x", "--name", "A", "--sensor", "bme280"])
    assert said.exit_code == 1 and "for an esp32s3, the board has an esp32" in said.output, said.output
    assert not esp.commands


def test_a_board_that_stops_in_between_says_what_to_try(tmp_path: Path) -> None:
    file = tmp_path / "image.bin"
    file.write_bytes(esp_image("esp32"))
    with ScriptedEsp("esp32", breaks_after=2) as esp, pytest.raises(FlashError, match="stopped answering"):
        esptool_child.write_image(esp.port, DEVKIT, file, 115_200, False, Bar())
    assert esp.flash[0x1000:0x1010] == esp_image("esp32")[:16], "it had begun"


def test_a_board_that_is_not_in_its_boot_loader_says_which_button() -> None:
    with ScriptedEsp("esp32", listens=False) as esp, pytest.raises(FlashError, match="Hold BOOT, press and let go EN"):
        esptool_child.find_chip(esp.port, attempts=1, board=DEVKIT)


@pytest.mark.parametrize("chip", list(CHIP_IDS))
def test_an_image_is_only_for_its_own_chip(chip: str) -> None:
    for other in CHIP_IDS:
        trouble = image_trouble(esp_image(other), chip, 1 << 22)
        assert (trouble == "") == (chip == other), trouble
        assert chip == other or f"is for an {other}, the board has an {chip}" in trouble
    assert "room for 1000" in image_trouble(esp_image(chip), chip, 1000)


def test_what_is_no_image_is_told() -> None:
    assert "no image for an ESP32" in image_trouble(uf2(3), "esp32", 1 << 22)
    assert "no UF2 file" in uf2_trouble(esp_image("esp32"), "rp2040", 1 << 21)


@given(st.binary(max_size=2000))
def test_any_bytes_are_judged(data: bytes) -> None:
    assert image_trouble(data, "esp32", 1 << 22) or data[:1] == b"\xe9"
    assert uf2_trouble(data, "rp2040", 1 << 21)


@given(st.integers(0, 10 * 512 - 1), st.integers(1, 255))
def test_a_flipped_head_of_a_block_is_noticed_or_harmless(place: int, change: int) -> None:
    data = bytearray(uf2(10))
    data[place] ^= change
    trouble = uf2_trouble(bytes(data), "rp2040", 1 << 21)
    if place % 512 < 8 or place % 512 >= 508 or 20 <= place % 512 < 24:
        assert trouble


def test_uf2_files_for_chips() -> None:
    assert uf2_trouble(uf2(700), "rp2040", 1 << 21) == ""
    assert uf2_trouble(uf2(5, 0xE48BFF59), "rp2350", 1 << 22) == ""
    with_erratum = uf2(1, 0xE48BFF57, 0x10FFFF00) + uf2(5, 0xE48BFF59)
    assert uf2_trouble(with_erratum, "rp2350", 1 << 22) == ""
    assert "is for rp2040, the board has an rp2350" in uf2_trouble(uf2(5), "rp2350", 1 << 22)
    assert "is for rp2350" in uf2_trouble(uf2(5, 0xE48BFF59), "rp2040", 1 << 21)
    assert "no flash" in uf2_trouble(uf2(5, address=0x20000000), "rp2040", 1 << 21)
    assert "ends early" in uf2_trouble(uf2(5)[:-512], "rp2040", 1 << 21)
    assert "number 1 is not there" in uf2_trouble(uf2(5)[:512] + uf2(5)[1024:], "rp2040", 1 << 21)
    assert "cut short" in uf2_trouble(uf2(5)[:-1], "rp2040", 1 << 21)


def test_a_pico_is_a_disk(tmp_path: Path) -> None:
    drive = tmp_path / "RPI-RP2"
    drive.mkdir()
    assert drives.find_drive("rp2040", [tmp_path, drive]) is None
    (drive / "INFO_UF2.TXT").write_text("UF2 Bootloader v3.0\nModel: Raspberry Pi RP2\nBoard-ID: RPI-RP2\n")
    assert drives.wait_for_drive(PICO_W, 0, lambda: [tmp_path, drive]) == drive
    bar = Bar()
    drives.copy_image(uf2(700), drive, PICO_W, bar)
    assert (drive / "thingroom.uf2").read_bytes() == uf2(700) and bar.seen[-1] == (358_400, 358_400)
    with pytest.raises(FlashError, match="hold BOOTSEL"):
        drives.wait_for_drive(PICO_2_W, 0, lambda: [tmp_path, drive])
    with pytest.raises(FlashError, match="has an rp2040, pico-2-w has an rp2350"):
        drives.copy_image(b"", drive, PICO_2_W, bar)
    with pytest.raises(FlashError, match="Several boards wait"):
        drives.find_drive("rp2040", [drive, drive])


@contextmanager
def https_server(
    files: dict[str, tuple[int, dict[str, str], bytes]],
) -> Iterator[tuple[str, ssl.SSLContext, list[str]]]:
    """Serves `files` (path: status, headers, body) on 127.0.0.1; gives its address, whom to trust, and"
    " what was asked."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            status, headers, body = files[self.path]
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            return

    authority = trustme.CA()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"https://127.0.0.1:{server.server_port}", trusting, asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_the_first_download_is_noted_and_the_next_ones_must_be_the_same(tmp_path: Path) -> None:
    image = esp_image("esp32")
    files = {"/a.bin": (200, {}, image)}
    with https_server(files) as (base, context, asked):
        bar = Bar()
        first = images.get_image(f"{base}/a.bin", "", tmp_path, bar, context)
        assert first.path.read_bytes() == image and hashlib.sha256(image).hexdigest() in first.note
        assert "Nobody has told us its digest" in first.note and bar.seen[-1] == (len(image), len(image))
        again = images.get_image(f"{base}/a.bin", "", tmp_path, bar, context)
        assert again.path == first.path and "downloaded before" in again.note and len(asked) == 1
        first.path.write_bytes(b"damaged")
        assert "noted before" in images.get_image(f"{base}/a.bin", "", tmp_path, bar, context).note
        files["/a.bin"] = (200, {}, image + b"!")
        first.path.unlink()
        with pytest.raises(FlashError, match="not what it should be"):
            images.get_image(f"{base}/a.bin", "", tmp_path, bar, context)
        assert not first.path.exists()
        with pytest.raises(FlashError, match="not what it should be"):
            images.get_image(f"{base}/a.bin", "0" * 64, tmp_path / "other", bar, context)
        wanted = hashlib.sha256(image + b"!").hexdigest()
        assert "board file names" in images.get_image(f"{base}/a.bin", wanted, tmp_path / "b", bar, context).note


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((404, {}, b""), "could not be downloaded"),
        ((302, {"Location": "http://127.0.0.1/a.bin"}, b""), "not https"),
        ((200, {"Content-Length": "99"}, b"short"), "ended early"),
    ],
    ids=["missing", "redirected away from https", "cut short"],
)
def test_downloads_that_fail(answer, said: str, tmp_path: Path) -> None:
    with https_server({"/a.bin": answer}) as (base, context, _), pytest.raises(FlashError, match=said):
        images.get_image(f"{base}/a.bin", "", tmp_path, Bar(), context)
    assert not list(tmp_path.iterdir())


def test_downloads_trust_only_certificates_and_only_https(tmp_path: Path) -> None:
    with https_server({"/a.bin": (200, {}, b"x")}) as (base, _, asked):
        with pytest.raises(FlashError, match="certificate"):
            images.get_image(f"{base}/a.bin", "", tmp_path, Bar())
        with pytest.raises(FlashError, match="is not https"):
            images.get_image(base.replace("https", "http") + "/a.bin", "", tmp_path, Bar())
    assert asked == []


def test_an_endless_download_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MAX_IMAGE", 1000)
    served = https_server({"/a.bin": (200, {}, bytes(5000))})
    with served as (base, context, _), pytest.raises(FlashError, match="larger than any image"):
        images.get_image(f"{base}/a.bin", "", tmp_path, Bar(), context)
    file = tmp_path / "own.bin"
    file.write_bytes(bytes(5000))
    with pytest.raises(FlashError, match="larger than any image"):
        images.local_image(file)


def test_a_file_of_ones_own_and_its_digest(tmp_path: Path) -> None:
    file = tmp_path / "own.bin"
    file.write_bytes(b"image")
    digest = hashlib.sha256(b"image").hexdigest()
    assert digest in images.local_image(file).note
    assert images.local_image(file, digest.upper()).sha256 == digest
    with pytest.raises(FlashError, match="It is not used"):
        images.local_image(file, "ab" * 32)
    with pytest.raises(FlashError, match="cannot be read"):
        images.local_image(tmp_path / "none.bin")


def test_the_cache_is_where_users_expect_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert images.cache_directory() == tmp_path / "thingroom" / "images"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert images.cache_directory() == Path.home() / ".cache" / "thingroom" / "images"
