"""The whole file: its example, and what follows from the data directory."""

import itertools

import msgspec
import pytest

from thingroom.config import Paths, ThingroomConfig, base_url, example_file, read_or_write, settle, write_programs_file
from thingroom_common.config_file import ConfigError, load
from thingroom_gateway import config as gateway_config
from thingroom_homeserver import config as homeserver_config


@pytest.fixture
def paths(tmp_path):
    paths = Paths(tmp_path / "data")
    paths.make()
    return paths


def test_every_key_of_the_example_is_real_and_is_the_default(tmp_path):
    path = tmp_path / "thingroom.toml"
    text = example_file()
    path.write_text(text)
    assert load(path, ThingroomConfig) == ThingroomConfig()
    path.write_text(
        "\n".join(line.removeprefix("# ") if " = " in line or "[[" in line else line for line in text.splitlines())
    )
    assert load(path, ThingroomConfig) == ThingroomConfig()


def test_every_key_is_explained():
    lines = example_file().splitlines()
    for before, line in itertools.pairwise(lines):
        if line.startswith("# ") and " = " in line:
            assert before.startswith("# "), f"no words above: {line}"


def test_the_first_start_writes_the_file_and_an_unknown_section_is_refused(paths):
    assert read_or_write(paths, None).gateway == ThingroomConfig().gateway
    assert load(paths.config, ThingroomConfig) == ThingroomConfig()
    assert "[homeserver]" in paths.config.read_text()
    paths.config.write_text("[gatway]\n")
    with pytest.raises(ConfigError, match="no key `gatway`"):
        read_or_write(paths, None)


def test_a_settled_file_is_what_both_programs_read(paths):
    paths.config.write_text('[homeserver]\nserver_name = "home.example"\nlisteners = ["127.0.0.1:18008"]\n')
    config = settle(read_or_write(paths, None), paths)
    write_programs_file(config, paths.programs)
    assert paths.programs.stat().st_mode & 0o777 == 0o600
    homeserver = homeserver_config.load_config(paths.programs)
    gateway = gateway_config.load(paths.programs)
    assert homeserver.server_name == gateway.server_name == "home.example"
    assert gateway.homeserver_url == base_url(homeserver) == "http://127.0.0.1:18008"
    assert gateway.owner == "@owner:home.example"
    assert gateway.registration_file in homeserver.appservice_files
    assert homeserver.data_directory == str(paths.homeserver)
    assert len(homeserver.registration_shared_secret) >= 40
    assert settle(read_or_write(paths, None), paths) == config, "a second start has the same secrets"


def test_an_external_broker_is_left_alone(paths):
    paths.config.write_text(
        '[run]\nbroker = "external"\n[gateway.mqtt]\nhost = "broker.example"\nport = 8883\ntls = true\n'
    )
    config = settle(read_or_write(paths, None), paths)
    assert (config.gateway.mqtt.host, config.gateway.mqtt.port) == ("broker.example", 8883)
    assert config.gateway.mqtt.password_file == ""


def test_addresses_for_programs_on_this_machine():
    def url(listener):
        return base_url(msgspec.structs.replace(homeserver_config.HomeserverConfig(), listeners=(listener,)))

    assert url("0.0.0.0:8008") == "http://127.0.0.1:8008"
    assert url("[::]:8008") == "http://[::1]:8008"
    assert url("192.168.1.5:80") == "http://192.168.1.5:80"


def test_files_are_named_from_the_folder_of_the_file_that_names_them(paths):
    paths.make()
    paths.config.write_text('[homeserver]\nappservice_files = ["heisenbridge.yaml", "/elsewhere.yaml"]\n')
    settled = settle(read_or_write(paths, None), paths)
    named = (str(paths.config.resolve().parent / "heisenbridge.yaml"), "/elsewhere.yaml", str(paths.registration))
    assert settled.homeserver.appservice_files == named
