"""The whole schema of homeserver.db: forward-only steps, each recorded once it is applied.

May import thingroom_common and the schema files beside it.
"""

from __future__ import annotations

from thingroom_common.database import Migration
from thingroom_homeserver.storage.schema_accounts import ACCOUNT_MIGRATIONS
from thingroom_homeserver.storage.schema_appservice import APPSERVICE_MIGRATIONS
from thingroom_homeserver.storage.schema_e2ee import ENCRYPTION_MIGRATIONS
from thingroom_homeserver.storage.schema_erasures import ERASURE_MIGRATIONS
from thingroom_homeserver.storage.schema_events import EVENT_MIGRATIONS
from thingroom_homeserver.storage.schema_federation_admin import FEDERATION_ADMIN_MIGRATIONS
from thingroom_homeserver.storage.schema_federation_events import FEDERATION_EVENT_MIGRATIONS
from thingroom_homeserver.storage.schema_federation_keys import FEDERATION_KEY_MIGRATIONS
from thingroom_homeserver.storage.schema_federation_sending import FEDERATION_SENDING_MIGRATIONS
from thingroom_homeserver.storage.schema_identity import IDENTITY_MIGRATIONS
from thingroom_homeserver.storage.schema_inbox import INBOX_MIGRATIONS
from thingroom_homeserver.storage.schema_media import MEDIA_MIGRATIONS
from thingroom_homeserver.storage.schema_out_of_band import OUT_OF_BAND_MIGRATIONS
from thingroom_homeserver.storage.schema_presence import PRESENCE_MIGRATIONS
from thingroom_homeserver.storage.schema_push import PUSH_MIGRATIONS
from thingroom_homeserver.storage.schema_relations import RELATION_MIGRATIONS
from thingroom_homeserver.storage.schema_remote_media import REMOTE_MEDIA_MIGRATIONS
from thingroom_homeserver.storage.schema_search import SEARCH_MIGRATIONS
from thingroom_homeserver.storage.schema_sessions import SESSION_MIGRATIONS
from thingroom_homeserver.storage.schema_sliding import SLIDING_MIGRATIONS
from thingroom_homeserver.storage.schema_transactions import TRANSACTION_MIGRATIONS

MIGRATIONS: tuple[Migration, ...] = (
    *EVENT_MIGRATIONS,
    *ACCOUNT_MIGRATIONS,
    *MEDIA_MIGRATIONS,
    *RELATION_MIGRATIONS,
    *SESSION_MIGRATIONS,
    *ENCRYPTION_MIGRATIONS,
    *PUSH_MIGRATIONS,
    *SLIDING_MIGRATIONS,
    *PRESENCE_MIGRATIONS,
    *APPSERVICE_MIGRATIONS,
    *IDENTITY_MIGRATIONS,
    *ERASURE_MIGRATIONS,
    *TRANSACTION_MIGRATIONS,
    *SEARCH_MIGRATIONS,
    *FEDERATION_KEY_MIGRATIONS,
    *INBOX_MIGRATIONS,
    *OUT_OF_BAND_MIGRATIONS,
    *FEDERATION_EVENT_MIGRATIONS,
    *FEDERATION_SENDING_MIGRATIONS,
    *REMOTE_MEDIA_MIGRATIONS,
    *FEDERATION_ADMIN_MIGRATIONS,
)
