"""The tutorial's commands and its program are run as they stand, with the names of the test's own room and account."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import shutil
import sys
from pathlib import Path

from tests.flows.gateway_stack import Device
from tests.homeserver.running import PASSWORD, make_config, running_homeserver
from tests.watch.owners_house import House

from thingroom_wire.keys import thumbprint

ROOT = Path(__file__).parents[2]
TUTORIAL = (ROOT / "docs" / "integrators.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^    ((?:thingroom|python) .+)$", TUTORIAL, re.MULTILINE)
PROGRAM = re.findall(r"^    import asyncio\n(?:(?:    .*)?\n)+", TUTORIAL, re.MULTILINE)


async def test_the_tutorial_from_its_first_line_to_its_last(tmp_path: Path) -> None:
    assert len(COMMANDS) >= 10
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "THINGROOM_WATCH_PASSWORD": PASSWORD}
    environment["XDG_STATE_HOME"] = str(tmp_path / "state")
    shutil.copy(ROOT / "watch" / "verify_readings.py", tmp_path)

    async def run(*words: str) -> str:
        process = await asyncio.create_subprocess_exec(
            *words,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=tmp_path,
            env=environment,
        )
        out, complaints = await process.communicate()
        assert process.returncode == 0, (words, complaints.decode())
        return out.decode()

    async with running_homeserver(make_config(tmp_path / "homeserver")) as server:
        me, bot = await server.register("me"), await server.register("thingroom")
        bot.sends_odd_events = True
        house, kitchen = await House.build(bot), Device("Kitchen")
        await house.device(kitchen)
        await house.readings(kitchen, kitchen.climate(214, 45))
        await house.invite(me)
        said: dict[str, str] = {}
        for command in COMMANDS:
            text = command.replace("@me:example.org", f"{me.user_id} --homeserver {server.base_url}")
            words = shlex.split(text.replace("FINGERPRINT", thumbprint(kitchen.public_key).hex()))
            start = [sys.executable, "-m", "thingroom"] if words[0] == "thingroom" else [sys.executable]
            if words[1] == "watch" and "--until-now" not in words:
                words.append("--until-now")
            said[command] = await run(*start, *words[1:])
        assert "valid, consistent with the room's key" in said[COMMANDS[0]]
        for name in ("jsonl", "csv", "senml"):
            assert "21.4" in (tmp_path / f"kitchen.{name}").read_text()
        assert (tmp_path / "kitchen.sqlite").stat().st_size
        assert "100.0% verified" in said["thingroom audit Kitchen"]
        assert " valid " in said["python verify_readings.py events.jsonl"]
        [program] = PROGRAM
        program = re.sub(r"^    ", "", program, flags=re.MULTILINE).replace(
            "https://matrix.example.org", server.base_url
        )
        program = program.replace("@me:example.org", me.user_id).replace("the password", PASSWORD)
        (tmp_path / "program.py").write_text(program)
        assert "Kitchen temperature 21.4 Cel" in await run(sys.executable, "program.py")
