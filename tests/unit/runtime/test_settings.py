"""Settings: where values come from, which wins, and what a bad one says."""

from __future__ import annotations

from pathlib import Path

import pytest

from omninode.core.errors import ConfigurationError
from omninode.providers.http import HttpClient
from omninode.routing.deployment import RouterSettings
from omninode.runtime.models import find_deployments
from omninode.runtime.settings import Settings, load_settings
from omninode.runtime.wiring import breaker_config, retry_config
from omninode.storage.policies import Durability, SpoolConfig, TablePolicy, WhenFull

pytestmark = pytest.mark.unit


@pytest.fixture(autouse=True)
def clean_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory and none of our variables."""
    for info in Settings.model_fields.values():
        if isinstance(info.json_schema_extra, dict):
            monkeypatch.delenv(str(info.json_schema_extra["env"]), raising=False)
    monkeypatch.delenv("OMNINODE_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(place: Path, text: str) -> None:
    (place / "omninode.toml").write_text(text, encoding="utf-8")


def test_the_documents_defaults() -> None:
    settings = load_settings()
    assert (settings.postgres_host, settings.postgres_port, settings.postgres_db) == (None, 5432, "omninode")
    assert (settings.breaker_failure_threshold, settings.breaker_timeout_s, settings.breaker_success_threshold) == (
        5,
        30.0,
        2,
    )
    assert (settings.retry_max_retries, settings.retry_base_delay_s, settings.retry_max_delay_s) == (3, 0.1, 10.0)
    assert (settings.retry_backoff_multiplier, settings.connection_pool_size) == (2.0, 10)


def test_the_environment_wins_over_the_file_and_the_file_over_the_default(
    clean_place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(clean_place, "[database]\npool_size = 7\nport = 6000\n")
    monkeypatch.setenv("CONNECTION_POOL_SIZE", "9")
    settings = load_settings()
    assert (settings.connection_pool_size, settings.postgres_port) == (9, 6000)
    assert settings.origin("connection_pool_size") == "environment CONNECTION_POOL_SIZE"
    assert settings.origin("postgres_port") == "omninode.toml"
    assert settings.origin("retry_max_retries") == "default"


def test_an_empty_variable_is_an_unset_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RETRY_MAX_RETRIES", "")
    assert load_settings().retry_max_retries == 3


def test_a_value_out_of_range_names_setting_value_range_and_origin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTGRES_PORT", "70000")
    with pytest.raises(
        ConfigurationError, match=r"POSTGRES_PORT is '70000'.*at least 1, at most 65535.*environment POSTGRES_PORT"
    ):
        load_settings()


def test_every_bad_value_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTGRES_PORT", "x")
    monkeypatch.setenv("RETRY_BASE_DELAY", "-1")
    with pytest.raises(ConfigurationError, match=r"POSTGRES_PORT.*RETRY_BASE_DELAY"):
        load_settings()


def test_a_secret_is_in_no_message_and_no_repr(clean_place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    settings = load_settings()
    assert "very-secret" not in repr(settings)
    assert "very-secret" not in str([line.value for line in settings.lines()])


def test_deployments_agents_and_sources_are_declared_in_the_file(clean_place: Path) -> None:
    write(
        clean_place,
        """
        [[deployments]]
        name = "local"
        base_url = "http://127.0.0.1:9/v1"
        model = "m"
        roles = ["voter"]

        [[agents]]
        name = "poet"
        purpose = "Writes verse"
        instructions = "Rhyme."

        [[sources]]
        name = "docs"
        url = "http://127.0.0.1:9/search"
        """,
    )
    settings = load_settings()
    assert (settings.deployments[0].name, settings.deployments[0].roles) == ("local", frozenset({"voter"}))
    assert settings.agents[0].name == "poet"
    assert str(settings.sources[0].url) == "http://127.0.0.1:9/search"


async def test_a_declared_deployment_streams_when_it_is_told_to(clean_place: Path) -> None:
    entry = '[[deployments]]\nname = "{}"\nbase_url = "http://127.0.0.1:9/v1"\nmodel = "m"\n'
    write(clean_place, entry.format("whole") + entry.format("pieces") + "streaming = true\nsend_deadline = true\n")
    async with HttpClient() as http:
        found = await find_deployments(load_settings(), http)
    assert [(one.name, one.is_streaming) for one in found] == [("whole", False), ("pieces", True)]
    assert [one.sends_deadline for one in found] == [False, True]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[database]\nprot = 1\n", r"unknown setting database\.prot; known in that section: .*database\.port"),
        (
            "[databse]\nhost = 'x'\n",
            "unknown setting databse.host; the sections are .*cache, context, database, guard, .*, spool",
        ),
        ("port = 1\n", "stands outside any section"),
        ("[database\n", "not valid TOML"),
        ("a = " + "[" * 5_000, "not valid TOML .it nests too deep"),
        ("a = " + "9" * 5_000, "not valid TOML"),
        ('[[deployments]]\nname = "a"\n', r"deployments\.0\.base_url"),
        ('[[agents]]\nname = "a"\npurpose = "b"\ninstructions = "c"\nmood = "d"\n', r"agents\.0\.mood"),
    ],
)
def test_a_mistake_in_the_file_is_named(clean_place: Path, text: str, message: str) -> None:
    write(clean_place, text)
    with pytest.raises(ConfigurationError, match=message):
        load_settings()


def test_a_named_file_that_is_missing_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMNINODE_CONFIG", "/nowhere/omninode.toml")
    with pytest.raises(ConfigurationError, match="does not exist"):
        load_settings()


def test_without_a_breaker_or_retry_setting_the_shipped_policy_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = RouterSettings()
    assert breaker_config(load_settings()) == shipped.breaker
    assert retry_config(load_settings()) == shipped.retry
    assert {line.variable for line in load_settings().lines() if line.value == "(shipped policy)"} == {
        "CIRCUIT_BREAKER_FAILURE_THRESHOLD",
        "CIRCUIT_BREAKER_TIMEOUT_SECONDS",
        "CIRCUIT_BREAKER_SUCCESS_THRESHOLD",
        "RETRY_MAX_RETRIES",
        "RETRY_BASE_DELAY",
        "RETRY_MAX_DELAY",
        "RETRY_BACKOFF_MULTIPLIER",
    }


def test_one_setting_of_a_group_brings_the_documents_defaults_for_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIRCUIT_BREAKER_TIMEOUT_SECONDS", "7")
    monkeypatch.setenv("RETRY_BASE_DELAY", "0.5")
    settings = load_settings()
    breaker, retry = breaker_config(settings), retry_config(settings)
    assert (breaker.failure_threshold, breaker.timeout_seconds, breaker.success_threshold) == (5, 7.0, 2)
    assert breaker.detector is None
    assert (retry.max_retries, retry.base_delay, retry.max_delay) == (3, 0.5, 10.0)


def test_the_spool_of_the_file_is_what_the_spool_takes(clean_place: Path) -> None:
    write(
        clean_place,
        """
        [spool]
        memory_rows = 500
        memory_mib = 2
        disk_mib = 16
        max_age_days = 0.5

        [spool.tables.error_events]
        when_full = "drop_oldest"

        [spool.tables.performance_metrics]
        sample = 100

        [spool.tables.runs]
        when_full = "drop_new"
        """,
    )
    config = load_settings().spool.config()
    assert (config.memory_rows, config.memory_bytes, config.disk_bytes) == (500, 2 * 1024**2, 16 * 1024**2)
    assert (config.segment_bytes, config.max_age_s) == (2 * 1024**2, 43_200)
    assert config.policy("error_events") == TablePolicy(when_full=WhenFull.DROP_OLDEST)
    assert config.policy("performance_metrics") == TablePolicy(when_full=WhenFull.SAMPLE, sample=100)
    assert config.policy("runs") == TablePolicy(durability=Durability.LEDGER, when_full=WhenFull.DROP_NEW)
    assert config.policy("votes") == TablePolicy()


def test_without_a_word_the_spool_is_the_shipped_one() -> None:
    assert load_settings().spool.config() == SpoolConfig()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("disk_mib = 0", "spool.disk_mib: Input should be greater than or equal to 1"),
        ("disc_mib = 5", "spool.disc_mib: Extra inputs"),
        ('tables.votes.when_full = "wait"', "spool.tables.votes.when_full: Input should be 'block'"),
        ('tables.vote.when_full = "block"', "no rows of 'vote' wait in the spool; the tables are agent_performance"),
        ('tables.runs.when_full = "sample"', "tables.runs: a ledger keeps what it took"),
        ("tables.votes.sample = 0", "spool.tables.votes.sample"),
    ],
)
def test_a_bad_spool_is_refused_by_its_key(clean_place: Path, text: str, message: str) -> None:
    write(clean_place, f"[spool]\n{text}\n")
    with pytest.raises(ConfigurationError) as caught:
        load_settings()
    assert message in str(caught.value)
    assert "omninode.toml" in str(caught.value)
