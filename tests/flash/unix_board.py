"""A "board" that is MicroPython's unix port behind a pseudo-terminal: its file system is a folder, mounted at "/".

Like a real one it starts main.py, where there is one, and is at its REPL otherwise; Ctrl-C interrupts; a reset is a new
process. `python unix_board.py TTY FOLDER` is the power supply: it starts the interpreter again whenever it ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import threading
import tty
from pathlib import Path

_CHILD = (
    "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler);"
    " from micropython_unix import run_main; sys.exit(run_main(['micropython', '-i', *sys.argv[1:]]) & 255)"
)
_BOOT = """
import os, sys, vfs
class Files:
    # VfsPosix joins both names of a rename in the same buffer when it has a root, so that one goes another way.
    def __init__(self, root):
        self.root = root
        self.rooted = vfs.VfsPosix(root)
        self.plain = vfs.VfsPosix()
        for name in ('umount', 'open', 'ilistdir', 'mkdir', 'remove', 'rmdir', 'stat', 'statvfs', 'chdir', 'getcwd'):
            setattr(self, name, getattr(self.rooted, name))
    def mount(self, readonly, mkfs):
        self.rooted.mount(readonly, mkfs)
    def rename(self, old, new):
        self.plain.rename(*((self.root + one if one[:1] == '/' else one) for one in (old, new)))
files = Files(sys.argv[1])
vfs.umount('/')
vfs.mount(files, '/')
os.chdir('/')
sys.argv[:] = ['/main.py']
sys.path[:] = ['', '.frozen', '/lib']
def start():
    for name in ('/boot.py', '/main.py'):
        try:
            with open(name) as file:
                source = file.read()
        except OSError:
            continue
        try:
            exec(source, {'__name__': '__main__'})
        except KeyboardInterrupt:
            return
start()
"""


class UnixBoard:
    """`with UnixBoard(folder) as board:` its port is `board.port`, its files are in `board.files`."""

    def __init__(self, folder: Path) -> None:
        self.files = folder / "files"
        self.files.mkdir(parents=True, exist_ok=True)
        self._boot = folder / "power_on.py"
        self._boot.write_text(_BOOT)
        self._ended = False
        self.printed = bytearray()

    def __enter__(self) -> UnixBoard:
        self._master, self._slave = pty.openpty()
        tty.setraw(self._slave)
        self.port = os.ttyname(self._slave)
        argv = [sys.executable, str(Path(__file__).resolve()), self.port, str(self._boot), str(self.files)]
        self._supply = subprocess.Popen(argv, start_new_session=True)
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._supply.pid, signal.SIGKILL)
        self._supply.wait()
        os.close(self._slave)
        os.close(self._master)


class Wire:
    """Between a board and whoever opens its port: a second pseudo-terminal that a test can cut.

    A pseudo-terminal has one slave for all; here the board has one and the flasher the other, as with a cable.
    """

    def __init__(self, board: UnixBoard, cut_after: int | None = None) -> None:
        self._board = board
        self._cut_after = cut_after
        self._ended = False

    def __enter__(self) -> Wire:
        self._master, self._slave = pty.openpty()
        tty.setraw(self._slave)
        self.port = os.ttyname(self._slave)
        self._thread = threading.Thread(target=self._carry, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended = True
        self._thread.join()
        os.close(self._master)
        os.close(self._slave)

    def _carry(self) -> None:
        carried = 0
        other = self._board._master
        while not self._ended:
            for readable in select.select([self._master, other], [], [], 0.05)[0]:
                data = os.read(readable, 4096)
                if readable == self._master:
                    carried += len(data)
                    if self._cut_after is not None and carried > self._cut_after:
                        continue
                    os.write(other, data)
                else:
                    os.write(self._master, data)


def _supply_power(terminal: str, *arguments: str) -> None:
    slave = os.open(terminal, os.O_RDWR)
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        tty.setraw(slave)
        attributes = termios.tcgetattr(slave)
        attributes[3] |= termios.ISIG
        termios.tcsetattr(slave, termios.TCSANOW, attributes)
        subprocess.run([sys.executable, "-c", _CHILD, *arguments], stdin=slave, stdout=slave, stderr=slave, check=False)


if __name__ == "__main__":
    _supply_power(*sys.argv[1:])
