"""The section [homeserver.media] of thingroom.toml: limits of the content repository, and what is off by default.

May import msgspec. Part of config.py's tree.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta


class MediaConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Uploads, thumbnails and URL previews."""

    legacy_downloads: Annotated[
        Literal["auto", "on", "off"],
        Meta(
            description="Whether the old download paths, which ask for no access token, serve files.\n"
            '"auto": only where every listener is a loopback or private address and nothing says that a proxy\n'
            "publishes the server (trust_forwarded_for, a public_base_url that is not private): there older clients\n"
            "and bridges go on working, while elsewhere nobody can use the server as a host for strangers' files."
        ),
    ] = "auto"
    user_quota_bytes: Annotated[
        int,
        Meta(
            ge=0,
            description="What the files of one user may come to, in bytes. 0: no limit.\n"
            "The pictures of URL previews together count as one user's.",
        ),
    ] = 10_737_418_240
    user_quota_files: Annotated[int, Meta(ge=0, description="How many files one user may have. 0: no limit.")] = 100_000
    max_pending_uploads: Annotated[
        int, Meta(ge=1, le=10_000, description="How many names without content one user may hold (POST .../create).")
    ] = 20
    pending_upload_hours: Annotated[
        int, Meta(ge=1, le=8_760, description="For how long such a name waits for its content, in hours.")
    ] = 24
    remote_max_bytes: Annotated[
        int, Meta(ge=65_536, description="The largest file of another server that is fetched for a user, in bytes.")
    ] = 104_857_600
    remote_cache_bytes: Annotated[
        int,
        Meta(
            ge=0,
            description="What the files of other servers on this disk may come to, in bytes. 0: no limit.\n"
            "Those that nobody has asked for the longest go first; they are fetched again when somebody does.",
        ),
    ] = 10_737_418_240
    remote_keep_days: Annotated[
        int,
        Meta(
            ge=0, le=36_500, description="After how many days without use such a copy goes. 0: for want of room only."
        ),
    ] = 0
    max_image_pixels: Annotated[
        int,
        Meta(
            ge=1_000_000,
            le=80_000_000,
            description="The largest JPEG that is thumbnailed, in pixels; half of it for pictures of other kinds,\n"
            "which take up to 16 bytes of memory a pixel while that is done.",
        ),
    ] = 50_000_000
    url_previews: Annotated[
        bool, Meta(description="Whether the server fetches pages for clients that want to show a preview of a link.")
    ] = False
    preview_permitted_networks: Annotated[
        tuple[str, ...],
        Meta(description='Private networks that previews may reach all the same, such as "192.168.1.0/24".'),
    ] = ()
    preview_ports: Annotated[tuple[int, ...], Meta(min_length=1, description="Ports that previews may reach.")] = (
        80,
        443,
    )
    preview_max_bytes: Annotated[
        int,
        Meta(ge=65_536, le=104_857_600, description="The largest page or picture that a preview fetches, in bytes."),
    ] = 4_194_304
