"""The vault: what was taken out comes back, to the letter and however it is cut up; and nothing else of it is seen."""

from __future__ import annotations

import base64
import pickle
import sys

import pytest
from cryptography.exceptions import InvalidTag
from hypothesis import given, settings
from hypothesis import strategies as st

from omninode.core.errors import ConfigurationError, InvalidArgumentError
from omninode.testing.clock import FakeClock
from omninode.validation.placeholders import LONGEST, Placeholders, mentions
from omninode.validation.policy import ValidationPolicy
from omninode.validation.report import Action
from omninode.validation.restorer import StreamRestorer, restore
from omninode.validation.validator import InputValidator
from omninode.validation.vault import MemoryVault, read_vault_key

pytestmark = pytest.mark.unit

KEY = bytes(range(32))
KINDS = ("EMAIL", "AWS_ACCESS_KEY", "PRIVATE_KEY")


def _vault(**options):
    return MemoryVault(KEY, **options)


_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


@settings(deadline=None)
@given(st.lists(st.one_of(_text, st.tuples(st.sampled_from(KINDS), st.text(max_size=40))), max_size=8))
def test_round_trip_is_the_identity(parts):
    names = Placeholders(vault=_vault())
    texts = [part for part in parts if isinstance(part, str)]
    names.reserve(" ".join(texts))
    # A separator that is in no placeholder, as white space or punctuation is around what the rules find.
    sent = "|".join(part if isinstance(part, str) else names.replace(*part) for part in parts)
    assert restore(sent, names.vault) == "|".join(part if isinstance(part, str) else part[1] for part in parts)


@settings(deadline=None)
@given(
    st.lists(
        st.one_of(
            st.text("<>[]\\ _aEMIL1;&gtl\n", max_size=12),
            st.sampled_from(["<<EMAIL_1>>", "EMAIL_2", "<<EMAIL_12>>", "&lt;&lt; email 2 &gt;&gt;", "<", ">", "_1"]),
            st.just("x" * (LONGEST + 3)),
        ),
        max_size=12,
    ).map("".join),
    st.data(),
)
def test_stream_in_any_chunks_is_restored_as_the_whole_is(text, data):
    vault = _vault()
    for name, value in (("EMAIL_1", "a@b.co"), ("EMAIL_2", "<<EMAIL_1>>"), ("EMAIL_12", "")):
        vault.keep(name, value)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=20)))
    restorer = StreamRestorer(vault)
    pieces = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    out = "".join([*(restorer.feed(piece) for piece in pieces), restorer.finish()])
    assert out == restore(text, vault)


def test_stream_holds_back_no_more_than_the_longest_placeholder():
    restorer = StreamRestorer(_vault())
    out = [restorer.feed("word ") for _ in range(100)]
    assert len("".join(out)) == 500 - LONGEST - 1
    assert len("".join(out) + restorer.finish()) == 500


@settings(deadline=None)
@given(st.text("<>[]\\ _aEMIL19;&gtl-", max_size=300))
def test_no_mention_is_longer_than_what_is_held_back(text):
    assert all(mention.end - mention.start <= LONGEST for mention in mentions(text))


def test_the_longest_mention_there_can_be_fits():
    word = "W" * 16
    longest = "\\&lt;&lt;&lt;\\&lt;  " + f"{word}\\_{word}\\_{word}\\_123456" + "  \\&gt;\\&gt;\\&gt;"
    (mention,) = mentions(longest)
    assert (mention.start, mention.end) == (0, len(longest))
    assert len(longest) <= LONGEST


@pytest.mark.parametrize(
    "mangled",
    [
        "<<EMAIL_1>>",
        "<<email_1>>",
        "<< Email_1 >>",
        "<EMAIL_1>",
        "<<EMAIL_1>",
        "<<EMAIL_1",
        "EMAIL_1>>",
        "EMAIL_1",
        "<<EMAIL 1>>",
        "<<EMAIL1>>",
        r"\<\<EMAIL\_1\>\>",
        "&lt;&lt;EMAIL_1&gt;&gt;",
        "[[EMAIL_1]]",
        "<<EMAIL_01>>",
    ],
)
def test_placeholder_mangled_by_a_model_is_restored(mangled):
    vault = _vault()
    vault.keep("EMAIL_1", "a@b.co")
    assert restore(f"to {mangled}, please", vault) == "to a@b.co, please"
    assert restore(f"**{mangled}**", vault) == "**a@b.co**"


@pytest.mark.parametrize(
    "other", ["email_1 = 3", "EMAIL_2", "<<EMAIL_11>>", "XEMAIL_1", "EMAIL_1x", "MY_EMAIL_1", "<b>"]
)
def test_what_is_no_placeholder_stays(other):
    vault = _vault()
    vault.keep("EMAIL_1", "a@b.co")
    assert restore(other, vault) == other


def test_value_is_not_read_again():
    vault = _vault()
    vault.keep("EMAIL_1", "<<EMAIL_2>>")
    vault.keep("EMAIL_2", "secret")
    assert restore("<<EMAIL_1>>", vault) == "<<EMAIL_2>>"


def test_value_is_forgotten_after_its_time_and_at_the_close():
    clock = FakeClock()
    vault = _vault(ttl_s=60, clock=clock)
    vault.keep("EMAIL_1", "a@b.co")
    clock.advance(59)
    vault.keep("EMAIL_2", "c@d.co")
    assert vault.value_of("EMAIL_1") == "a@b.co"
    clock.advance(1)
    assert (vault.value_of("EMAIL_1"), vault.value_of("EMAIL_2")) == (None, "c@d.co")
    vault.close()
    vault.close()
    assert restore("<<EMAIL_2>>", vault) == "<<EMAIL_2>>"


def test_full_vault_refuses_and_counts_and_keeps_what_it_has():
    vault = _vault(max_values=1)
    vault.keep("EMAIL_1", "a@b.co")
    vault.keep("EMAIL_2", "c@d.co")
    vault.keep("EMAIL_1", "e@f.co")
    assert (vault.value_of("EMAIL_1"), vault.value_of("EMAIL_2"), vault.refused) == ("e@f.co", None, 1)


def test_vault_shows_and_hands_over_nothing():
    vault = _vault()
    vault.keep("EMAIL_1", "a@b.co")
    assert repr(vault) == "MemoryVault(1 values)"
    assert b"a@b.co" not in b"".join(sealed for _, sealed in vault._sealed.values())
    with pytest.raises(TypeError, match="not copied"):
        pickle.dumps(vault)


def test_sealed_value_opens_only_under_its_own_name():
    vault = _vault()
    vault.keep("EMAIL_1", "a@b.co")
    vault._sealed["EMAIL_2"] = vault._sealed["EMAIL_1"]
    with pytest.raises(InvalidTag):
        vault.value_of("EMAIL_2")


@pytest.mark.parametrize("size", [16, 24, 32])
def test_key_is_read_in_both_alphabets_of_base64(size):
    key = b"\xff" * size
    assert read_vault_key(base64.b64encode(key).decode() + "\n") == key
    assert read_vault_key(base64.urlsafe_b64encode(key).decode()) == key


@pytest.mark.parametrize("text", ["", "hunter2", base64.b64encode(b"short").decode(), "ü" * 32])
def test_bad_key_is_refused_without_being_shown(text):
    with pytest.raises(ConfigurationError, match="openssl rand") as caught:
        read_vault_key(text)
    assert not text or text not in str(caught.value)


def test_missing_package_is_said_with_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.ciphers.aead", None)
    with pytest.raises(ConfigurationError, match=r"omninode\[vault\]"):
        _vault()


def test_impossible_vaults_are_refused():
    for options in ({"ttl_s": 0}, {"max_values": 0}):
        with pytest.raises(InvalidArgumentError):
            _vault(**options)
    with pytest.raises(InvalidArgumentError, match="5 bytes"):
        MemoryVault(b"short")


async def test_what_the_validator_takes_out_the_vault_puts_back():
    names = Placeholders(vault=_vault())
    prompt = "mail a@b.co, key AKIAIOSFODNN7EXAMPLE, mail a@b.co and c@d.co"
    policy = ValidationPolicy(personal_data=Action.REDACT)
    report = await InputValidator(policy).validate_and_sanitize(prompt, placeholders=names)
    assert report.sanitized_prompt == "mail <<EMAIL_1>>, key <<AWS_ACCESS_KEY_1>>, mail <<EMAIL_1>> and <<EMAIL_2>>"
    assert restore(report.sanitized_prompt, names.vault) == prompt


def test_what_one_vault_sealed_no_other_opens_with_the_same_key():
    one, other = _vault(), _vault()
    one.keep("EMAIL_1", "a@b.co")
    other._sealed.update(one._sealed)
    with pytest.raises(InvalidTag):
        other.value_of("EMAIL_1")
    assert one.value_of("EMAIL_1") == "a@b.co"


_tangled = st.lists(
    st.sampled_from(
        [
            "password: 'tr0ub4dor 4111 1111 1111 1111'",
            "a@b.co",
            "4111111111111111",
            "postgres://u:p%40ss@h.example/x",
            "Cookie: sid=abcdef1234567890; mail=a@b.co",
            "+14155550132",
            "token=aZ3-_9xQ7~kLm2pR",
            "AKIAIOSFODNN7EXAMPLE",
            ",",
            "=",
            "\n",
            '"',
            "93.184.216.34",
            "x",
        ]
    ),
    max_size=8,
).map(" ".join)


@settings(max_examples=200, deadline=None)
@given(_tangled)
def test_tangled_secrets_come_back_to_the_letter(text):
    names = Placeholders(vault=_vault())
    validator = InputValidator(ValidationPolicy(personal_data=Action.REDACT))
    sent = validator.sanitized(text, placeholders=names)
    assert restore(sent, names.vault) == text
    for value in ("a@b.co", "4111", "tr0ub4dor", "AKIAIOSF", "9xQ7", "abcdef12", "55550132"):
        assert value not in sent
