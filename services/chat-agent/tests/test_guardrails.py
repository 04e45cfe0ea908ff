"""What guardrails find in a text, in whatever pieces it arrives."""

import base64
import time
from collections.abc import Callable
from typing import Any

import pytest
import regex
from chat_agent.errors import GuardrailTriggered
from chat_agent.guardrails.checks import checks_of
from chat_agent.guardrails.config import PRESETS, STAGES, GuardrailConfig, from_setting
from chat_agent.guardrails.messages import MessageGuard
from chat_agent.guardrails.reading import Reading
from chat_agent.guardrails.text_filter import TextFilter, filtered, filtered_arguments
from chat_agent.schemas import Stage
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

ENTITIES = ["CREDIT_CARD", "EMAIL_ADDRESS", "IBAN_CODE", "IP_ADDRESS", "PHONE_NUMBER", "US_SSN"]
JWT = "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl"


def checks(*guardrails: dict[str, Any]) -> Any:
    config = GuardrailConfig.model_validate({"output": {"guardrails": list(guardrails)}})
    return checks_of(config.output)


def pii(*entities: str, block: bool = False) -> dict[str, Any]:
    return {"name": "Contains PII", "config": {"entities": [*entities], "block": block}}


def urls(**config: Any) -> dict[str, Any]:
    return {"name": "URL Filter", "config": config}


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("card 4111 1111 1111 1111.", "card <CREDIT_CARD>."),
        ("card 4111111111111111", "card <CREDIT_CARD>"),
        ("no card 4111 1111 1111 1112", "no card 4111 1111 1111 1112"),
        ("IBAN DE89 3704 0044 0532 0130 00 AND MORE", "IBAN <IBAN_CODE> AND MORE"),
        ("IBAN GB82WEST12345698765432", "IBAN <IBAN_CODE>"),
        ("no IBAN GB82WEST12345698765433", "no IBAN GB82WEST12345698765433"),
        ("mail ann.lee+x@mail.example.com, now", "mail <EMAIL_ADDRESS>, now"),
        ("at 10.0.0.1:80 and 2001:db8::1", "at 10.0.0.1:80 and <IP_ADDRESS>"),
        ("at 10.0.0.1 and 999.0.0.1", "at <IP_ADDRESS> and 999.0.0.1"),
        ("call +49 (30) 901820-0!", "call <PHONE_NUMBER>!"),
        ("1 + 1 = 2, 5+3", "1 + 1 = 2, 5+3"),
        ("SSN 536-90-4399", "SSN <US_SSN>"),
        ("SSN 000-90-4399", "SSN 000-90-4399"),
    ],
)
def test_masks_personal_data(text: str, masked: str) -> None:
    assert filtered(text, checks(pii(*ENTITIES)), "output") == masked


@pytest.mark.parametrize(
    ("threshold", "text"),
    [
        ("permissive", "my key is sk-proj-abcdefghijklmnop"),
        ("permissive", "AKIAIOSFODNN7EXAMPLE"),
        ("balanced", f"token {JWT}"),
        ("balanced", "-----BEGIN RSA PRIVATE KEY-----"),
        ("strict", "the secret q7Gk2Zp0Xv9Lm3Rt8Yw1Bn6Hs4Jd5FcX is random"),
    ],
)
def test_a_secret_key_ends_the_run(threshold: str, text: str) -> None:
    guardrail = {"name": "Secret Keys", "config": {"threshold": threshold}}
    with pytest.raises(GuardrailTriggered) as error:
        filtered(text, checks(guardrail), "output")
    assert error.value.extensions == {"guardrail": "Secret Keys", "stage": "output"}
    assert text[-8:] not in str(error.value)


@pytest.mark.parametrize("text", ["sk-short", "a task-oriented-approach-to-work", "x" * 60, "1" * 40])
def test_what_is_no_secret_key_passes(text: str) -> None:
    guardrail = {"name": "Secret Keys", "config": {"threshold": "strict"}}
    assert filtered(text, checks(guardrail), "output") == text


@pytest.mark.parametrize(
    ("url", "is_allowed"),
    [
        ("https://docs.example.com/guide", True),
        ("https://docs.example.com/guides", False),
        ("https://evil.example.com/guide", False),
        ("https://docs.example.com.evil.test/guide", False),
        ("http://docs.example.com/guide", False),
        ("https://a:b@docs.example.com/guide", False),
        ("javascript://docs.example.com/guide", False),
        ("www.example.net", True),
        ("https://sub.example.net/", False),
        ("https://[::1", False),
    ],
)
def test_only_urls_that_are_allowed_pass(url: str, is_allowed: bool) -> None:
    guardrail = checks(urls(url_allow_list=["docs.example.com/guide", "www.example.net"]))
    text = f"See {url}, please."
    if is_allowed:
        assert filtered(text, guardrail, "output") == text
    else:
        with pytest.raises(GuardrailTriggered):
            filtered(text, guardrail, "output")


def test_subdomains_are_allowed_where_the_configuration_says_so() -> None:
    guardrail = checks(urls(url_allow_list=["example.com"], allow_subdomains=True))
    assert filtered("https://a.b.example.com/x", guardrail, "output")
    with pytest.raises(GuardrailTriggered):
        filtered("https://notexample.com/x", guardrail, "output")


@pytest.mark.parametrize(
    ("text", "is_found"),
    [("We like GLOBEX.", True), ("globexes are fine", False), ("在竞争对手这里", True)],
)
def test_finds_words_of_a_list(text: str, is_found: bool) -> None:
    guardrail = checks({"name": "Competitor Detection", "config": {"keywords": ["Globex", "竞争对手"]}})
    try:
        filtered(text, guardrail, "output")
        found = False
    except GuardrailTriggered:
        found = True
    assert found == is_found


WORD_PARTS = st.sampled_from(
    ["a", "A", "b", "ab", " ", "  ", "-", "1", "é", "É", "ß", "\N{GREEK SMALL LETTER SIGMA}", "上"]
)
WORD = st.lists(WORD_PARTS, min_size=1, max_size=4).map("".join)
WORD_TEXT = st.lists(WORD_PARTS, max_size=12)


def expression_of(words: list[str]) -> regex.Pattern[str]:
    """Return what finds words as a keyword filter does, one by one."""
    ends = r"(?<![a-z0-9])", r"(?![a-z0-9])"
    parts = []
    for word in words:
        first, last = (char.isascii() and char.isalnum() for char in (word[0], word[-1]))
        parts.append(f"{ends[0] if first else ''}{regex.escape(word)}{ends[1] if last else ''}")
    return regex.compile("|".join(parts), regex.IGNORECASE)


@given(st.lists(WORD, min_size=1, max_size=5), WORD_TEXT)
def test_finds_words_in_a_text_that_comes_in_pieces(words: list[str], pieces: list[str]) -> None:
    guardrail = checks({"name": "Keyword Filter", "config": {"keywords": words}})
    text, text_filter, passed = "".join(pieces), TextFilter(guardrail, "output"), ""
    try:
        for piece in pieces:
            passed += text_filter.feed(piece)
        passed += text_filter.finish()
    except GuardrailTriggered:
        assert expression_of(words).search(text)
        assert not expression_of(words).search(passed)
    else:
        assert (passed, expression_of(words).search(text)) == (text, None)


def test_a_list_of_words_is_limited_as_a_whole() -> None:
    with pytest.raises(ValidationError, match="20000 characters together"):
        checks({"name": "Keyword Filter", "config": {"keywords": ["a" * 200] * 101}})


def test_an_entry_that_is_no_url_is_refused() -> None:
    with pytest.raises(ValidationError, match="IPv6"):
        checks(urls(url_allow_list=["https://[::1"]))


PIECES = st.sampled_from(
    [
        *("4111 1111 1111 1111", "4111", " 1111", "DE89 3704 0044 0532 0130 00", "DE89", " 0130", "AND"),
        *("a@b.com", "ann", "@", ".com", "10.0.0.1", "::1", "fe80:", "+49 30 9018200", "536-90-4399", "-"),
        *("\u200b", "\u00ad", "\uff11", "\u0660", "\U0001f469", "\u043e"),
        *(" ", "\n", ",", "é", "上海", "x", "https://", "www.", "sk-abcdefghijklmnop", JWT, "eyJ", "."),
    ]
)


@given(st.lists(PIECES, max_size=12).map("".join), st.data())
def test_a_text_in_pieces_is_treated_as_the_whole(text: str, data: st.DataObject) -> None:
    guardrails = checks(
        pii(*ENTITIES),
        {"name": "Secret Keys", "config": {"threshold": "strict"}},
        urls(url_allow_list=["a"]),
    )
    cuts = sorted(data.draw(st.sets(st.integers(0, len(text)), max_size=6)))
    pieces = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    try:
        whole: str | None = filtered(text, guardrails, "output")
    except GuardrailTriggered:
        whole = None
    stream = TextFilter(guardrails, "output")
    try:
        parts: str | None = "".join([*map(stream.feed, pieces), stream.finish()])
    except GuardrailTriggered:
        parts = None
    assert parts == whole


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("card 4111\u200b1111\u200b1111\u200b1111.", "card <CREDIT_CARD>."),
        ("card \u200b4111 1111 1111 1111\u200b.", "card \u200b<CREDIT_CARD>\u200b."),
        ("card \uff14\uff11\uff11\uff11 1111 1111 1111", "card <CREDIT_CARD>"),
        ("card \u0664\u0661\u0661\u0661111111111111", "card <CREDIT_CARD>"),
        ("card 4111\u00a01111\u00a01111\u00a01111", "card <CREDIT_CARD>"),
        ("no c\u00adard 4111 1111 1111 1112", "no c\u00adard 4111 1111 1111 1112"),
        ("at 10.0.\u20600.1", "at <IP_ADDRESS>"),
        ("mail ann\uff20example.com", "mail <EMAIL_ADDRESS>"),
        ("\U0001f469\u200d\U0001f467 \u2764\ufe0f, \u4f60\u597d\uff0c\u4e0a\u6d77\uff01", None),
    ],
)
def test_what_cannot_be_seen_or_looks_the_same_hides_nothing(text: str, masked: str | None) -> None:
    assert filtered(text, checks(pii(*ENTITIES)), "output") == (text if masked is None else masked)


@pytest.mark.parametrize(
    "text",
    ["Gl\u043ebex", "gl\u200bobex", "\uff27\uff4c\uff4f\uff42\uff45\uff58", "\U0001d406lobex", "GL\u039fBEX"],
)
def test_finds_a_word_however_it_is_written(text: str) -> None:
    guardrail = checks(
        {"name": "Keyword Filter", "config": {"keywords": ["Globex", "\u0433\u043b\u043e\u0431\u0443\u0441"]}}
    )
    for written in (text, "\u0413\u041b\u041e\u0411\u0423\u0421"):
        with pytest.raises(GuardrailTriggered):
            filtered(f"We like {written}.", guardrail, "output")
    assert filtered("\u0433\u043b\u043e\u0431\u0430\u043b globe", guardrail, "output")


@pytest.mark.parametrize(
    "arguments",
    [
        '{"key": "\\u0073k-proj-abcdefghijklmnop"}',
        '{"sk-proj-abcdefghijklmnop": 1}',
        '{"key": "sk-proj-abcdefghijklmnop", "key": "harmless"}',
        '[{"a": ["sk-proj-abcdefghijklmnop"]}]',
        f'{"[" * 900}"sk-proj-abcdefghijklmnop"{"]" * 900}',
        "sk-proj-abcdefghijklmnop",
    ],
)
def test_looks_into_the_arguments_of_calls_as_they_are_read(arguments: str) -> None:
    with pytest.raises(GuardrailTriggered):
        filtered_arguments(arguments, checks({"name": "Secret Keys"}))


async def test_finds_what_is_split_over_the_parts_of_a_message() -> None:
    config = GuardrailConfig.model_validate({"pre_flight": {"guardrails": [pii(*ENTITIES)]}})
    image = {"type": "input_image", "image_url": "data:image/png;base64,AAAA"}
    parts = [{"type": "input_text", "text": text} for text in ("My card: 4111 1111", " 1111 1111, thanks")]
    clean = await MessageGuard(config).parts([parts[0], image, parts[1]])
    assert clean == [{"type": "input_text", "text": "My card: <CREDIT_CARD>, thanks"}, image]
    apart = [parts[0], image, {"type": "input_text", "text": "and no more"}]
    assert await MessageGuard(config).parts(apart) == apart


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "latin-1"])
async def test_masks_files_that_are_text_in_their_own_encoding(encoding: str) -> None:
    config = GuardrailConfig.model_validate({"pre_flight": {"guardrails": [pii(*ENTITIES)]}})

    def item(text: str) -> dict[str, Any]:
        data = base64.b64encode(text.encode(encoding)).decode()
        part = {"type": "input_file", "filename": "a.csv", "file_data": f"data:text/csv;base64,{data}"}
        return {"role": "user", "content": [part]}

    (clean,) = await MessageGuard(config).files([item("M\u00fcller,4111 1111 1111 1111\n")])
    assert clean == item("M\u00fcller,<CREDIT_CARD>\n")
    pdf = {"type": "input_file", "file_data": "data:application/pdf;base64,JVBERi0xLjcK4uPP0w=="}
    binary = {"role": "user", "content": [pdf]}
    assert await MessageGuard(config).files([binary]) == [binary]


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_is_a_configuration(preset: str) -> None:
    config = GuardrailConfig.model_validate(from_setting(preset))
    for stage in STAGES:
        checks = getattr(config, stage).guardrails
        assert len(checks) == len(PRESETS[preset].get(stage, []))  # type: ignore[call-overload]


SAMPLES = {
    "CREDIT_CARD": "4111 1111 1111 1111",
    "EMAIL_ADDRESS": "ann@example.com",
    "IBAN_CODE": "GB82WEST12345698765432",
    "IP_ADDRESS": "10.0.0.1",
    "PHONE_NUMBER": "+49 30 901820",
    "US_SSN": "536-90-4399",
    "permissive": "sk-proj-abcdefghijklmnop",
    "balanced": JWT,
    "strict": "q7Gk2Zp0Xv9Lm3Rt8Yw1Bn6Hs4Jd5FcX",
    "URL Filter": "https://example.com/",
}
PII_NUMBERS = ["CREDIT_CARD", "IBAN_CODE", "US_SSN"]
# What each preset masks and refuses, by stage; all else passes.
EXPECTED: dict[str, dict[str, tuple[list[str], list[str]]]] = {
    "none": {},
    "minimal": {"output": ([], ["permissive"])},
    "standard": {
        "pre_flight": (PII_NUMBERS, []),
        "input": ([], ["permissive", "balanced"]),
        "output": (PII_NUMBERS, ["permissive", "balanced"]),
        "tool": (PII_NUMBERS, ["permissive", "balanced"]),
    },
    "strict": {
        "pre_flight": (ENTITIES, []),
        "input": ([], ["permissive", "balanced", "strict"]),
        "output": ([], [*SAMPLES]),
        "tool": (ENTITIES, ["permissive", "balanced"]),
    },
}


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_masks_and_refuses_what_its_table_says(preset: str, stage: Stage) -> None:
    config = GuardrailConfig.model_validate(from_setting(preset))
    masks, refusals = EXPECTED[preset].get(stage, ([], []))
    for name, sample in SAMPLES.items():
        try:
            result = filtered(f"It is {sample} now", checks_of(getattr(config, stage)), stage)
        except GuardrailTriggered as error:
            result = str(error.extensions["stage"])
        expected = f"It is <{name}> now" if name in masks else f"It is {sample} now"
        assert result == (stage if name in refusals else expected), name


@pytest.mark.parametrize(
    "config",
    [
        {"output": {"guardrails": [{"name": "Hallucination Detection", "config": {}}]}},
        {"output": {"guardrails": [{"name": "Keyword Filter", "config": {"keywords": []}}]}},
        {"output": {"version": 2}},
        {"outputs": {}},
    ],
)
def test_a_configuration_that_would_not_be_in_force_is_refused(config: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        GuardrailConfig.model_validate(config)


def measure(function: Callable[[], object]) -> float:
    start = time.thread_time()
    function()
    return time.thread_time() - start


def test_a_text_is_read_once_for_all_checks() -> None:
    secrets = checks({"name": "Secret Keys", "config": {"threshold": "permissive"}})
    text = "a\u200d " * 40_000
    # Each check would read it again; of a machine that is busy, the least is nearest.
    of_checks = min(measure(lambda: filtered(text, secrets * 20, "output")) for _ in range(5))
    of_reading = min(measure(lambda: Reading.of(text)) for _ in range(5))
    assert of_checks < 10 * of_reading


@pytest.mark.parametrize("place", ["output", "input"])
def test_many_unknown_members_are_one_error(place: str) -> None:
    members = {f"u{number}": 1 for number in range(20_000)}
    with pytest.raises(ValidationError) as error:
        GuardrailConfig.model_validate({place: members})
    assert error.value.error_count() < 10
