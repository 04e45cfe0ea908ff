"""Secrets in event data: sealed for one purpose, and of no use for any other."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr
from servicekit.encryption import DecryptionFailed, InvalidEncryptionKey, decrypt, encrypt


def key(filler: int = 7) -> SecretStr:
    return SecretStr(base64.urlsafe_b64encode(bytes([filler]) * 32).decode())


KEY = key()


@given(st.text())
def test_what_is_sealed_can_be_unsealed(text: str) -> None:
    assert decrypt(KEY, encrypt(KEY, text, context="reset"), context="reset") == text


def test_a_sealed_text_is_plain_ascii_with_a_version_and_hides_its_text() -> None:
    sealed = encrypt(KEY, "a secret token", context="reset")
    assert sealed.startswith("s1.")
    assert set(sealed) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.")
    assert "secret" not in sealed


def test_the_same_text_is_never_sealed_alike() -> None:
    assert len({encrypt(KEY, "token", context="reset") for _ in range(100)}) == 100


def test_a_sealed_text_is_worth_nothing_in_another_context() -> None:
    with pytest.raises(DecryptionFailed):
        decrypt(KEY, encrypt(KEY, "token", context="reset:ada"), context="reset:eve")


def test_a_sealed_text_is_worth_nothing_with_another_key() -> None:
    with pytest.raises(DecryptionFailed):
        decrypt(key(8), encrypt(KEY, "token", context="reset"), context="reset")


def test_a_key_may_come_with_or_without_padding() -> None:
    bare = SecretStr(KEY.get_secret_value().rstrip("="))
    assert decrypt(bare, encrypt(KEY, "token", context="reset"), context="reset") == "token"


@pytest.mark.parametrize("position", range(3, 40, 4))
def test_any_change_breaks_the_seal(position: int) -> None:
    sealed = encrypt(KEY, "token", context="reset")
    other = "A" if sealed[position] != "A" else "B"
    with pytest.raises(DecryptionFailed):
        decrypt(KEY, sealed[:position] + other + sealed[position + 1 :], context="reset")


@pytest.mark.parametrize(
    "text", ["", "s1.", "s1.AAAA", "s2.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "token", "s1.%%%", "s1.é"]
)
def test_what_is_no_sealed_text_is_refused(text: str) -> None:
    with pytest.raises(DecryptionFailed):
        decrypt(KEY, text, context="reset")


@pytest.mark.parametrize(
    "bad", ["", "short", "%" * 43, base64.urlsafe_b64encode(bytes(16)).decode(), "é" * 43]
)
def test_a_key_that_is_not_32_bytes_is_refused(bad: str) -> None:
    with pytest.raises(InvalidEncryptionKey) as refusal:
        encrypt(SecretStr(bad), "token", context="reset")
    assert not bad or bad not in str(refusal.value)
