"""Configuration: what wins over what, and what is said about a bad value."""

from __future__ import annotations

from pathlib import Path

import pytest

from hawse.supervisor.core.errors import UserError
from hawse.supervisor.process.config import Config, load


@pytest.fixture
def write(tmp_path):
    def write(text: str) -> dict[str, str]:
        (tmp_path / "hawse.toml").write_text(text)
        return {"HAWSE_CONFIG": str(tmp_path / "hawse.toml")}

    return write


def test_defaults():
    config = load({}, {"HAWSE_CONFIG": ""})
    assert config == Config()
    assert config.socket_path == Path("/run/hawse/hawse.sock")
    assert config.table == config.tag == "hawse"


def test_flags_win_over_environment_over_file_over_defaults(write):
    environ = write('root = "/file"\nrun_dir = "/file"\nlog_level = "debug"\n')
    environ |= {"HAWSE_ROOT": "/env", "HAWSE_RUN_DIR": "/env"}
    config = load({"root": "/flag", "run_dir": None}, environ)
    assert (config.root, config.run_dir, config.log_level) == (Path("/flag"), Path("/env"), "debug")
    assert config.log_format == "auto"


def test_the_config_flag_wins_over_its_variable(tmp_path, write):
    environ = write('log_level = "debug"')
    other = tmp_path / "other.toml"
    other.write_text('log_level = "error"')
    assert load({"config": str(other)}, environ).log_level == "error"


def test_values_take_the_type_of_their_default(write):
    config = load({}, write('subid_base = 5\naddress_pools = ["10.0.0.0/8"]\naudit_interval = 2'))
    assert (config.subid_base, config.address_pools, config.audit_interval) == (5, ("10.0.0.0/8",), 2.0)
    from_environ = load({}, {"HAWSE_SUBID_BASE": "6", "HAWSE_ADDRESS_POOLS": "10.1.0.0/16,10.2.0.0/16"})
    assert (from_environ.subid_base, from_environ.address_pools) == (6, ("10.1.0.0/16", "10.2.0.0/16"))


@pytest.mark.parametrize(("given", "meant"), [('"off"', False), ("false", False), ('"on"', True), ("true", True)])
def test_a_switch_is_a_word_or_toml_s_own(write, given, meant):
    assert load({}, write(f"durable = {given}")).durable is meant
    assert load({"durable": "off"}, write(f"durable = {given}")).durable is False
    assert load({}, {"HAWSE_DURABLE": "off"}).durable is False


def test_an_instance_prefixes_kernel_objects():
    config = load({"instance": "b2"}, {})
    assert config.table == config.tag == "hawse_b2"


def test_the_host_may_be_written_as_docker_does():
    assert load({}, {"HAWSE_HOST": "unix:///tmp/x.sock"}).socket_path == Path("/tmp/x.sock")


def test_registries_without_tls_and_mirrors(write):
    config = load({}, write('registry_mirrors = ["https://a.example.org/", "http://10.0.0.1:5000"]'))
    assert config.registry_mirrors == ("https://a.example.org/", "http://10.0.0.1:5000")
    config = load({}, {"HAWSE_INSECURE_REGISTRIES": "a.example.org:5000,10.0.0.0/8,[fd00::1]:5000,fd00::/8"})
    assert config.insecure_registries == ("a.example.org:5000", "10.0.0.0/8", "[fd00::1]:5000", "fd00::/8")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"instance": "toolong"}, "instance = 'toolong'"),
        ({"instance": "A"}, "1 to 4 characters"),
        ({"root": "relative"}, "an absolute path"),
        ({"host": "tcp://1.2.3.4"}, "an absolute path"),
        ({"subid_base": "many"}, "subid_base = 'many'"),
        ({"durable": "maybe"}, 'durable = .maybe. is not valid: "on" or "off"'),
        ({"audit_interval": "often"}, "audit_interval = 'often'"),
        ({"audit_interval": "0"}, "audit_interval = '0' is not valid: a number above 0"),
        ({"journal_max_age": -1}, "journal_max_age = -1 is not valid"),
        ({"log_level": "loud"}, "log_level = 'loud' is not valid: one of debug, info"),
        ({"log_format": "xml"}, "log_format = 'xml' is not valid: one of auto"),
        ({"address_pools": ["10.0.0.0/8", "10.0.0.1/8"]}, "10.0.0.1/8 has host bits set"),
        ({"registry_mirrors": ["mirror.example.org"]}, "'mirror.example.org' is no URL of a registry"),
        ({"registry_mirrors": ["https://mirror.example.org/path"]}, "without a path"),
        ({"registry_mirrors": ["https://"]}, "'https://' is no URL"),
        ({"insecure_registries": ["http://a:5000"]}, "'http://a:5000' is neither host"),
        ({"insecure_registries": ["10.0.0.1/8"]}, "10.0.0.1/8 has host bits set"),
    ],
)
def test_a_bad_value_is_named(flags, said):
    with pytest.raises(UserError, match=said):
        load(flags, {})


def test_an_unknown_key_is_refused_and_the_known_ones_are_named(write):
    with pytest.raises(UserError, match="unknown key 'rooot'") as caught:
        load({}, write('rooot = "/x"'))
    assert "root" in caught.value.hint


def test_bad_toml_names_the_file(write):
    with pytest.raises(UserError, match=r"hawse\.toml: not valid TOML"):
        load({}, write("root = "))


def test_a_file_that_was_asked_for_must_exist(tmp_path):
    with pytest.raises(UserError, match="no such configuration file"):
        load({"config": str(tmp_path / "none.toml")}, {})
