"""The image that goes onto boards: complete, reproducible, and what a made-up folder of firmware gives."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.micropython_runner import FIRMWARE, run_source

from thingroom_common.firmware_image import ImageError, build, flash_files, release_number


def test_the_same_sources_give_the_same_bytes(tmp_path: Path) -> None:
    image = build("armv6m", "0.2.0")
    assert image == build("armv6m", "0.2.0") and image.digest == build("armv6m", "0.2.0").digest
    assert image.digest != build("xtensawin", "0.2.0").digest and image.digest != build("armv6m", "0.2.1").digest
    assert "thingroom_node/board_main.mpy" in image.files and "thingroom_node/unix_node.mpy" not in image.files
    assert all(data[:1] == b"M" for data in image.files.values())


def test_what_was_compiled_runs_and_says_its_version(tmp_path: Path) -> None:
    image = build("x64", "7.8.9-rc1")
    for path, data in image.files.items():
        target = tmp_path / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    said = run_source("import thingroom_node\nprint(thingroom_node.VERSION, thingroom_node.__file__)", path=[tmp_path])
    assert said.split() == ["7.8.9-rc1", f"{tmp_path}/thingroom_node/__init__.mpy"]


def test_another_folder(tmp_path: Path) -> None:
    for package in ("thingroom_wire", "thingroom_node"):
        shutil.copytree(FIRMWARE / package, tmp_path / package)
    (tmp_path / "thingroom_node" / "signs.py").write_text("x = 1\n")
    ours, theirs = build("x64"), build("x64", folder=tmp_path)
    assert ours.version == theirs.version and ours.digest != theirs.digest
    (tmp_path / "thingroom_node" / "signs.py").write_text("x = = 1\n")
    with pytest.raises(ImageError, match=r"signs\.py does not compile"):
        build("x64", folder=tmp_path)
    with pytest.raises(ImageError, match="thingroom_wire is not in"):
        build("x64", folder=tmp_path / "thingroom_node")
    with pytest.raises(ImageError, match="no architecture"):
        build("z80")


def test_versions_are_compared_by_their_numbers() -> None:
    assert release_number("0.12.3") == 12_003 and release_number("1.0") == 1_000_000
    assert release_number("0.9.9-rc1") == release_number("0.9.9") < release_number("0.10.0")
    for wrong in ("", "1", "1.2.3.4", "v1.2", "1.2.1000", "1.2.3\n", '1.2."', "1.2.3-" + "a" * 40):
        with pytest.raises(ImageError, match="no version"):
            release_number(wrong)


def test_what_lies_beside_the_slots() -> None:
    assert set(flash_files()) == {"boot.py", "main.py"}
    assert b"/app/a" in flash_files()["main.py"]
