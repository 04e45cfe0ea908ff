from secrets import token_urlsafe

import pytest
from notification.settings import Settings
from pydantic import ValidationError
from testkit.production import sealing_key

COMMON = {
    "database_url": "postgresql://notification@db/notification",
    "redis_url": "redis://redis/0",
    "auth_issuer": "https://auth.acme.test",
    "auth_jwks_url": "http://auth:8000/.well-known/jwks.json",
    "app_public_url": "https://app.acme.test",
    "event_sealing_key": sealing_key(),
    "service_client_secret": token_urlsafe(),
}


def test_boots_without_a_mail_provider_while_mail_is_off():
    assert not Settings(**COMMON).resend_email_enabled


@pytest.mark.parametrize("development", [{}, {"environment": "development", "debug": True}])
def test_names_everything_that_mail_lacks_at_once(development):
    with pytest.raises(ValidationError) as refusal:
        Settings(**COMMON, **development, resend_email_enabled=True)
    for name in ("RESEND_API_KEY", "RESEND_DEFAULT_FROM"):
        assert f"{name} is missing: RESEND_EMAIL_ENABLED=true needs it" in str(refusal.value)


@pytest.mark.parametrize("key", ["short", "c2hvcnQ", "not base64 at all!"])
def test_refuses_a_sealing_key_that_is_none(key):
    with pytest.raises(ValidationError, match="sealing key") as refusal:
        Settings(**{**COMMON, "event_sealing_key": key})
    assert key not in str(refusal.value).replace("a sealing key", "")


@pytest.mark.parametrize("url", ["app.acme.test", "ftp://app.acme.test", "https://app acme"])
def test_links_need_an_address_to_start_from(url):
    with pytest.raises(ValidationError, match="APP_PUBLIC_URL"):
        Settings(**{**COMMON, "app_public_url": url})


def test_reads_the_environment_where_what_is_empty_is_not_set(monkeypatch):
    for name, value in COMMON.items():
        monkeypatch.setenv(name.upper(), value)
    monkeypatch.setenv("RESEND_API_KEY", "")
    monkeypatch.setenv("RESEND_EMAIL_VERIFICATION_TEMPLATE_ID", "")
    settings = Settings()
    assert settings.resend_api_key is None
    assert settings.template_ids == {"email_verification": None, "password_reset": None}
    assert settings.resend_base_url == "https://api.resend.com"
