"""ngircd as a process, and a small IRC client that knows nothing of Matrix."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.bridges.processes import running, until_it_listens
from tests.free_port import free_port
from tests.patience import PATIENCE_SECONDS

CONFIGURATION = """
[Global]
    Name = irc.test
    Info = for a test
    Listen = 127.0.0.1
    Ports = {port}
    MotdPhrase = "hello"
    PidFile = {folder}/ngircd.pid
[Limits]
    MaxConnectionsIP = 0
    MaxPenaltyTime = 0
[Options]
    DNS = no
    Ident = no
    PAM = no
"""


@contextlib.asynccontextmanager
async def running_ngircd(folder: Path) -> AsyncIterator[int]:
    """An IRC server on loopback; its port."""
    port = free_port()
    configuration = folder / "ngircd.conf"
    configuration.write_text(CONFIGURATION.format(port=port, folder=folder))
    program = shutil.which("ngircd") or "/usr/sbin/ngircd"
    async with running(folder / "ngircd.log", program, "-n", "-f", str(configuration)) as process:
        await until_it_listens(process, port)
        yield port


@dataclass
class IrcClient:
    """One connection; `lines` is what the server sent, newest last."""

    nick: str
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    lines: list[str] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def send(self, line: str) -> None:
        self.writer.write(f"{line}\r\n".encode())

    async def until(self, seen: Callable[[str], bool], seconds: float = PATIENCE_SECONDS) -> str:
        """The first line that is what is looked for."""
        try:
            async with asyncio.timeout(seconds):
                while True:
                    self.news.clear()
                    for line in self.lines:
                        if seen(line):
                            return line
                    await self.news.wait()
        except TimeoutError:
            raise AssertionError(f"not among what {self.nick} got: {self.lines[-30:]}") from None

    async def said(self, nick: str, where: str, text: str) -> str:
        """Wait until `nick` says `text` in a channel or to this client."""
        return await self.until(
            lambda line: line.startswith(f":{nick}!") and line.endswith(f" PRIVMSG {where} :{text}")
        )

    async def run(self) -> None:
        while line := await self.reader.readline():
            text = line.decode(errors="replace").rstrip("\r\n")
            if text.startswith("PING"):
                self.send(text.replace("PING", "PONG", 1))
            self.lines.append(text)
            self.news.set()


@contextlib.asynccontextmanager
async def irc_client(port: int, nick: str, channel: str) -> AsyncIterator[IrcClient]:
    """Connected, and in the channel."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    client = IrcClient(nick, reader, writer)
    task = asyncio.create_task(client.run())
    try:
        client.send(f"NICK {nick}")
        client.send(f"USER {nick} 0 * :{nick} of the test")
        await client.until(lambda line: f" 001 {nick} " in line)
        client.send(f"JOIN {channel}")
        await client.until(lambda line: line.startswith(f":{nick}!") and " JOIN " in line)
        yield client
    finally:
        task.cancel()
        writer.close()
        with contextlib.suppress(asyncio.CancelledError, OSError):
            await task
