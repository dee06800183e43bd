"""The board that is MicroPython on a Cortex-M3 in QEMU (`mps2-an385`): real 32-bit code, UARTs, I2C parts, EEPROMs.

The application is frozen beside the firmware (the port's archive); settings and state are on the EEPROMs. Sensors are
QEMU's models on the fourth I2C bus, and their values are set over QMP. The second UART is the serial link.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import tempfile
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from qemu.qmp import QMPClient
from qemu.qmp.error import QMPError

from hil import build
from hil.boards.board import BoardError, Cannot
from hil.boards.console import Console
from hil.boards.eeproms import Eeproms
from hil.boards.wire import Wire
from hil.ports.mps2.archive import archive
from thingroom.boards import board_json, find_board

ARCHIVE_ADDRESS = 0x21000000
SEED_ADDRESS = 0x21F00000
CHIPS = 8
START_SECONDS = 60
# The FPGA's I/O block: a bit for each LED.
LED_REGISTER = 0x40028000
LEDS = ("led0", "led1")

# Of QEMU's parts: device arguments, and for each quantity the property and what it counts in.
SENSORS: Mapping[str, tuple[str, Mapping[str, tuple[str, int]]]] = {
    "tmp105": ("tmp105,id=tmp105,address=0x48", {"temperature": ("temperature", 1000)}),
    "dps310": ("dps310,id=dps310,address=0x77", {"temperature": ("temperature", 100), "pressure": ("pressure", 100)}),
    "emc1413": ("emc1413,id=emc1413,address=0x4c", {"temperature": ("temperature0", 1000)}),
    "ds1338": ("ds1338,id=ds1338,address=0x68", {}),
}


class CortexM3:
    """A board whose files are below `folder`; `application` is what is frozen, by path, with a `main.mpy`.

    `board.json` is there already. `wire` is what its serial link is plugged into. `counted` lets each instruction take
    one nanosecond of the board's time, so that its clock counts instructions.
    """

    def __init__(
        self,
        folder: Path,
        application: Mapping[str, bytes],
        *,
        name: str = "cortex-m3",
        wire: Wire | None = None,
        counted: bool = False,
    ) -> None:
        self.name = name
        self.console = Console()
        self.eeproms = Eeproms(folder, CHIPS)
        self._folder = folder
        self._wire = wire
        self._counted = counted
        self._archive = folder / "archive.bin"
        self._archive.write_bytes(archive({**build.port_modules(), **application}))
        self.eeproms.write("/board.json", board_json(find_board("mps2-an385")))
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._qmp: QMPClient | None = None
        # Sockets have short paths.
        self._sockets = tempfile.TemporaryDirectory(prefix="hil-")

    async def power_on(self) -> None:
        """See Board."""
        seed = self._folder / "seed.bin"
        seed.write_bytes(os.urandom(32))
        monitor = Path(self._sockets.name) / "qmp"
        argv = ["qemu-system-arm", "-M", "mps2-an385", "-kernel", str(build.firmware()), "-display", "none"]
        argv += ["-semihosting", "-monitor", "none", "-serial", "stdio"]
        line = Path(self._sockets.name) / "line"
        argv += ["-chardev", f"socket,id=link,path={line},server=on,wait=off", "-serial", "chardev:link"]
        argv += ["-qmp", f"unix:{monitor},server=on,wait=off"]
        argv += ["-device", f"loader,file={self._archive},addr={ARCHIVE_ADDRESS:#x},force-raw=on"]
        argv += ["-device", f"loader,file={seed},addr={SEED_ADDRESS:#x},force-raw=on"]
        argv += self.eeproms.devices()
        for device, _ in SENSORS.values():
            argv += ["-device", device]
        if self._counted:
            argv += ["-icount", "shift=0"]
        for path in (monitor, line):
            path.unlink(missing_ok=True)
        self._process = await asyncio.create_subprocess_exec(
            *argv, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        self._reader = asyncio.create_task(self._listen(self._process))
        self._qmp = await self._connected(monitor)
        if self._wire is not None:
            self._wire.plug(*await asyncio.open_unix_connection(line))

    async def power_off(self) -> None:
        """See Board."""
        await self.cut_power()

    async def cut_power(self) -> None:
        """See Board."""
        if self._process is None:
            return
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGKILL)
        await self._process.wait()
        if self._reader is not None:
            await self._reader
        self.console.power_lost()
        if self._wire is not None:
            await self._wire.unplug()
        if self._qmp is not None:
            with contextlib.suppress(QMPError, EOFError, OSError):
                await self._qmp.disconnect()
        self._process = self._reader = self._qmp = None

    async def reset(self) -> None:
        """See Board."""
        await self._ask("system_reset", {})

    async def ended(self) -> int:
        """Wait until the firmware leaves by itself; the exit code."""
        assert self._process is not None
        code = await self._process.wait()
        await self.cut_power()
        return code

    def configure(self, settings: Mapping[str, Any]) -> None:
        """See Board."""
        self.eeproms.write("/node.json", json.dumps(settings).encode())

    @property
    def own_settings(self) -> dict[str, Any]:
        """See Board."""
        # What is not needed of 512 KB is the node's outbox.
        return {"directory": "/state", "host": "uart", "uart": 1, "outbox_bytes": 131_072}

    async def set_sensor(self, sensor: str, quantity: str, value: Decimal) -> None:
        """See Board."""
        if sensor not in SENSORS or quantity not in SENSORS[sensor][1]:
            raise Cannot(f"The emulated board has no {quantity} at {sensor}.")
        name, scale = SENSORS[sensor][1][quantity]
        place = f"/machine/peripheral/{sensor}"
        await self._ask("qom-set", {"path": place, "property": name, "value": int(value * scale)})

    async def read_actuator(self, actuator: str) -> str:
        """See Board: `led0` or `led1`, which are on or off."""
        if actuator not in LEDS:
            raise Cannot(f"The emulated board has no {actuator}.")
        answer = await self._ask("human-monitor-command", {"command-line": f"xp /1wx {LED_REGISTER:#x}"})
        register = int(str(answer).split(":")[1], 16)
        return "on" if register >> LEDS.index(actuator) & 1 else "off"

    async def _ask(self, command: str, arguments: Mapping[str, object]) -> object:
        if self._qmp is None:
            raise BoardError(f"{self.name} is off.")
        return await self._qmp.execute(command, dict(arguments))

    async def _connected(self, monitor: Path) -> QMPClient:
        client = QMPClient(self.name)
        deadline = asyncio.get_running_loop().time() + START_SECONDS
        while True:
            try:
                if not monitor.exists():
                    raise FileNotFoundError(monitor)
                await client.connect(str(monitor))
            except (QMPError, OSError) as error:
                assert self._process is not None
                if self._process.returncode is not None or asyncio.get_running_loop().time() > deadline:
                    newest = "\n".join(self.console.lines)
                    raise BoardError(f"QEMU does not start: {error}\n{newest}") from None
                await asyncio.sleep(0.05)
            else:
                return client

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        while data := await process.stdout.read(65536):
            await self.console.feed(data)
