"""What software trips over, by the kinds of the Big List of Naughty Strings (M. Woolf) and of lists of payloads
(PayloadsAllTheThings): examples of our own for each kind.

None of it is refused, since people write about all of it; what stays hidden is taken out.
"""

from __future__ import annotations

import io
import json
import unicodedata

import pytest

from omninode.validation.guard import guard
from omninode.validation.output import check_output
from omninode.validation.policy import Trust, ValidationPolicy
from omninode.validation.records import read_lines, read_text
from omninode.validation.report import Action
from omninode.validation.sarif import sarif
from omninode.validation.secrets import redact
from omninode.validation.validator import InputValidator

pytestmark = pytest.mark.unit

_ZALGO = "".join(letter + "\u0321\u0353\u031e\u0345" * 8 for letter in "he comes")

# ruff: noqa: RUF001 - letters that look like others are what this is about
# Passed on as it is, but for Unicode's composition (NFC).
PLAIN = {
    "reserved": ["undefined", "null", "None", "NIL", "true", "hasOwnProperty", "__proto__", "constructor", "\\"],
    "numbers": ["0", "-1/2", "1E+02", "0x0", "NaN", "-Infinity", "1,000.00", "9" * 400, "0..0", "1e309", "٣٤٥", "½²"],
    "signs": [",./;'[]-=", '<>?:"{}|_+', "!@#$%^&*()`~", "…∞§¶", "ಠ_ಠ", "'", '"', "''''\"'", "“‘’”", "\u037e"],
    "wide": ["田中さん", "한국어", "𠮷野家", "กำ", "᚛ᚄᚓᚐᚋᚒᚄ᚜", "Ωß İı ŉ ﬁ", "ʇxǝʇ", "𝕿𝖍𝖊", "ⓐⓑ", "ｆｕｌｌ"],
    "right to left": ["שלום עולם", "می\u200cخواهم", "مرحبا 123 abc", "ﷺﷺﷺ", "الكل في المجمو عة"],
    "emoji": ["👨\u200d👩\u200d👧", "👍🏽", "🇩🇪🇺", "1\ufe0f\u20e3", "🏴󠁧󠁢󠁥󠁮󠁧󠁿"[:1], "❤\ufe0f\u200d🔥", "(╯°□°)╯︵ ┻━┻"],
    "stacked marks": ["H" + "\u0489" * 3, "a" + "\u0300" * 500, _ZALGO, "\u0e47" * 40],
    "white space": ["\u2001\u2003\u3000 x", "x\u00a0y", "a\tb\n\nc", "x\r\ny", "x\u2028y\u2029z", "\u1680x"],
    "script": [
        "<b>bold",
        "<img src=x onerror=alert(1)>",
        "<svg><script>1</script>",
        "javascript:alert(1)",
        "]]>",
        "<a href='jav&#x09;ascript:x'>",
        "\"><iframe srcdoc='<script>x</script>'>",
        "<style>@import 'x'</style>",
        "<details open ontoggle=x>",
        "--><!--",
        "<math><mtext></script>",
    ],
    "sql": [
        "1;DROP TABLE users",
        "' OR 1=1 -- ",
        "1 UNION SELECT NULL",
        "admin'/*",
        "'; EXEC xp_dirtree 'x' --",
        "a'||'b",
    ],
    "other queries": [
        '{"$gt": ""}',
        "*)(uid=*))(|(uid=*",
        "' or count(/*)=1 or '",
        "db.users.drop()",
        "MATCH (n) DELETE n",
    ],
    "shell": [
        "$HOME",
        "`touch x`",
        "$(id)",
        "x; ls -la",
        "| cat /etc/hosts",
        "& ping x",
        "() { :; }; x",
        "{cat,x}",
        "%COMSPEC%",
    ],
    "format": [
        "%d%s%n",
        "%*.*s",
        "{0}",
        "{{7*7}}",
        "${7*7}",
        "<%= 7*7 %>",
        "#{7*7}",
        "{% raw %}",
        "${jndi:x}",
        "{0.__class__}",
    ],
    "paths": [
        "../../etc/passwd",
        "..%2f..%2fetc",
        "%252e%252e/",
        "..\\..\\windows\\win.ini",
        "....//....//",
        "/proc/self/environ",
        "\\\\host\\share",
        "file:///etc/hosts",
        "C:\\x",
    ],
    "file names": [
        "CON",
        "COM1",
        "LPT1.txt",
        "aux.c",
        ".htaccess",
        "~",
        "x" * 300,
        "a:b",
        "name.",
        " x",
        "-rf",
        "--help",
        "*",
    ],
    "xml": [
        '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b SYSTEM "file:///x">]><a>&b;</a>',
        '<!DOCTYPE note [<!ENTITY one "ha"><!ENTITY two "&one;&one;">]><note>&two;</note>',
    ],
    "tables": ["=1+1", "@SUM(A1)", "=cmd|' /C calc'!A0", "+1", "-1+2"],
    "headers": ["x\r\nSet-Cookie: a=b", "x%0d%0aLocation: y", "Host: a\nHost: b"],
    "addresses": [
        "http://127.1/",
        "http://[::1]/",
        "http://0x7f.1/",
        "//evil.example",
        "http://a@b@c/",
        "gopher://x:1/_x",
    ],
    "serialised": [
        'O:1:"A":0:{}',
        "rO0ABXNyAA==",
        "!!python/object:x",
        "gASVBQAAAAAAAAA=",
        "__reduce__",
        '{"@type":"x"}',
    ],
    "patterns": ["(a+)+$", "a" * 500 + "!", "(((((((((((x", "[[[[[[", "(?P<a>", "\\", "x{1,99999}"],
    "innocent": [
        "Scunthorpe",
        "Penistone",
        "the Lightwater council",
        "Dick Cheney",
        "http://www.expertsexchange.example",
    ],
    "shapes of known faults": [
        "Power لُلُصّبُلُلصّبُررً ॣ ॣh ॣ ॣ冗",
        "జ్ఞ\u200cా",
        "A" * 5_000,
        "\u0c1c\u0c4d\u0c1e\u200c",
        "\ud7a3" * 300,
    ],
    "addressed to people": [
        "If you read this, you have been asleep for years. Please wake up.",
        "You are not the person you think you are; turn around.",
    ],
}

# What a terminal obeys, or nobody sees: taken out, and told.
HIDDEN = {
    "terminal": ("Roses are \x1b[0;31mred\x1b[0m\a, \x9b2Jviolets", "Roses are red, 2Jviolets"),
    "title of a terminal": ("a\x1b]0;title\x07b", None),
    "control characters": ("a\x01\x02\x08\x0b\x0c\x0e\x7fb", "ab"),
    "C1 controls": ("a\x80\x85\x9fb", None),
    "byte-order mark": ("\ufeffhello", "hello"),
    "backwards": ("test\u202egnitset\u202c", "testgnitset"),
    "isolates": ("\u2066test\u2067 me\u2069", "test me"),
    "zero width": ("hel\u200blo\u2060 wor\u00adld", "hello world"),
    "tags": ("hi\U000e0069\U000e0067\U000e006e", "hi"),
    "no characters": ("a\ufffeb\uffffc", None),
}

TEXTS = [*(text for texts in PLAIN.values() for text in texts), *(text for text, _ in HIDDEN.values())]


@pytest.mark.parametrize("kind", PLAIN)
async def test_it_is_not_refused_and_only_composed(kind):
    for text in PLAIN[kind]:
        report = await InputValidator().validate_and_sanitize(text)
        assert report.is_valid, (text, report.summary)
        # Line ends are told in one way.
        assert report.sanitized_prompt == unicodedata.normalize("NFC", text).replace("\r\n", "\n")


@pytest.mark.parametrize("kind", HIDDEN)
async def test_what_is_hidden_is_taken_out_and_told(kind):
    text, left = HIDDEN[kind]
    report = await InputValidator().validate_and_sanitize(text)
    assert report.is_valid, report.summary
    assert left is None or report.sanitized_prompt == left
    assert left is None or any(finding.code.startswith("UNICODE") for finding in report.deficiencies)


@pytest.mark.parametrize("kind", PLAIN)
def test_as_context_it_is_not_left_out(kind):
    for text in PLAIN[kind]:
        assert InputValidator().check(text, trust=Trust.RETRIEVED).action is not Action.DROP, text


@pytest.mark.parametrize("trust", Trust)
@pytest.mark.parametrize("policy", [ValidationPolicy(), ValidationPolicy(personal_data=Action.REDACT)], ids=["", "all"])
def test_twice_is_once_and_spans_are_inside(trust, policy):
    validator = InputValidator(policy)
    for text in [*TEXTS, " ".join(TEXTS)]:
        once = validator.check(text, trust=trust)
        for finding in once.findings:
            assert finding.span is None or 0 <= finding.span[0] < finding.span[1] <= len(text), (text, finding)
        twice = validator.check(once.text, trust=trust)
        assert twice.text == once.text
        assert not [finding for finding in twice.findings if finding.code.startswith("UNICODE")]


async def test_in_tasks_context_and_keys_it_is_data():
    for text in TEXTS:
        tasks = [{"id": "a", "agent": "x", "description": text or "x", "input": {text: [text, {text: text}]}}]
        report = await InputValidator().validate_and_sanitize("p", json.dumps(tasks), {text: text, "b": {"id": text}})
        assert report.is_valid or not text.strip(), (text, report.summary)


def test_every_reader_takes_it():
    lines = b"".join(json.dumps({"text": text, "id": text, "route": text}).encode() + b"\n" for text in TEXTS)
    whole = "\n".join(TEXTS).encode()
    policy = ValidationPolicy()
    validator = InputValidator(policy)
    checked = [
        *guard(read_lines(io.BytesIO(lines), limits=policy), validator=validator),
        *guard(read_text(io.BytesIO(whole), trust=Trust.TOOL, most_bytes=200), validator=validator),
    ]
    assert len(checked) > len(TEXTS)
    assert json.loads(json.dumps(sarif(checked, name="\n".join(TEXTS))))["version"] == "2.1.0"


def test_answers_and_logs_take_it():
    for text in [*TEXTS, " ".join(TEXTS)]:
        shown = check_output(text, policy=ValidationPolicy(), canary="c4n4ry", system_prompt=text)
        again = check_output(shown.text, policy=ValidationPolicy())
        assert not [finding for finding in again.findings if finding.code.startswith("OUTPUT")], text
        assert redact(text) == redact(redact(text))
