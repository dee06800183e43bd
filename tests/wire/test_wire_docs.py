"""docs/wire_format.md names every reason that the parsers give."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent


def test_every_reason_is_documented() -> None:
    source = "".join(path.read_text() for path in sorted((ROOT / "firmware" / "thingroom_wire").glob("*.py")))
    given = set(re.findall(r'WireError\(\s*"([a-z_0-9]+)",', source))
    given |= {f"bad_{what}" for what in re.findall(r'(?:require_unsigned|_short_text)\([^"\n]+"([a-z]+)"\)', source)}
    assert len(given) > 50
    reasons = (ROOT / "docs" / "wire_format.md").read_text().partition("## Reasons")[2]
    assert given == set(re.findall(r"`([a-z_0-9]+)`", reasons))
