"""The installed wheel does what the checkout does: built, installed elsewhere, run."""

import asyncio
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import aiohttp
from tests.flows.thingroom_run import Running

ROOT = Path(__file__).parents[2]


def test_the_demo_runs_from_the_wheel(tmp_path):
    wheels = tmp_path / "wheels"
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(wheels), str(ROOT)]
    subprocess.run(build, check=True, cwd=tmp_path)
    home = tmp_path / "venv"
    venv.create(home, with_pip=False)
    python = home / "bin" / "python"
    # The wheel's packages come first; its dependencies are the ones that are installed here already.
    site = Path(sysconfig.get_path("purelib", vars={"base": str(home)}))
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(site)]
    subprocess.run([*install, *map(str, wheels.glob("thingroom-*.whl"))], check=True)
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    where = "import thingroom, thingroom_node, thingroom_gateway as g; print(thingroom.__file__, g.__file__)"
    shown = subprocess.run([python, "-c", where], check=True, capture_output=True, text=True, cwd=tmp_path).stdout
    assert shown.count(str(home)) == 2, shown

    # What goes onto a board travels in it as well.
    parts = "from thingroom.boards import load_boards; from thingroom_common.firmware_image import build, flash_files;"
    parts += " print(len(load_boards()), *flash_files(), len(build('rv32imc').files))"
    shown = subprocess.run([python, "-c", parts], check=True, capture_output=True, text=True, cwd=tmp_path).stdout
    boards, *starters, modules = shown.split()
    assert starters == ["boot.py", "main.py"] and int(boards) > 10 and int(modules) > 50, shown
    words = ["--board", "pico-w", "--port", "/dev/null", "--no-enrol", "--host", "x", "--name", "A", "--no-wifi"]
    dry = [python, "-m", "thingroom", "flash", "--dry-run", "--sensor", "bme280", *words]
    shown = subprocess.run(dry, check=True, capture_output=True, text=True, cwd=tmp_path).stdout
    assert "armv6m" in shown, shown

    async def demo():
        async with Running(tmp_path / "data", python=python, directory=tmp_path) as running:
            await running.until_printed("signature verified, mqtt")
            await running.until_printed("signature verified, coap")
            await running.until_printed("the first readings are in their Matrix room")
            await running.until_printed(f"http://127.0.0.1:{running.dashboard_port}")
            async with aiohttp.ClientSession(f"http://127.0.0.1:{running.dashboard_port}") as session:
                for path in ("/sign-in", "/static/style.css", "/static/chart.js"):
                    async with session.get(path) as answer:
                        assert answer.status == 200, path

    asyncio.run(demo())
