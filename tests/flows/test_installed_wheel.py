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
