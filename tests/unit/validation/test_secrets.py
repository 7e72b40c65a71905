"""Secrets: every kind is found wherever it stands, and ordinary text is left alone."""

from __future__ import annotations

import json
import tomllib
from importlib.resources import files
from itertools import pairwise

import pytest
import re2
from hypothesis import given, settings
from hypothesis import strategies as st

from omninode.core.errors import InvalidArgumentError
from omninode.validation.redactor import StreamRedactor
from omninode.validation.secrets import is_sensitive_name, placeholder, redact, scan

pytestmark = pytest.mark.unit

ALNUM = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
HEX = "0123456789abcdef"


def _mixed(alphabet=ALNUM, *, size):
    """Random characters that always hold a letter and a digit, as generated keys do."""
    return st.text(alphabet, min_size=size - 6, max_size=size - 6).map(lambda text: "a1B2c3"[: len("a1B2c3")] + text)


def _hex(size):
    return st.text(HEX, min_size=size, max_size=size)


SECRETS = {
    "OPENAI_KEY": _mixed(size=48).map("sk-{}".format) | _mixed(size=60).map("sk-proj-{}".format),
    "ANTHROPIC_KEY": _mixed(size=60).map("sk-ant-api03-{}".format),
    "GITHUB_TOKEN": _mixed(size=36).map("ghp_{}".format) | _mixed(size=60).map("github_pat_{}".format),
    "GITLAB_TOKEN": _mixed(size=20).map("glpat-{}".format),
    "AWS_ACCESS_KEY": st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", min_size=14, max_size=14).map("AKIAQ7{}".format),
    "GOOGLE_KEY": _mixed(size=35).map("AIza{}".format),
    "SLACK_TOKEN": _mixed(size=40).map("xoxb-{}".format),
    "STRIPE_KEY": _mixed(size=24).map("sk_live_{}".format),
    "HUGGINGFACE_TOKEN": _mixed("abcdefGH", size=34).map(lambda text: "hf_" + text.replace("a1B2c3", "abcDEF")),
    "PROVIDER_KEY": _hex(64).map("dop_v1_{}".format) | _mixed(size=40).map("gsk_{}".format),
    "JWT": st.tuples(_mixed(size=30), _mixed(size=43)).map(lambda pair: f"eyJhbGciOiJIUzI1NiJ9.{pair[0]}.{pair[1]}"),
    "PRIVATE_KEY": _mixed(size=64).map(
        lambda body: f"-----BEGIN RSA PRIVATE KEY-----\n{body}\n{body}\n-----END RSA PRIVATE KEY-----"
    ),
}
_planted = st.one_of(*SECRETS.values())
_around = st.text(st.characters(exclude_categories=["Cs"]), max_size=30).map(lambda text: f"{text} ")
# What a key is glued to: letters, digits and signs, the escapes of other notations, the beginnings of other keys.
_glue = st.lists(
    st.sampled_from(["token", "KEY", "x", "Z", "0", "_", "-", "\\n", "\\t", "\\u0022", "%3D", "%0a", "\x1b[0m", "é"])
    | st.sampled_from(
        ["=", '"', "ghp_", "sk-", "AKIA", "eyJ", "key", "ta", "mon", "ASIA", "shel", "public_", "\n", "&"]
    )
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=3),
    max_size=4,
).map("".join)


@pytest.mark.parametrize("kind", SECRETS)
@settings(max_examples=60)
@given(data=st.data())
def test_planted_secret_never_survives_whatever_it_is_glued_to(kind, data):
    secret = data.draw(SECRETS[kind])
    before, after = data.draw(_glue), data.draw(_glue)
    assert secret not in redact(f"{before}{secret}{after}"), (before, after)
    assert secret not in redact(json.dumps({"a": [f"{before}\n{secret}{after}"]})), (before, after)


@pytest.mark.parametrize("kind", SECRETS)
@settings(max_examples=25)
@given(data=st.data())
def test_planted_secret_never_survives(kind, data):
    secret = data.draw(SECRETS[kind])
    before, after = data.draw(_around), data.draw(_around)
    redacted = redact(f"{before}{secret} {after}")
    assert secret not in redacted
    assert placeholder(kind) in redacted


@settings(max_examples=100)
@given(_planted, _around)
def test_secret_nested_in_json_never_survives(secret, around):
    nested = json.dumps({"headers": [{"note": around, "x-key": secret}]})
    again = json.dumps({"body": nested})
    body = secret.replace("\n", "\\n")
    assert body not in redact(nested)
    assert secret.split("\n")[-2 if "\n" in secret else 0] not in redact(again)


@settings(max_examples=150)
@given(st.lists(_planted | st.text(max_size=20), max_size=4).map(" ".join))
def test_redacting_twice_is_redacting_once_and_spans_are_in_order(text):
    once = redact(text)
    assert redact(once) == once
    places = [place for secret in scan(text) for place in (secret.start, secret.end)]
    assert places == sorted(places)
    assert all(0 <= place <= len(text) for place in places)


@given(st.text())
def test_any_string_is_accepted(text):
    redact(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("postgres://app:hunter2@db:5432/x", "postgres://app:[REDACTED:URL_PASSWORD]@db:5432/x"),
        ("redis://:s3cret@cache", "redis://:[REDACTED:URL_PASSWORD]@cache"),
        ("Authorization: Bearer abcdef1234567890XYZ", "Authorization: Bearer [REDACTED:AUTHORIZATION]"),
        ("authorization: Basic dXNlcjpwYXNz", "authorization: Basic [REDACTED:AUTHORIZATION]"),
        ("Cookie: sid=abcdef1234567890", "Cookie: [REDACTED:COOKIE]"),
        ("POSTGRES_PASSWORD=correct-horse-9", "POSTGRES_PASSWORD=[REDACTED:PASSWORD]"),
        ('db_password: "simple"', 'db_password: "[REDACTED:PASSWORD]"'),
        ('{"password": "simple words here"}', '{"password": "[REDACTED:PASSWORD]"}'),
        ("my password is tr0ub4dor&3", "my password is [REDACTED:PASSWORD]"),
        ('API_KEY = "abcd1234EFGH5678"', 'API_KEY = "[REDACTED:CREDENTIAL]"'),
        ("client_secret=aZ3-_9xQ7~kLm2pR", "client_secret=[REDACTED:CREDENTIAL]"),
        (
            "aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            "aws_secret_access_key = [REDACTED:AWS_SECRET_KEY]",
        ),
        ("card 4111-1111-1111-1111, 5500 0000 0000 0004", "card [REDACTED:CARD_NUMBER], [REDACTED:CARD_NUMBER]"),
        ("amex 378282246310005.", "amex [REDACTED:CARD_NUMBER]."),
        ("pay to DE89 3704 0044 0532 0130 00 now", "pay to [REDACTED:IBAN] now"),
        ("GB29NWBK60161331926819", "[REDACTED:IBAN]"),
        ("AccountKey=" + "Ab1+" * 11 + "==;x", "AccountKey=[REDACTED:AZURE_KEY];x"),
        ("123456789:AA" + "Ab1-_" * 6 + "xyz", "[REDACTED:TELEGRAM_TOKEN]"),
        ("0ghp_" + "a1B2" * 9, "0[REDACTED:GITHUB_TOKEN]"),
        ("tokenghp_" + "a1B2" * 9, "token[REDACTED:GITHUB_TOKEN]"),
        ("xAKIAIOSFODNN7EXAMPLEx", "x[REDACTED:AWS_ACCESS_KEY]x"),
        ("KEYAKIAIOSFODNN7EXAMPLE", "KEY[REDACTED:AWS_ACCESS_KEY]"),
        (
            r"keys:\nsk-" + "a1" * 16 + r"\tAKIAIOSFODNN7EXAMPLE",
            r"keys:\n[REDACTED:OPENAI_KEY]\t[REDACTED:AWS_ACCESS_KEY]",
        ),
        ("key%3Dsk-" + "a1" * 16, "key%3D[REDACTED:OPENAI_KEY]"),
        ("\x1b[0msk-" + "a1" * 16, "\x1b[0m[REDACTED:OPENAI_KEY]"),
        ("tokeneyJeyJhbGciOiJIUzI1NiJ9." + "a1B2c3" * 4 + "." + "a1B2c3" * 8, "token[REDACTED:JWT]"),
        ("task-notes-sk-" + "a1" * 16, "task-notes-[REDACTED:OPENAI_KEY]"),
        (r"pay\nDE89370400440532013000 or\n4111 1111 1111 1111", r"pay\n[REDACTED:IBAN] or\n[REDACTED:CARD_NUMBER]"),
        ("half \ud800 AKIAIOSFODNN7EXAMPLE", "half \ud800 [REDACTED:AWS_ACCESS_KEY]"),
        ("ünï AKIAIOSFODNN7EXAMPLE ö", "ünï [REDACTED:AWS_ACCESS_KEY] ö"),
    ],
)
def test_secret_is_replaced_where_it_stands(text, expected):
    assert redact(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "public_key monkey keyboard turkey = 'hello world'",
        "public_key-9f86d081884c7d659a2feaa0c55ad015 monkey-9f86d081884c7d659a2feaa0c55ad015",
        "task-something-with-many-words-2024-and-more disk-utilization-alert-2024-01 Ask-me-anything-2024-edition",
        "task-9f86d081884c7d659a2feaa0c55ad015 risk-0190f3c47d2e7a1b8c3d4e5f6a7b8c9d",
        "task_test_configuration1loader task_live_updates2forever",
        "SLOVAKIACHAMPIONSHIPSTADIUM EURASIAPACIFICCOOPERATIONFORUM",
        "monkeyJustification.description hockeyJerseys2024.listOfAllPlayers keyJavaScript1.propertyNames",
        "highs_20240101T000000Z123456 shelf_configurationoftheshelvesinthestore",
        "ORDERDE89370400440532013000 x4111111111111111",
        "max_tokens=4096 tokens: 100000 token_type='bearer'",
        "password: str | None = None",
        "password=os.environ['DB_PASSWORD']",
        "password = settings.database.password",
        "PASSWORD=${DB_PASSWORD} TOKEN=$GITHUB_TOKEN",
        "Set password=<your password> and api_key={api_key}",
        "the secret of good naming is patience",
        "curl -H 'Authorization: Bearer $TOKEN'",
        "commit 2a9340769f0e1c5b8d4e3f2a1b0c9d8e7f6a5b4c",
        "id 0190f3c4-7d2e-7a1b-8c3d-4e5f6a7b8c9d at 1763836800000000000",
        "order 4111111111111112 is not a card",
        "http://localhost:8080/a@b and user@example.com and ssh://git@github.com/x",
        "sk-learn and sk-something-without-any-number-at-all",
        "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQ\n-----END PUBLIC KEY-----",
        "def token(self) -> str: return self._token",
        "secret: [REDACTED:CREDENTIAL]",
        "",
    ],
)
def test_ordinary_text_is_left_alone(text):
    assert redact(text) == text


def test_private_key_cut_off_by_a_log_line_is_replaced_too():
    cut = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAABG5vbmU\nAAAAEbm9uZQAAAAAAAAABAAAA"
    assert redact(f"log: {cut}") == "log: [REDACTED:PRIVATE_KEY]"


def test_overlapping_secrets_leave_nothing_of_either():
    text = "postgres://u:ghp_" + "a1B2" * 9 + "@host"
    assert redact(text) == "postgres://u:[REDACTED:GITHUB_TOKEN]@host"


def test_clean_text_is_returned_as_the_same_object():
    text = "run 7 finished in 20 ms with 5 tasks"
    assert redact(text) is text


def test_every_anchor_is_part_of_what_its_rule_matches():
    rules = tomllib.loads(files("omninode.validation").joinpath("secret_rules.toml").read_text())["rule"]
    assert {rule["kind"] for rule in rules} >= set(SECRETS) | {"CARD_NUMBER", "IBAN", "URL_PASSWORD", "PASSWORD"}
    for rule in rules:
        re2.compile(rule["anchor"])
        re2.compile(rule["pattern"])


@pytest.mark.parametrize(
    "name",
    [
        "password",
        "POSTGRES_PASSWORD",
        "api_key",
        "x-api-key",
        "apiKey",
        "Authorization",
        "client_secret",
        "clientSecret",
        "access_token",
        "refreshToken",
        "Set-Cookie",
        "private_key",
        "db_pwd",
        "passphrase",
        "credentials",
    ],
)
def test_names_that_hold_secrets(name):
    assert is_sensitive_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "token_count",
        "max_tokens_used",
        "public_key",
        "monkey",
        "key",
        "keyboard",
        "prompt",
        "input_tokens",
        "tokenizer",
        "password_hint_shown",
        "secretary",
        "bypass",
        "\ud800",
    ],
)
def test_names_that_do_not(name):
    assert not is_sensitive_name(name)


@settings(max_examples=80, deadline=None)
@given(st.lists(_planted, min_size=1, max_size=3), st.integers(0, 300), st.data())
def test_planted_secret_split_over_chunks_never_survives(secrets, filler, data):
    text = "".join(f"{'word and ' * data.draw(st.integers(0, filler))}{secret} \n" for secret in secrets)
    redactor = StreamRedactor(look_ahead=200)
    cuts = sorted({0, len(text), *data.draw(st.lists(st.integers(0, len(text)), max_size=12))})
    pieces = [text[start:end] for start, end in pairwise(cuts)]
    out = "".join([*map(redactor.feed, pieces), redactor.finish()])
    for secret in secrets:
        assert secret not in out
        assert max(secret.split("\n"), key=len) not in out
    assert out == redact(text)


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.tuples(_glue, _planted | st.sampled_from(["task-of-many-words-2024-and-more", "monkey", ""]))),
    st.integers(0, 400),
    st.lists(st.integers(0, 4_000), max_size=12),
)
def test_a_stream_is_redacted_as_the_whole_text_is_whatever_keys_are_glued_to(parts, filler, cuts):
    text = "word " * filler + "".join(f"{glue}{planted}" for glue, planted in parts) + " end" * filler
    redactor = StreamRedactor(look_ahead=200)
    cuts = sorted({0, len(text), *(min(cut, len(text)) for cut in cuts)})
    out = "".join([*(redactor.feed(text[start:end]) for start, end in pairwise(cuts)), redactor.finish()])
    assert out == redact(text)
    assert all(planted not in out for _, planted in parts if placeholder("X")[:3] in redact(planted))


@pytest.mark.parametrize("cut", range(205))
def test_a_word_cut_in_two_is_no_key(cut):
    text = "x" * 60 + " task-of-many-words-2024-and-more " + "y " * 60
    redactor = StreamRedactor(look_ahead=64)
    assert redactor.feed(text[:cut]) + redactor.feed(text[cut:]) + redactor.finish() == text


def test_secret_is_told_by_a_word_that_was_let_go_before_it():
    redactor = StreamRedactor(look_ahead=64)
    text = "x " * 100 + "my password is tr0ub4dor&3-and-more" + " y" * 100
    out = "".join([*map(redactor.feed, text), redactor.finish()])
    assert out == redact(text)
    assert "tr0ub" not in out


def test_what_is_held_is_bounded_and_text_without_secrets_comes_through():
    redactor = StreamRedactor(look_ahead=64, max_held=128)
    text = "sk-" + "a1B2" * 500
    out = [redactor.feed(text[at : at + 10]) for at in range(0, len(text), 10)]
    assert len(redactor._held) <= 128 + 10
    assert "".join([*out, redactor.feed(" after"), redactor.finish()]) == "[REDACTED:OPENAI_KEY] after"
    plain = "The cache holds 100 entries. " * 40
    assert "".join([*map(redactor.feed, plain), redactor.finish()]) == plain
    with pytest.raises(InvalidArgumentError, match="look_ahead is 5"):
        StreamRedactor(look_ahead=5)
