"""No planted secret survives, wherever in a structure it hides."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from omninode.telemetry.redact import REDACTED, redact, redact_error, redact_text

pytestmark = pytest.mark.unit

# Made up, in the shape of the real ones.
KEY = "sk-ant-api03-Zq8Xw3Lm5Tn7Vb2Kc9Rd4Hf6"
TOKEN = "ghp_a8B2c4D6e8F1g3H5i7J9k2L4m6N8p1Q3r5S7"
NAMES = ["api_key", "apiKey", "API-KEY", "password", "Authorization", "client_secret", "X-Api-Key", "set-cookie", "dsn"]

leaves = st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=10), st.binary(max_size=8))
wrappers = st.lists(st.sampled_from(["list", "tuple", "dict", "set", "bytes", "error", "text", "key"]), max_size=5)


def wrapped(secret: str, shells: list[str], filler: object) -> object:
    value: object = secret
    for shell in shells:
        match shell:
            case "list":
                value = [filler, value]
            case "tuple":
                value = (value, filler)
            case "dict":
                value = {"note": value, "other": filler}
            case "key":
                value = {str(value): filler}
            case "set":
                value = {str(value)}
            case "bytes":
                value = str(value).encode()
            case "error":
                value = RuntimeError(f"failed with {value}")
            case "text":
                value = f"before {value} after"
    return value


@given(st.sampled_from([KEY, TOKEN]), wrappers, leaves)
def test_a_planted_secret_never_survives(secret, shells, filler):
    assert secret not in repr(redact(wrapped(secret, shells, filler)))


@given(st.sampled_from(NAMES), st.text(min_size=1), wrappers)
def test_a_value_under_a_telling_name_goes_whatever_it_looks_like(name, secret, shells):
    assert redact({"outer": [{name: wrapped(secret, shells, None)}]}) == {"outer": [{name: REDACTED}]}


@pytest.mark.parametrize(
    "name", ["tokens_in", "tokens_out", "key_columns", "author", "passed", "metric", "password_set"]
)
def test_harmless_names_keep_their_values(name):
    assert redact({name: 12}) == {name: 12}


def test_plain_values_pass_unchanged():
    plain = {"a": 1, "b": [1.5, None, True], "c": "a sentence about tokens"}
    assert redact(plain) == plain


def test_a_structure_that_holds_itself_ends_somewhere():
    loop: dict[str, object] = {}
    loop["self"] = loop
    assert b"too deep" in orjson.dumps(redact(loop))


def test_a_traceback_is_cleaned_with_its_causes():
    def inner() -> None:
        raise ValueError(f"401 for {KEY}")

    try:
        try:
            inner()
        except ValueError as error:
            raise RuntimeError(f"gave up with {TOKEN}") from error
    except RuntimeError as error:
        text = redact_error(error)
    assert KEY not in text
    assert TOKEN not in text
    assert "in inner" in text
    assert "RuntimeError: gave up" in text


@given(st.text())
def test_redacting_twice_is_redacting_once(text):
    assert redact_text(redact_text(text)) == redact_text(text)
