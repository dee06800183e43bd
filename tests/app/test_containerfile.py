"""The container file, as far as it can be held without a container engine: what it copies is there and is enough."""

import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner

from thingroom.cli import main

ROOT = Path(__file__).parents[2]


def instructions() -> list[tuple[str, str]]:
    """(FROM, what follows), with continued lines joined."""
    lines = [line for line in (ROOT / "Containerfile").read_text().splitlines() if line and not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines()
    return [(line.partition(" ")[0], line.partition(" ")[2]) for line in joined]


def copied() -> list[str]:
    """What comes from the repository."""
    return [
        source
        for word, rest in instructions()
        if word == "COPY" and not rest.startswith("--from")
        for source in rest.split()[:-1]
    ]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built of what is copied and nothing else."""
    folder = tmp_path_factory.mktemp("container")
    for name in copied():
        source, target = ROOT / name, folder / "src" / name
        target.parent.mkdir(exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--wheel-dir",
        str(folder),
        str(folder / "src"),
    ]
    subprocess.run(build, check=True, cwd=folder)
    return next(folder.glob("*.whl"))


def test_what_is_copied_is_there_and_let_through():
    let_through = [line[1:] for line in (ROOT / ".containerignore").read_text().splitlines() if line.startswith("!")]
    assert sorted(copied()) == sorted(let_through)
    assert all((ROOT / name).exists() for name in copied())


def test_what_is_copied_is_enough_for_the_wheel(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert "thingroom/data/device_profiles/climate.toml" in names
    for package in ("thingroom", "thingroom_common", "thingroom_gateway", "thingroom_homeserver", "thingroom_node"):
        expected = {
            str(path.relative_to(base))
            for base in (ROOT / part for part in ("app", "common", "firmware", "gateway", "homeserver"))
            for path in (base / package).rglob("*.py")
        }
        assert expected and expected <= set(names), package


def test_it_runs_as_nobody_in_particular_and_its_commands_are_ours():
    found = instructions()
    words = [word for word, _ in found]
    last_stage = found[len(words) - 1 - words[::-1].index("FROM") :]
    told = dict(last_stage)
    assert words.count("FROM") == 2 and told["USER"] == "thingroom" and told["VOLUME"] == "/data"
    assert all(re.search(r":\d+\.\d+-slim", rest) for word, rest in found if word == "FROM"), "a small, named version"
    assert [word for word, _ in last_stage].index("USER") > [word for word, _ in last_stage].index("RUN")
    arguments = eval(told["CMD"])
    health = eval(told["HEALTHCHECK"].partition("CMD ")[2])
    assert eval(told["ENTRYPOINT"]) == ["thingroom"] and health[0] == "thingroom"
    for command in (arguments, health[1:]):
        asked = CliRunner().invoke(main, [command[0], "--help"])
        assert asked.exit_code == 0
        assert all(word in asked.output for word in command if word.startswith("--"))


def test_the_shell_of_each_step_is_sound():
    for word, rest in instructions():
        if word == "RUN":
            assert subprocess.run(["sh", "-n", "-c", rest]).returncode == 0
            assert shlex.split(rest)
