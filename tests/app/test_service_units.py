"""The units for systemd, judged by systemd-analyze, and the commands that put them in place."""

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from thingroom.cli import main
from thingroom.service import NAMES, problem, unit

# Tenths of systemd's exposure from 0 (shut off) to 100; a service without any hardening has 96.
MOST_EXPOSED = 25


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, timeout=60)


@pytest.fixture(params=list(NAMES))
def part(request):
    return request.param


def test_systemd_finds_nothing_wrong_and_little_exposed(part, tmp_path):
    file = tmp_path / NAMES[part]
    file.write_text(unit(part, Path(sys.executable)))
    verified = analyze("verify", "--man=no", "--recursive-errors=no", str(file))
    ours = [line for line in verified.stderr.splitlines() if NAMES[part] in line]
    assert verified.returncode == 0 and not ours, verified.stderr
    secured = analyze("security", "--offline=yes", f"--threshold={MOST_EXPOSED}", "--no-pager", str(file))
    assert secured.returncode == 0, secured.stdout[-2000:]


def test_a_mistake_would_be_found(tmp_path):
    file = tmp_path / "thingroom.service"
    file.write_text(unit("run", Path("/nowhere/thingroom")))
    assert analyze("verify", "--man=no", str(file)).returncode != 0
    file.write_text("[Service]\nExecStart=/bin/true\n")
    secured = analyze("security", "--offline=yes", f"--threshold={MOST_EXPOSED}", "--no-pager", str(file))
    assert secured.returncode != 0


def test_what_it_runs_is_a_command_of_ours(part):
    line = next(line for line in unit(part, Path("/opt/x/thingroom")).splitlines() if line.startswith("ExecStart="))
    words = line.removeprefix("ExecStart=/opt/x/thingroom ").split()
    asked = CliRunner().invoke(main, [*words[: 1 + (part != "run")], "--help"])
    assert asked.exit_code == 0
    assert all(word in asked.output for word in words if word.startswith("--"))


def test_in_place_and_away_again(part, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin" / "python"))
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "thingroom").touch(mode=0o755)
    file = tmp_path / NAMES[part]
    done = CliRunner().invoke(main, ["service", "install", "--part", part, "--to", str(tmp_path)])
    assert done.exit_code == 0, done.output
    printed = CliRunner().invoke(main, ["service", "print", "--part", part]).output
    assert file.read_text() == printed and f"ExecStart={tmp_path}/bin/thingroom" in printed
    assert "journalctl -u thingroom" in done.output and "/var/lib/thingroom/thingroom.toml" in done.output
    assert CliRunner().invoke(main, ["service", "uninstall", "--part", part, "--to", str(tmp_path)]).exit_code == 0
    assert not file.exists()
    again = CliRunner().invoke(main, ["service", "uninstall", "--part", part, "--to", str(tmp_path)])
    assert again.exit_code == 1 and "There is no" in again.output


def test_a_program_that_a_service_cannot_see_is_not_installed():
    assert "/opt/thingroom/bin/thingroom service install" in problem(Path("/home/alice/.venv/bin/thingroom"))
    assert not problem(Path("/opt/thingroom/bin/thingroom"))
    assert 'ExecStart="/opt/my things/50%%/thingroom" run' in unit("run", Path("/opt/my things/50%/thingroom"))
