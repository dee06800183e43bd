"""What an operator sees: several listeners, TLS, metrics, log lines, health, old clients, discovery."""

from __future__ import annotations

import json
import logging
import re
import resource
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import pytest
import trustme
from prometheus_client.parser import text_string_to_metric_families
from tests.free_port import free_port
from tests.homeserver.running import MatrixClient, RunningHomeserver, escape, make_config, running_homeserver

from thingroom_common.config_file import ConfigError
from thingroom_common.log_lines import REQUEST_ID, Lines
from thingroom_common.version import version
from thingroom_homeserver.config import HomeserverConfig, Listener, Support, check_config, load_config, local_url
from thingroom_homeserver.http.routes import Routes
from thingroom_homeserver.server import ENDPOINTS, allow_many_files


@contextmanager
def running(config: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """The program; and where its log goes."""
    log = config.with_suffix(".log")
    with log.open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "thingroom_homeserver", "--config", str(config)], stderr=errors, text=True
        )
        try:
            yield process, log
        finally:
            process.terminate()
            process.wait(10)


def wait_for(log: Path, words: str) -> None:
    deadline = time.monotonic() + 20
    while words not in log.read_text():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)


async def test_listeners_with_and_without_tls_for_clients_and_for_servers(tmp_path: Path) -> None:
    authority = trustme.CA()
    first, renewed = authority.issue_cert("localhost"), authority.issue_cert("localhost")
    first.private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    (tmp_path / "data").mkdir()
    plain, tls, federation, metrics = (free_port() for _ in range(4))
    config = tmp_path / "thingroom.toml"
    config.write_text(f"""
[homeserver]
data_directory = "data"
metrics_listener = "127.0.0.1:{metrics}"
federation_address = "localhost:8448"
log_format = "json"
log_requests = true

[[homeserver.listeners]]
address = "127.0.0.1:{plain}"

[[homeserver.listeners]]
address = "127.0.0.1:{tls}"
tls_certificate = "server.pem"
tls_key = "server.pem"
serves = ["client", "federation"]

[[homeserver.listeners]]
address = "127.0.0.1:{federation}"
serves = ["federation"]
""")
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    with running(config) as (process, log):
        wait_for(log, f"127.0.0.1:{metrics}")
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as http:
            for base in (f"http://127.0.0.1:{plain}", f"https://localhost:{tls}"):
                async with http.get(f"{base}/_matrix/client/versions?access_token=secret1", ssl=trust) as answer:
                    assert answer.status == 200
                async with http.get(f"{base}/.well-known/matrix/server", ssl=trust) as answer:
                    assert await answer.json() == {"m.server": "localhost:8448"}
            async with http.get(f"http://127.0.0.1:{federation}/_matrix/client/versions") as answer:
                assert (answer.status, (await answer.json())["errcode"]) == (404, "M_UNRECOGNIZED")
            async with http.get(f"http://127.0.0.1:{federation}/health") as answer:
                assert (await answer.json())["status"] == "ok"
            async with http.get(f"http://127.0.0.1:{plain}/metrics") as answer:
                assert answer.status == 404
            async with http.get(f"http://127.0.0.1:{metrics}/metrics") as answer:
                assert 'endpoint="/_matrix/client/versions"' in await answer.text()

        def served_certificate() -> bytes:
            context = ssl.create_default_context()
            authority.configure_trust(context)
            with (
                socket.create_connection(("127.0.0.1", tls), 5) as raw,
                context.wrap_socket(raw, server_hostname="localhost") as connection,
            ):
                certificate = connection.getpeercert(binary_form=True)
                assert certificate is not None
                return certificate

        before = served_certificate()
        renewed.private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
        process.send_signal(signal.SIGHUP)
        wait_for(log, "again")
        assert served_certificate() != before
        (tmp_path / "server.pem").write_text("nonsense")
        process.send_signal(signal.SIGHUP)
        wait_for(log, "cannot be used")
        assert served_certificate() != before
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    seen = [line for line in lines if line["message"] == "request"]
    assert {"path", "status", "ms", "request", "endpoint", "time", "level", "address"} <= seen[0].keys()
    assert len({line["request"] for line in seen}) == len(seen)
    assert "secret1" not in log.read_text()
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ('tls_certificate = "a.pem"', "both tls_certificate and tls_key"),
        ('address = "nowhere"', '"nowhere" is not "host:port"'),
        ('serves = ["everybody"]', "Invalid enum value 'everybody'"),
        ("port = 5", "there is no key `port`"),
    ],
)
def test_listeners_that_cannot_be(tmp_path: Path, lines: str, words: str) -> None:
    path = tmp_path / "thingroom.toml"
    path.write_text(f"[[homeserver.listeners]]\n{lines}\n")
    with pytest.raises(ConfigError, match=re.escape(words)):
        load_config(path)


def test_a_certificate_that_cannot_be_read_ends_in_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "thingroom.toml"
    (tmp_path / "data").mkdir()
    tables = f'[[homeserver.listeners]]\naddress = "127.0.0.1:{free_port()}"\ntls_certificate = "a"\ntls_key = "b"\n'
    path.write_text(f'[homeserver]\ndata_directory = "data"\n{tables}')
    with running(path) as (process, log):
        assert process.wait(20) == 2
    assert "cannot be used" in log.read_text() and "Traceback" not in log.read_text()


def test_the_local_url_prefers_a_plain_listener_for_clients() -> None:
    tls = Listener(address="[::]:8448", tls_certificate="a", tls_key="b")
    federation = Listener(address="127.0.0.1:1", serves=("federation",))
    assert local_url(HomeserverConfig(listeners=(federation, tls, "0.0.0.0:80"))) == "http://127.0.0.1:80"
    assert local_url(HomeserverConfig(listeners=(federation, tls))) == "https://[::1]:8448"
    with pytest.raises(ConfigError, match="none of them serves clients"):
        local_url(HomeserverConfig(listeners=(federation,)))


async def test_metrics_count_what_happens(homeserver: RunningHomeserver, alice: MatrixClient) -> None:
    def value(name: str, **labels: str) -> float:
        text = homeserver.services.metrics.text().decode()
        samples = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
        return sum(s.value for s in samples if s.name == name and labels.items() <= s.labels.items())

    create = "/_matrix/client/v3/createRoom"
    stored = value("thingroom_events_stored_total")
    batches = value("thingroom_database_batches_total")
    (await alice.post("v3/createRoom")).ok()
    (await alice.get("v3/rooms/!nowhere/state")).is_error(403, "M_FORBIDDEN")
    (await alice.get("v3/odd\nname")).is_error(404, "M_UNRECOGNIZED")
    assert value("thingroom_requests_total", endpoint=create, status="200", method="POST") == 1
    assert value("thingroom_request_seconds_count", endpoint=create) == 1
    assert value("thingroom_requests_total", endpoint="/_matrix/client/v3/rooms/{roomId}/state", status="403") == 1
    assert value("thingroom_requests_total", endpoint="unknown", status="404") == 1
    assert value("thingroom_events_stored_total") >= stored + 6
    assert value("thingroom_database_batches_total") > batches
    assert value("thingroom_database_writes_total") >= value("thingroom_database_batches_total")
    assert value("thingroom_sync_waiters") == 0
    assert value("thingroom_federation_waiting") == 0


def test_the_limit_of_open_files_is_raised_and_never_lowered() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
        allow_many_files()
        raised = resource.getrlimit(resource.RLIMIT_NOFILE)
        assert raised == (min(65_536, hard) if hard != resource.RLIM_INFINITY else 65_536, hard)
        allow_many_files()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == raised
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_line_of_the_log_is_one_line_whatever_it_says() -> None:
    try:
        raise RuntimeError("first\nsecond")
    except RuntimeError:
        record = logging.LogRecord("a.b", logging.ERROR, "", 0, 'say "%s"\n\ud800', ("x=y",), sys.exc_info())
    token = REQUEST_ID.set("r-1")
    try:
        text, as_json = Lines(as_json=False).format(record), Lines(as_json=True).format(record)
    finally:
        REQUEST_ID.reset(token)
    assert "\n" not in text + as_json
    assert 'level=error logger=a.b request=r-1 message="say \\"x=y\\"\\n?" traceback="Traceback' in text
    assert json.loads(as_json)["message"] == 'say "x=y"\n?'


async def test_health(anyone: MatrixClient) -> None:
    assert (await anyone.get("/health")).ok() == {"status": "ok", "server": f"Thingroom {version()}"}


async def test_the_token_may_stand_in_the_query_unless_that_is_off(tmp_path: Path) -> None:
    async with running_homeserver(make_config(tmp_path / "a")) as server:
        alice = await server.register("alice")
        anyone = server.client()
        answer = await anyone.get("r0/account/whoami", access_token=alice.token)
        assert answer.ok()["user_id"] == alice.user_id
        (await anyone.get("r0/account/whoami", access_token="wrong")).is_error(401, "M_UNKNOWN_TOKEN")
        (await anyone.get("r0/account/whoami", access_token="")).is_error(401, "M_MISSING_TOKEN")
    async with running_homeserver(make_config(tmp_path / "a", access_token_in_query=False)) as server:
        answer = await server.client().get("r0/account/whoami", access_token=alice.token)
        answer.is_error(401, "M_MISSING_TOKEN")


async def test_a_bare_name_and_a_full_id_log_in(homeserver: RunningHomeserver, alice: MatrixClient) -> None:
    for user in ("alice", alice.user_id):
        for body in ({"user": user}, {"identifier": {"type": "m.id.user", "user": user}}):
            login = {"type": "m.login.password", "password": "correct horse battery", **body}
            assert (await homeserver.client().post("r0/login", login)).ok()["user_id"] == alice.user_id


async def test_well_known_is_there_when_it_is_configured(tmp_path: Path) -> None:
    support = Support(page="https://example.org/help", matrix_id="@admin:localhost")
    config = make_config(
        tmp_path / "a", public_base_url="https://example.org", support=support, federation_address="example.org:443"
    )
    async with running_homeserver(config) as server:
        anyone = server.client()
        assert (await anyone.get(".well-known/matrix/client")).ok()["m.homeserver"]["base_url"] == "https://example.org"
        assert (await anyone.get(".well-known/matrix/server")).ok() == {"m.server": "example.org:443"}
        assert (await anyone.get(".well-known/matrix/support")).ok() == {
            "contacts": [{"role": "m.role.admin", "matrix_id": "@admin:localhost"}],
            "support_page": "https://example.org/help",
        }
    async with running_homeserver(make_config(tmp_path / "b")) as server:
        for name in ("client", "server", "support"):
            (await server.client().get(f".well-known/matrix/{name}")).is_error(404, "M_NOT_FOUND")


CORS = ("Access-Control-Allow-Origin", "Access-Control-Allow-Methods", "Access-Control-Allow-Headers")


async def test_every_endpoint_has_cors_headers_on_errors_and_options(anyone: MatrixClient) -> None:
    for endpoint in ENDPOINTS:
        for path in endpoint.paths:
            if path.startswith(("/_thingroom/", "/_matrix/static/")) or path.endswith("/fallback/web"):
                continue  # pages for people, not for other origins' scripts
            filled = re.sub(r"\{\w+\}", escape("!x:y"), path)
            for method in (endpoint.method, "OPTIONS", "TRACE"):
                answer = await anyone.request(method, filled, b"{" if method in ("POST", "PUT") else None)
                assert all(name in answer.headers for name in CORS), (method, path)
                assert answer.status == 204 if method == "OPTIONS" else answer.status != 500, (method, path)


OLD_CLIENTS_R0 = re.findall(
    r"\S+",
    """
    login logout logout/all register register/available account/whoami account/password account/deactivate
    capabilities sync createRoom join/{} rooms/{}/join rooms/{}/leave rooms/{}/invite rooms/{}/kick rooms/{}/ban
    rooms/{}/unban rooms/{}/forget rooms/{}/messages rooms/{}/members rooms/{}/joined_members rooms/{}/state
    rooms/{}/state/{} rooms/{}/state/{}/{} rooms/{}/send/{}/{} rooms/{}/redact/{}/{} rooms/{}/context/{}
    rooms/{}/event/{} rooms/{}/receipt/{}/{} rooms/{}/read_markers rooms/{}/typing/{} rooms/{}/aliases joined_rooms
    publicRooms directory/room/{} directory/list/room/{} user/{}/filter user/{}/filter/{} user/{}/account_data/{}
    user/{}/rooms/{}/account_data/{} user/{}/rooms/{}/tags user/{}/rooms/{}/tags/{} profile/{} profile/{}/displayname
    profile/{}/avatar_url presence/{}/status devices devices/{} delete_devices keys/upload keys/query keys/claim
    pushrules pushrules/global/{}/{} pushrules/global/{}/{}/enabled pushrules/global/{}/{}/actions voip/turnServer
    thirdparty/protocols user_directory/search account/3pid
    """,
)


def test_old_clients_find_every_endpoint_under_r0() -> None:
    routes: Routes[str] = Routes()
    for endpoint in ENDPOINTS:
        for path in endpoint.paths:
            routes.add(endpoint.method, path, path)
    asked = [f"/_matrix/client/r0/{path.replace('{}', 'x')}" for path in OLD_CLIENTS_R0]
    assert [path for path in asked if routes.find("GET", path) is None] == []


def test_metrics_stay_on_loopback_unless_it_is_meant() -> None:
    for address in ("127.0.0.1:9000", "[::1]:9000", "localhost:9000"):
        check_config(HomeserverConfig(metrics_listener=address))
    for address in ("0.0.0.0:9000", "[::]:9000", "10.0.0.5:9000", "metrics.example.org:9000"):
        with pytest.raises(ConfigError, match="metrics_beyond_loopback"):
            check_config(HomeserverConfig(metrics_listener=address))
        check_config(HomeserverConfig(metrics_listener=address, metrics_beyond_loopback=True))


async def test_a_policy_servers_key_is_published(tmp_path: Path, anyone: MatrixClient) -> None:
    (await anyone.get(".well-known/matrix/policy_server")).is_error(404, "M_NOT_FOUND")
    key = "6yhHGKhCiXTSEN2ksjV7kX_N6rBQZ3Xb-M7LlC6NS-s"
    config = make_config(tmp_path / "other", policy_server_key=key)
    check_config(config)
    async with running_homeserver(config) as server:
        answer = (await server.client().get(".well-known/matrix/policy_server")).ok()
    assert answer == {"public_keys": {"ed25519": key}}
    with pytest.raises(ConfigError, match="policy_server_key"):
        check_config(HomeserverConfig(policy_server_key="short"))
