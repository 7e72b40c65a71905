"""Every setting, in one table: its name, default, range, and where its value came from.

This is the only module that reads the environment and `omninode.toml`. An environment variable wins over the file,
the file over the default. A bad value stops the start and names the setting, the value, the range and the origin.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import SecretStr, ValidationError
from pydantic.fields import FieldInfo

from omninode.core.errors import ConfigurationError
from omninode.providers.errors import plain_url
from omninode.runtime.declarations import AgentEntry, DeploymentEntry, SourceEntry, SpoolEntry
from omninode.runtime.guard_settings import GuardSettings, setting
from omninode.storage.kept import KEPT_DAYS
from omninode.validation.declared import GuardEntry

__all__ = ["SettingLine", "Settings", "load_settings"]

CONFIG_FILE = "omninode.toml"
# The document's breaker and retries have defaults of their own, which hold as soon as one of their group is set. With
# none set we ship better ones: see `routing.deployment.RouterSettings`.
_BREAKER = frozenset({"breaker_failure_threshold", "breaker_timeout_s", "breaker_success_threshold"})
_RETRY = frozenset({"retry_max_retries", "retry_base_delay_s", "retry_max_delay_s", "retry_backoff_multiplier"})
_DECLARED = ("deployments", "agents", "sources", "guard", "spool")
_SHIPPED = "(shipped policy)"


def _kept(table: str, *, least: float = 0) -> Any:
    """A field that says for how many days the rows of `table` are kept."""
    return setting(
        float(KEPT_DAYS[table]),
        f"OMNINODE_KEEP_{table.upper()}_DAYS",
        f"retention.{table}",
        f"days that rows of {table} are kept" + ("" if least else "; 0: for ever"),
        ge=least,
        le=36_500,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingLine:
    """One setting, fit to be shown."""

    variable: str
    value: str
    origin: str


class Settings(GuardSettings):
    """All settings with their values; `origin(name)` says where each came from."""

    postgres_host: str | None = setting(
        None, "POSTGRES_HOST", "database.host", "Postgres server; unset: the embedded one"
    )
    postgres_port: int = setting(5432, "POSTGRES_PORT", "database.port", "its port", ge=1, le=65535)
    postgres_user: str = setting("postgres", "POSTGRES_USER", "database.user", "user name", min_length=1)
    postgres_password: SecretStr | None = setting(None, "POSTGRES_PASSWORD", "database.password", "password")
    postgres_db: str = setting("omninode", "POSTGRES_DB", "database.name", "database name", min_length=1)
    postgres_sslmode: Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] = setting(
        "prefer", "POSTGRES_SSLMODE", "database.sslmode", "TLS; verify-full: with a trusted certificate of that host"
    )
    postgres_sslrootcert: str | None = setting(
        None,
        "POSTGRES_SSLROOTCERT",
        "database.sslrootcert",
        "PEM file of who is trusted; unset: whom the system trusts",
    )
    connection_pool_size: int = setting(
        10, "CONNECTION_POOL_SIZE", "database.pool_size", "connections at most", ge=2, le=500
    )
    postgres_pool_mode: Literal["session", "transaction"] = setting(
        "session",
        "POSTGRES_POOL_MODE",
        "database.pool_mode",
        "transaction: a proxy between us and the server lends a connection for one transaction (PgBouncer)",
    )
    batch_operation_size: int = setting(
        100, "BATCH_OPERATION_SIZE", "database.batch_size", "rows of the first batch of a batch write", ge=1, le=10_000
    )
    data_dir: Path | None = setting(
        None, "OMNINODE_DATA_DIR", "database.data_dir", "where the embedded database, the spool and the logs live"
    )

    performance_monitoring_enabled: bool = setting(
        True,
        "PERFORMANCE_MONITORING_ENABLED",
        "monitoring.enabled",
        "store measurements (performance_metrics, agent_performance), sample resources, raise alerts",
    )
    store_payloads: bool = setting(
        False,
        "OMNINODE_STORE_PAYLOADS",
        "monitoring.store_payloads",
        "store what models are sent and what they answer (llm_payloads), with secrets redacted",
    )
    log_level: Literal["debug", "info", "warning", "error"] = setting(
        "info", "OMNINODE_LOG_LEVEL", "monitoring.log_level", "lowest level written to the log streams"
    )

    keep_performance_metrics: float = _kept("performance_metrics")
    keep_llm_calls: float = _kept("llm_calls")
    keep_llm_payloads: float = _kept("llm_payloads")
    keep_agent_performance: float = _kept("agent_performance")
    keep_error_events: float = _kept("error_events")
    keep_runs: float = _kept("runs")
    keep_tasks: float = _kept("tasks")
    keep_votes: float = _kept("votes")
    keep_alerts: float = _kept("alerts")
    keep_batch_operation_logs: float = _kept("batch_operation_logs")
    keep_dead_letters: float = _kept("dead_letters")
    keep_context_learning: float = _kept("context_learning")
    keep_rollup_minutes: float = _kept("rollup_minutes", least=2)
    keep_rollup_hours: float = _kept("rollup_hours")

    breaker_failure_threshold: int = setting(
        5,
        "CIRCUIT_BREAKER_FAILURE_THRESHOLD",
        "resilience.failure_threshold",
        "failures in a row that open a breaker",
        ge=1,
        le=10_000,
    )
    breaker_timeout_s: float = setting(
        30.0,
        "CIRCUIT_BREAKER_TIMEOUT_SECONDS",
        "resilience.timeout_seconds",
        "seconds a breaker stays open",
        gt=0,
        le=86_400,
    )
    breaker_success_threshold: int = setting(
        2,
        "CIRCUIT_BREAKER_SUCCESS_THRESHOLD",
        "resilience.success_threshold",
        "successful probes that close it",
        ge=1,
        le=10_000,
    )
    retry_max_retries: int = setting(
        3, "RETRY_MAX_RETRIES", "resilience.max_retries", "retries after the first attempt", ge=0, le=100
    )
    retry_base_delay_s: float = setting(
        0.1,
        "RETRY_BASE_DELAY",
        "resilience.base_delay",
        "longest wait before the first retry, in seconds",
        ge=0,
        le=3_600,
    )
    retry_max_delay_s: float = setting(
        10.0, "RETRY_MAX_DELAY", "resilience.max_delay", "longest wait before any retry, in seconds", ge=0, le=86_400
    )
    retry_backoff_multiplier: float = setting(
        2.0,
        "RETRY_BACKOFF_MULTIPLIER",
        "resilience.backoff_multiplier",
        "growth of the wait from retry to retry",
        ge=1,
        le=100,
    )

    openai_api_key: SecretStr | None = setting(
        None, "OPENAI_API_KEY", "models.openai_api_key", "key of an OpenAI endpoint"
    )
    openai_base_url: str | None = setting(
        None, "OPENAI_BASE_URL", "models.openai_base_url", "address of an OpenAI-compatible endpoint, with its /v1"
    )
    anthropic_api_key: SecretStr | None = setting(
        None, "ANTHROPIC_API_KEY", "models.anthropic_api_key", "key of the Anthropic API"
    )
    ollama_url: str = setting(
        "http://127.0.0.1:11434",
        "OMNINODE_OLLAMA_URL",
        "models.ollama_url",
        "a local Ollama, used when no model is named",
    )
    cache_ttl_s: float = setting(
        3600.0,
        "OMNINODE_CACHE_TTL_SECONDS",
        "cache.ttl_seconds",
        "seconds an answer is kept for identical calls; 0: off",
        ge=0,
        le=31_536_000,
    )
    cache_max_entries: int = setting(
        10_000, "OMNINODE_CACHE_MAX_ENTRIES", "cache.max_entries", "answers kept at most", ge=1, le=10_000_000
    )

    gather_timeout_s: float = setting(
        15.0,
        "OMNINODE_GATHER_TIMEOUT_SECONDS",
        "context.timeout_seconds",
        "seconds that gathering context may take",
        gt=0,
        le=3_600,
    )
    task_context_tokens: int = setting(
        6_000,
        "OMNINODE_TASK_CONTEXT_TOKENS",
        "context.task_tokens",
        "tokens of context a task is sent at most",
        ge=0,
        le=2_000_000,
    )
    quorum_timeout_s: float = setting(
        60.0, "OMNINODE_QUORUM_TIMEOUT_SECONDS", "quorum.timeout_seconds", "seconds a voter is given", gt=0, le=3_600
    )
    audit_key: SecretStr | None = setting(
        None, "OMNINODE_AUDIT_KEY", "audit.key", "seals checkpoints of the audit log", min_length=16
    )
    server_host: str = setting("127.0.0.1", "OMNINODE_HOST", "server.host", "where the dashboard listens")
    server_port: int = setting(8420, "OMNINODE_PORT", "server.port", "its port", ge=0, le=65535)
    server_host_names: str = setting(
        "", "OMNINODE_HOST_NAMES", "server.host_names", "further names it is reached by, with commas between"
    )
    server_key: SecretStr | None = setting(
        None, "OMNINODE_SERVER_KEY", "server.key", "needed to listen beyond loopback"
    )

    deployments: tuple[DeploymentEntry, ...] = ()
    agents: tuple[AgentEntry, ...] = ()
    sources: tuple[SourceEntry, ...] = ()
    guard: GuardEntry = GuardEntry()
    spool: SpoolEntry = SpoolEntry()

    def origin(self, name: str) -> str:
        """`default`, `environment NAME` or the path of the file, for the field `name`."""
        return _origin(name, _environment(), _read_file(self.config_path())[1])

    @property
    def kept_days(self) -> Mapping[str, float]:
        """For how many days the rows of each table are kept; 0: for ever."""
        return {table: getattr(self, f"keep_{table}") for table in KEPT_DAYS}

    @property
    def describes_breaker(self) -> bool:
        """Whether any of the CIRCUIT_BREAKER_ settings was given; otherwise the shipped breaker is used."""
        return not _BREAKER.isdisjoint(self.model_fields_set)

    @property
    def describes_retry(self) -> bool:
        """Whether any of the RETRY_ settings was given; otherwise the shipped retries are used."""
        return not _RETRY.isdisjoint(self.model_fields_set)

    def _is_shipped(self, name: str) -> bool:
        return (name in _BREAKER and not self.describes_breaker) or (name in _RETRY and not self.describes_retry)

    def lines(self) -> tuple[SettingLine, ...]:
        """Every single setting as it may be shown: secrets masked, with its origin."""
        environment, flat = _environment(), _read_file(self.config_path())[1]
        return tuple(
            SettingLine(
                variable=str(_extra(info)["env"]),
                value=_SHIPPED if self._is_shipped(name) else _shown(getattr(self, name)),
                origin=_origin(name, environment, flat),
            )
            for name, info in type(self).model_fields.items()
            if "env" in _extra(info)
        )

    @staticmethod
    def config_path() -> Path:
        """The configuration file that counts: OMNINODE_CONFIG, or `omninode.toml` in the working directory."""
        return Path(os.environ.get("OMNINODE_CONFIG") or CONFIG_FILE)

    def api_key(self, variable: str) -> str | None:
        """The value of the environment variable that a deployment names for its key; None when unset or empty."""
        return os.environ.get(variable) or None


def load_settings(**overrides: Any) -> Settings:
    """The settings of this process; `overrides` (by field name) win over everything.

    Raises ConfigurationError with one line per bad value.
    """
    path = Settings.config_path()
    declared, flat = _read_file(path)
    environment = _environment()
    values: dict[str, Any] = {**declared, **flat, **environment, **overrides}
    try:
        return Settings(**values)
    except ValidationError as error:
        problems = [_problem(entry, environment, flat, path) for entry in error.errors()]
        raise ConfigurationError("; ".join(problems)) from None


def _environment() -> dict[str, str]:
    """Field name to value, for each documented variable that is set and not empty."""
    found = {}
    for name, info in Settings.model_fields.items():
        variable = _extra(info).get("env")
        if variable and os.environ.get(variable, "") != "":
            found[name] = os.environ[variable]
    return found


def _read_file(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the file declares (deployments, agents, sources, guard, spool), and its single values by field name."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        if os.environ.get("OMNINODE_CONFIG"):
            raise ConfigurationError(f"OMNINODE_CONFIG names {path}, which does not exist") from None
        return {}, {}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: cannot be read ({error}); mend or remove it") from None
    try:
        data = tomllib.loads(text)
    except RecursionError:
        raise ConfigurationError(f"{path}: not valid TOML (it nests too deep)") from None
    except ValueError as error:  # of TOML, and of a number with thousands of digits
        raise ConfigurationError(f"{path}: not valid TOML ({error})") from None
    declared: dict[str, Any] = {name: data.pop(name) for name in _DECLARED if name in data}
    return declared, _flatten(data, path)


def _flatten(data: Mapping[str, Any], path: Path) -> dict[str, Any]:
    keys = {str(_extra(info)["toml"]): name for name, info in Settings.model_fields.items() if "toml" in _extra(info)}
    flat = {}
    for section, entries in data.items():
        if not isinstance(entries, dict):
            raise ConfigurationError(f"{path}: {section!r} stands outside any section; see docs/configuration.md")
        for key, value in entries.items():
            name = keys.get(f"{section}.{key}")
            if name is None:
                raise ConfigurationError(f"{path}: unknown setting {section}.{key}; {_known(section, keys)}")
            flat[name] = value
    return flat


def _known(section: str, keys: Iterable[str]) -> str:
    inside = sorted(key for key in keys if key.startswith(f"{section}."))
    if inside:
        return f"known in that section: {', '.join(inside)}"
    return f"the sections are {', '.join(sorted({'guard', 'spool', *(key.split('.')[0] for key in keys)}))}"


def _origin(name: str, environment: Mapping[str, Any], flat: Mapping[str, Any]) -> str:
    if name in environment:
        return f"environment {_extra(Settings.model_fields[name])['env']}"
    if name in flat:
        return str(Settings.config_path())
    return "default"


# Any: pydantic's description of one error.
def _problem(entry: Mapping[str, Any], environment: Mapping[str, Any], flat: Mapping[str, Any], path: Path) -> str:
    """One line: which setting, its value, what is allowed, and where the value stands."""
    name, *inner = entry["loc"]
    if name not in Settings.model_fields:
        return f"{name}: {entry['msg']}"
    info = Settings.model_fields[name]
    if "env" not in _extra(info):
        return f"{path}: {name}.{'.'.join(map(str, inner))}: {entry['msg']}"
    given = {**flat, **environment}.get(name)
    shown = "" if "SecretStr" in str(info.annotation) else f" is {_shown(given)!r}"
    origin = _origin(name, environment, flat)
    return f"{_extra(info)['env']}{shown}: {entry['msg']}{_allowed(info)} (from {origin})"


def _allowed(info: FieldInfo) -> str:
    """The range of a number, in words; empty where there is none."""
    words = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
    bounds = [
        f"{word} {getattr(limit, kind)}"
        for limit in info.metadata
        for kind, word in words.items()
        if hasattr(limit, kind)
    ]
    return f"; allowed is {', '.join(bounds)}" if bounds else ""


def _shown(value: object) -> str:
    if isinstance(value, SecretStr):
        return "(set)"
    if isinstance(value, str) and "://" in value:
        return plain_url(value)
    return "(unset)" if value is None else str(value)


def _extra(info: FieldInfo) -> Mapping[str, Any]:
    return info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
