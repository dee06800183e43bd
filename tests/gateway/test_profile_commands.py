"""`thingroom profile`: what is wrong with a maker's file is said with its line and its cure."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from thingroom.cli import main
from thingroom_gateway.profiles import ProfileError, load_profiles, profile_directory

GOOD = (profile_directory() / "bme280.toml").read_text()


def _run(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["profile", *words], catch_exceptions=False)
    return result.exit_code, result.output


def _line(text: str, part: str) -> int:
    return next(number for number, line in enumerate(text.splitlines(), 1) if part in line)


def test_list_and_show() -> None:
    code, told = _run("list")
    assert code == 0 and "\nsmart_plug " in told and "on!" in told
    code, told = _run("show", "thermostat")
    assert code == 0
    assert "target: Target; number 5 to 30 Cel in steps of 0.5; its state is target" in told
    assert "temperature: Temperature; Cel, shown as °C; -20 to 60" in told
    assert "it sleeps in between" in told
    code, told = _run("show", "teapot")
    assert code == 1 and "There is no profile teapot" in told


def test_every_profile_of_ours_is_right() -> None:
    for path in profile_directory().glob("*.toml"):
        code, told = _run("check", str(path))
        assert code == 0, told


@pytest.mark.parametrize(
    ("old", "new", "at", "what", "cure"),
    [
        ('unit = "Pa"', 'unit = "hpa"', 'unit = "hpa"', '"hpa" is no unit of SenML', "RFC 8428"),
        ('unit = "Cel"', 'unit = "°C"', 'unit = "°C"', '"°C" is no unit of SenML', '"Cel" is how SenML writes'),
        ('unit = "Cel"', 'unit = "degF"', 'unit = "degF"', "is no unit of SenML", "for people only"),
        ('shown_unit = "hPa"', 'shown_unit = "lx"', 'shown_unit = "lx"', "cannot be shown as", "mmHg"),
        ('minimum = "30000"', "minimum = 30000", "minimum = 30000", "got `int`", '"21.5"'),
        ('minimum = "30000"', 'minimum = "3e4"', 'minimum = "3e4"', "regex", "without exponent"),
        ('minimum = "30000"', 'minimum = "300000"', 'minimum = "300000"', "is not below the maximum", "exchange"),
        ('name = "humidity"', 'name = "temperature"', '', "there twice", "unique"),
        ("deadband", "dead_band", "dead_band", "unknown field", "no key dead_band"),
        ('quantity = "pressure"', 'quantity = "pressures"', 'quantity = "pressures"', "no number pressures", "humid"),
        ("[notices]", "[notices", "[notices", "at line", ""),
        ('text = "21.4 °C, 45 %, 1013.2 hPa"', 'text = "21 °C"', "[[examples]]", 'people read "21.4', ""),
        ('refused = "below_range"', 'refused = "above_range"', "", "it is refused: below_range", ""),
        ('name = "bme280"', 'name = "bme281"', 'name = "bme281"', "the file must be bme281.toml", "change"),
    ],
)  # fmt: skip
def test_check_says_what_is_wrong(tmp_path: Path, old: str, new: str, at: str, what: str, cure: str) -> None:
    text = GOOD.replace(old, new, 1)
    assert text != GOOD
    path = tmp_path / "bme280.toml"
    path.write_text(text)
    code, told = _run("check", str(path))
    assert code == 1
    assert what in told and cure in told
    assert f"{path}:" in told
    if at:
        assert f"{path}:{_line(text, at)}:" in told, told


def test_a_profile_of_ours_is_not_overridden(tmp_path: Path) -> None:
    (tmp_path / "bme280.toml").write_text(GOOD)
    code, told = _run("check", str(tmp_path / "bme280.toml"))
    assert code == 1 and "there is a profile bme280 already" in told and "my_bme280" in told
    with pytest.raises(ProfileError, match=r"there is a profile bme280 already"):
        load_profiles(own=tmp_path)


def test_a_new_profile_is_a_copy_that_is_right_and_used(tmp_path: Path) -> None:
    config = tmp_path / "thingroom.toml"
    own = tmp_path / "own"
    config.write_text(f'[gateway]\nprofile_directory = "{own}"\n')
    code, told = _run("new", "attic", "--from", "bme280", "--config", str(config))
    assert code == 0, told
    assert "profile check" in told
    assert _run("check", str(own / "attic.toml"), "--config", str(config))[0] == 0
    assert "attic" in load_profiles(own=own)
    assert "attic" in _run("list", "--config", str(config))[1]
    for words in (("attic", "--from", "bme280"), ("Bad!", "--from", "bme280"), ("x", "--from", "teapot")):
        assert _run("new", *words, "--config", str(config))[0] == 1
