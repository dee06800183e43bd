"""Making the content repository's parts out of the configuration.

May import the media package and the configuration. server.py calls it.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from thingroom_common.database import Database
from thingroom_homeserver.clock import Clock
from thingroom_homeserver.config import HomeserverConfig, listener_address
from thingroom_homeserver.media.files import MediaFiles
from thingroom_homeserver.media.guarded_fetch import GuardedFetch
from thingroom_homeserver.media.legacy import serves_legacy
from thingroom_homeserver.media.previews import Previews
from thingroom_homeserver.media.remote_files import Fetcher, RemoteFiles
from thingroom_homeserver.media.repository import MediaRepository
from thingroom_homeserver.media.thumbnails import Thumbnails
from thingroom_homeserver.outgoing.guard import Guard

FOLDER = "media"


@dataclass(frozen=True, slots=True)
class MediaParts:
    """What handlers use; `previews` is None where they are off."""

    repository: MediaRepository
    thumbnails: Thumbnails
    previews: Previews | None
    legacy: bool


@contextlib.asynccontextmanager
async def opened_media(
    config: HomeserverConfig, database: Database, clock: Clock, fetcher: Fetcher, tls: ssl.SSLContext | None
) -> AsyncIterator[MediaParts]:
    """The parts, as long as the block runs; `fetcher` brings the files of other servers. Raises OSError."""
    media = config.media
    files = MediaFiles(Path(config.data_directory) / FOLDER)
    remote = RemoteFiles(database, files, clock, media, fetcher)
    repository = MediaRepository(database, files, clock, media, config.server_name, config.max_upload_bytes, remote)
    await repository.recover()
    thumbnails = Thumbnails(repository, media.max_image_pixels)
    previews = None
    if media.url_previews:
        fetch = GuardedFetch(Guard(media.preview_permitted_networks), media.preview_ports, tls=tls)
        previews = Previews(repository, fetch, clock, media.preview_max_bytes)
    legacy = serves_legacy(
        media.legacy_downloads,
        [listener_address(listener)[0] for listener in config.listeners],
        behind_proxy=config.trust_forwarded_for,
        public_host=urlsplit(config.public_base_url).hostname if config.public_base_url else None,
    )
    try:
        async with remote.running():
            yield MediaParts(repository, thumbnails, previews, legacy)
    finally:
        repository.close()
        if previews is not None:
            await previews.close()
        await thumbnails.close()
