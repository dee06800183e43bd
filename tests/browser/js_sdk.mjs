// matrix-js-sdk, the library under Element, in Node: signs in, syncs and works one room for a parent that speaks JSON
// lines. `node js_sdk.mjs HOMESERVER_URL`; each line on stdin, {"do": "send", ...}, is answered by one line on stdout,
// {"result": ...} or {"error": "..."}. The commands are the methods of `commands`; sdk_client.py is the other side.
// The SDK is made for Node 22 and browsers; all that it misses in Node 20 is this function of the language.
import "core-js/actual/promise/with-resolvers.js";
import { createInterface } from "node:readline";
import * as sdk from "matrix-js-sdk";
import { decodeRecoveryKey } from "matrix-js-sdk/lib/crypto-api/index.js";
import { logger } from "matrix-js-sdk/lib/logger.js";
import { SlidingSync } from "matrix-js-sdk/lib/sliding-sync.js";

const WAIT_MS = 60_000; // as tests/patience.py
// What Element asks of a sliding sync: little of each room in the list, everything of the one that is open.
const ALL_ROOMS = {
  ranges: [[0, 99]],
  timeline_limit: 1,
  required_state: [
    ["m.room.create", ""],
    ["m.room.encryption", ""],
    ["m.room.join_rules", ""],
    ["m.room.tombstone", ""],
    ["m.room.member", "$ME"],
    ["m.room.member", "$LAZY"],
  ],
};
const OPEN_ROOM = { timeline_limit: 20, required_state: [["*", "*"]] };
const homeserver = process.argv[2];
const requests = [];
let client;
let recoveryKey;
let slidingSync;

async function recordingFetch(resource, options) {
  const response = await fetch(resource, options);
  const url = new URL(resource);
  const entry = { method: options?.method ?? "GET", path: url.pathname, status: response.status };
  if (response.status >= 400) Object.assign(entry, { sent: options?.body ?? null, text: await response.clone().text() });
  requests.push(entry);
  return response;
}

// Resolves with what `read()` gives once that is neither undefined nor false; looks again whenever `emitter` emits.
function until(event, read) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`no ${event} within ${WAIT_MS} ms`)), WAIT_MS);
    const look = () => {
      const found = read();
      if (found === undefined || found === false) return;
      clearTimeout(timer);
      client.off(event, look);
      resolve(found);
    };
    client.on(event, look);
    look();
  });
}

const room = (id) => {
  const found = client.getRoom(id);
  if (!found) throw new Error(`the client knows no room ${id}`);
  return found;
};
const shown = (event) => ({
  event_id: event.getId(),
  type: event.getType(),
  sender: event.getSender(),
  content: event.getContent(),
  redacted: event.isRedacted(),
});
const timeline = (id) => room(id).getLiveTimeline().getEvents();

const commands = {
  async log_in({ username, password, crypto, sliding }) {
    const anonymous = sdk.createClient({ baseUrl: homeserver, fetchFn: recordingFetch });
    const answer = await anonymous.loginRequest({
      type: "m.login.password",
      identifier: { type: "m.id.user", user: username },
      password,
      initial_device_display_name: "matrix-js-sdk",
    });
    client = sdk.createClient({
      baseUrl: homeserver,
      userId: answer.user_id,
      deviceId: answer.device_id,
      accessToken: answer.access_token,
      fetchFn: recordingFetch,
      cryptoCallbacks: {
        getSecretStorageKey: async ({ keys }) => [Object.keys(keys)[0], recoveryKey],
      },
    });
    if (crypto) await client.initRustCrypto({ useIndexedDB: false });
    slidingSync = sliding && new SlidingSync(homeserver, new Map([["all", ALL_ROOMS]]), OPEN_ROOM, client, 30_000);
    await client.startClient({ initialSyncLimit: 10, lazyLoadMembers: !sliding, slidingSync });
    await until(sdk.ClientEvent.Sync, () => client.isInitialSyncComplete());
    return { user_id: answer.user_id, device_id: answer.device_id };
  },
  rooms: () => client.getRooms().map((each) => ({ room_id: each.roomId, name: each.name, membership: each.getMyMembership() })),
  timeline: ({ room_id }) => timeline(room_id).map(shown),
  // Sliding sync only: ask for everything of the room, and wait until its beginning or `events` of it are there.
  async open_room({ room_id, events }) {
    slidingSync.modifyRoomSubscriptions(new Set([room_id]));
    await until(sdk.RoomEvent.Timeline, () => timeline(room_id).length >= events);
  },
  // Sliding sync only: narrow or widen the window onto the list, and say how many rooms the list has.
  async look_at_rooms({ first, last, names }) {
    slidingSync.setListRanges("all", [[first, last]]);
    await until(sdk.ClientEvent.Room, () => names.every((name) => client.getRooms().some((each) => each.name === name)));
    return slidingSync.getListData("all").joinedCount;
  },
  counts: ({ room_id }) => ({
    unread: room(room_id).getUnreadNotificationCount("total") ?? 0,
    highlights: room(room_id).getUnreadNotificationCount("highlight") ?? 0,
    joined: room(room_id).getJoinedMemberCount(),
    invited: room(room_id).getInvitedMemberCount(),
  }),
  async wait_for_unread({ room_id, unread }) {
    await until(sdk.ClientEvent.Sync, () => (room(room_id).getUnreadNotificationCount("total") ?? 0) === unread);
  },
  async wait_for_account_data({ type }) {
    await until(sdk.ClientEvent.AccountData, () => client.getAccountData(type) && true);
    return client.getAccountData(type).getContent();
  },
  async wait_for_tag({ room_id, tag }) {
    await until(sdk.RoomEvent.Tags, () => room(room_id).tags[tag] && true);
    return room(room_id).tags[tag];
  },
  async create_room({ options }) {
    return (await client.createRoom(options)).room_id;
  },
  async join({ room_id }) {
    await client.joinRoom(room_id);
    await until(sdk.RoomEvent.MyMembership, () => client.getRoom(room_id)?.getMyMembership() === "join");
  },
  async leave({ room_id }) {
    await client.leave(room_id);
    await until(sdk.RoomEvent.MyMembership, () => client.getRoom(room_id)?.getMyMembership() === "leave");
  },
  wait_for_invite: ({ room_id }) =>
    until(sdk.ClientEvent.Room, () => client.getRoom(room_id)?.getMyMembership() === "invite"),
  wait_for_room: ({ room_id }) => until(sdk.ClientEvent.Room, () => client.getRoom(room_id)?.name),
  async send({ room_id, text }) {
    const { event_id: eventId } = await client.sendTextMessage(room_id, text);
    // The status of what one sent oneself is cleared when it comes back by /sync.
    await until(sdk.RoomEvent.LocalEchoUpdated, () =>
      timeline(room_id).some((event) => event.getId() === eventId && event.status === null),
    );
    return eventId;
  },
  wait_for_message: ({ room_id, text }) =>
    until(sdk.RoomEvent.Timeline, () => {
      const found = timeline(room_id).find((event) => event.getContent().body === text);
      return found && shown(found);
    }),
  async paginate({ room_id, limit }) {
    while (await client.paginateEventTimeline(room(room_id).getLiveTimeline(), { backwards: true, limit })) continue;
    return timeline(room_id).map(shown);
  },
  async redact({ room_id, event_id }) {
    await client.redactEvent(room_id, event_id);
    await until(sdk.RoomEvent.Redaction, () => room(room_id).findEventById(event_id)?.isRedacted());
  },
  async receipt({ room_id, event_id }) {
    await client.sendReadReceipt(room(room_id).findEventById(event_id));
    await until(sdk.RoomEvent.Receipt, () => room(room_id).getEventReadUpTo(client.getUserId(), true) === event_id);
  },
  async wait_for_receipt({ room_id, event_id, user_id }) {
    await until(sdk.RoomEvent.Receipt, () => room(room_id).getEventReadUpTo(user_id) === event_id);
  },
  async typing({ room_id }) {
    await client.sendTyping(room_id, true, 10_000);
  },
  async wait_for_typing({ room_id, user_id }) {
    await until(sdk.RoomMemberEvent.Typing, () => room(room_id).getMember(user_id)?.typing);
  },
  async wait_for_member({ room_id, user_id }) {
    await until(sdk.RoomStateEvent.Members, () => room(room_id).getMember(user_id)?.membership === "join");
  },
  async set_display_name({ name }) {
    await client.setDisplayName(name);
  },
  async members({ room_id }) {
    await room(room_id).loadMembersIfNeeded();
    return Object.fromEntries(room(room_id).getJoinedMembers().map((member) => [member.userId, member.name]));
  },
  state: ({ room_id, type, key }) => room(room_id).currentState.getStateEvents(type, key)?.getContent() ?? null,
  async set_account_data({ type, content }) {
    await client.setAccountData(type, content);
    await until(sdk.ClientEvent.AccountData, () => client.getAccountData(type) && true);
    return client.getAccountData(type).getContent();
  },
  async wait_for_decrypted({ room_id, text }) {
    const found = () => timeline(room_id).find((event) => event.isEncrypted() && event.getContent().body === text);
    await until(sdk.MatrixEventEvent.Decrypted, found);
    return { ...shown(found()), wire_type: found().getWireType() };
  },
  // Cross-signing, secret storage and a backup of keys, all new. Returns the recovery key.
  async set_up_encryption() {
    const crypto = client.getCrypto();
    await crypto.bootstrapCrossSigning({ authUploadDeviceSigningKeys: (upload) => upload(null) });
    const made = await crypto.createRecoveryKeyFromPassphrase();
    recoveryKey = made.privateKey;
    await crypto.bootstrapSecretStorage({ createSecretStorageKey: async () => made, setupNewKeyBackup: true });
    return made.encodedPrivateKey;
  },
  // On a further device: everything that the recovery key opens. Returns how many keys the backup gave.
  async recover({ recovery_key }) {
    recoveryKey = decodeRecoveryKey(recovery_key);
    const crypto = client.getCrypto();
    if (!(await crypto.userHasCrossSigningKeys(client.getUserId(), true))) throw new Error("no cross-signing keys");
    await crypto.bootstrapCrossSigning({});
    await crypto.loadSessionBackupPrivateKeyFromSecretStorage();
    await crypto.checkKeyBackupAndEnable();
    return (await crypto.restoreKeyBackup()).imported;
  },
  async encryption_status({ user_id, device_id }) {
    const crypto = client.getCrypto();
    await crypto.getUserDeviceInfo([user_id], true);
    const status = await crypto.getDeviceVerificationStatus(user_id, device_id);
    return {
      ready: await crypto.isCrossSigningReady(),
      signed_by_owner: status?.signedByOwner ?? false,
      backup: await crypto.getActiveSessionBackupVersion(),
    };
  },
  // Sliding sync only: another first request of the device, which ends the connection that the client has.
  async forget_connection() {
    const list = { ranges: [[0, 0]], timeline_limit: 1, required_state: [] };
    await client.slidingSync({ lists: { other: list } }, homeserver);
  },
  async log_out() {
    client.stopClient();
    await client.logout(false);
  },
  async wait_for_request({ method, path }) {
    const deadline = Date.now() + WAIT_MS;
    while (!requests.some((each) => each.method === method && each.path === path && each.status === 200)) {
      if (Date.now() > deadline) throw new Error(`no ${method} ${path} within ${WAIT_MS} ms`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  },
  requests: () => requests,
};

// stdout is for answers; the crypto library writes its diagnostics to console.debug and console.log.
for (const level of ["debug", "info", "log"]) console[level] = () => {};
logger.setLevel(logger.levels.ERROR, false);
for await (const line of createInterface({ input: process.stdin })) {
  const { do: name, ...parameters } = JSON.parse(line);
  try {
    process.stdout.write(`${JSON.stringify({ result: (await commands[name](parameters)) ?? null })}\n`);
  } catch (error) {
    process.stdout.write(`${JSON.stringify({ error: String(error.message ?? error) })}\n`);
  }
}
process.exit(0);
