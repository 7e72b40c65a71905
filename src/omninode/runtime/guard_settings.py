"""The settings of the guard: what is kept from models and what of their answers is kept from the reader."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from omninode.validation.spotlight import Mode

__all__ = ["GuardSettings", "setting"]


def setting(default: Any, env: str, toml: str, doc: str, **bounds: Any) -> Any:
    """A field that is read from the variable `env` or from `section.key` of the file."""
    return Field(default, validation_alias=env, description=doc, json_schema_extra={"env": env, "toml": toml}, **bounds)


class GuardSettings(BaseModel):
    """What the guard of a run does; part of `Settings`."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, hide_input_in_errors=True)

    vault: bool = setting(
        False,
        "OMNINODE_VAULT",
        "vault.enabled",
        "put what was replaced in a prompt back into the report its sender gets; needs the extra omninode[vault]",
    )
    vault_key: SecretStr | None = setting(
        None,
        "OMNINODE_VAULT_KEY",
        "vault.key",
        "the vault's key: 16, 24 or 32 bytes in base64 (openssl rand -base64 32)",
    )
    vault_ttl_s: float = setting(
        3600.0,
        "OMNINODE_VAULT_TTL_SECONDS",
        "vault.ttl_seconds",
        "seconds after which a value is not put back any more",
        gt=0,
        le=86_400,
    )
    spotlight: Mode = setting(
        "delimit",
        "OMNINODE_SPOTLIGHT",
        "context.spotlight",
        "how text from outside is marked in prompts: delimit (by a boundary), datamark, encode (base64), off",
    )
