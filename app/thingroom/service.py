"""Units for systemd: what they say, and putting them in place.

`unit` is pure. The whole of `thingroom run` is one service; homeserver and gateway by themselves are two, of the same
user, for whoever runs only one of them or both on other terms. service_commands.py is the command line.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

Part = Literal["run", "homeserver", "gateway"]
NAMES: Final[dict[Part, str]] = {
    "run": "thingroom.service",
    "homeserver": "thingroom-homeserver.service",
    "gateway": "thingroom-gateway.service",
}
STATE: Final = Path("/var/lib/thingroom")
UNITS: Final = Path("/etc/systemd/system")
# Folders that a service which may not see people's files cannot run from.
HOMES: Final = (Path("/home"), Path("/root"), Path("/run/user"))


@dataclass(frozen=True)
class _Part:
    about: str
    arguments: str
    state: str
    serial: bool
    after: str = ""


_PARTS: Final[dict[Part, _Part]] = {
    "run": _Part("Thingroom: homeserver, broker and gateway", f"run --service --data {STATE}", "thingroom", True),
    "homeserver": _Part(
        "Thingroom's Matrix homeserver",
        f"homeserver run --config {STATE}/thingroom.toml",
        "thingroom thingroom/data/homeserver",
        False,
    ),
    "gateway": _Part(
        "Thingroom's gateway",
        f"gateway run --config {STATE}/thingroom.toml",
        "thingroom thingroom/data/gateway",
        True,
        NAMES["homeserver"],
    ),
}

_SERIAL: Final = """\
# Boards on cables; nothing else of /dev that is not in every process's.
SupplementaryGroups=dialout
DevicePolicy=closed
DeviceAllow=char-ttyACM rw
DeviceAllow=char-ttyUSB rw
DeviceAllow=char-ttyAMA rw
DeviceAllow=char-ttyS rw
"""
_NO_DEVICES: Final = "PrivateDevices=yes\n"


def unit(part: Part, program: Path) -> str:
    """The unit file of `part`, with `program` (the `thingroom` command, absolute) as what it runs."""
    what = _PARTS[part]
    after = f" {what.after}" if what.after else ""
    return f"""\
[Unit]
Description={what.about}
Wants=network-online.target
After=network-online.target{after}

[Service]
Type=notify
NotifyAccess=main
ExecStart={_quoted(program)} {what.arguments}
ExecReload=/bin/kill -HUP $MAINPID
Restart=on-failure
RestartSec=2
# It cannot start, and will not until somebody changes something; its last line says what.
RestartPreventExitStatus=2
TimeoutStartSec=180
TimeoutStopSec=60
WatchdogSec=60
# The one that was started stops the others, in order.
KillMode=mixed
LimitNOFILE=65536

DynamicUser=yes
User=thingroom
StateDirectory={what.state}
StateDirectoryMode=0700
WorkingDirectory={STATE}
Environment=PYTHONDONTWRITEBYTECODE=1
UMask=0077

{_SERIAL if what.serial else _NO_DEVICES}\
NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
ProcSubset=pid
LockPersonality=yes
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged
SystemCallErrorNumber=EPERM

[Install]
WantedBy=multi-user.target
"""


def problem(program: Path) -> str:
    """Why a service cannot run `program`; empty if it can."""
    for home in HOMES:
        if home in program.resolve().parents or home in program.absolute().parents:
            return (
                f"{program} is in {home}, which a service does not see. Install Thingroom where it does, and say it"
                " there again:\n"
                "  sudo python3 -m venv /opt/thingroom\n"
                "  sudo /opt/thingroom/bin/pip install thingroom\n"
                "  sudo /opt/thingroom/bin/thingroom service install"
            )
    return ""


def _quoted(path: Path) -> str:
    """As systemd wants a path that has spaces or its specifiers in it."""
    text = str(path).replace("%", "%%")
    return f'"{text}"' if any(character.isspace() for character in text) else text
