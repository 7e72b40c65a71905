"""A policy written as TOML."""

from __future__ import annotations

from dataclasses import fields

import pytest

from omninode.core.errors import ConfigurationError
from omninode.validation.declared import GuardEntry, read_policy
from omninode.validation.policy import Override, Trust, ValidationPolicy
from omninode.validation.report import Action

pytestmark = pytest.mark.unit


def _read(tmp_path, text):
    path = tmp_path / "policy.toml"
    path.write_text(text)
    return read_policy(path)


def test_nothing_written_is_the_policy_that_ships(tmp_path):
    assert _read(tmp_path, "[guard]\n") == ValidationPolicy()


def test_every_field_of_the_policy_can_be_written():
    written = set(GuardEntry.model_fields) - {"limits", "trust", "route"}
    own = {each.name for each in fields(ValidationPolicy)} - {each.name for each in fields(ValidationPolicy.__mro__[1])}
    assert own - written == {"known_agents", "trusts", "routes", "thread_above_bytes"}


def test_what_is_written_is_the_policy(tmp_path):
    policy = _read(
        tmp_path,
        """
        [other]
        x = 1
        [guard]
        block_score = 0.9
        personal_data = "redact"
        actions = { INJECTION = "flag", "MARKUP.SCRIPT" = "block" }
        allow_phrases = ["a phrase"]
        limits = { max_prompt_bytes = 10 }
        [guard.trust.tool]
        drop_score = 0.5
        [guard.route.planner]
        shadow = true
        """,
    )
    assert (policy.block_score, policy.personal_data, policy.max_prompt_bytes) == (0.9, Action.REDACT, 10)
    assert policy.actions == {"INJECTION": Action.FLAG, "MARKUP.SCRIPT": Action.BLOCK}
    assert policy.allow_phrases == {"a phrase"}
    assert policy.trusts == {Trust.TOOL: Override(drop_score=0.5)}
    assert policy.for_route("planner").shadow


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", r"no table \[guard\]"),
        ("[guard", "cannot be read as TOML"),
        ("[guard]\nblok_score = 1", "guard.blok_score"),
        ("[guard]\nblock_score = 2", "guard.block_score"),
        ("[guard]\nflag_score = 0.9", "flag_score is 0.9, above"),
        ('[guard]\nactions = { SECRET = "kill" }', "guard.actions.SECRET"),
        ('[guard]\nactions = { SECRETS = "block" }', "the families are"),
        ("[guard]\nlimits = { max_x = 1 }", "there is no max_x"),
        ("[guard.trust.friend]\nshadow = true", "guard.trust.friend"),
        ("[guard.route.a]\nflag_score = 0.9", "flag_score is 0.9, above"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(tmp_path, text, said):
    with pytest.raises(ConfigurationError, match=said):
        _read(tmp_path, text)


def test_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigurationError, match=r"none\.toml"):
        read_policy(tmp_path / "none.toml")


@pytest.mark.parametrize("text", ["a = " + "[" * 5_000, "a = " + "9" * 5_000, 'a = "\\ud800"'])
def test_what_the_reader_of_toml_cannot_hold_is_a_file_that_cannot_be_read(tmp_path, text):
    with pytest.raises(ConfigurationError, match="cannot be read as TOML"):
        _read(tmp_path, text)
