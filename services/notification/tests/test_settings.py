import pytest
from notification.settings import Settings
from pydantic import ValidationError

COMMON = {
    "database_url": "postgresql://notification@db/notification",
    "redis_url": "redis://redis/0",
    "auth_issuer": "https://auth.acme.test",
    "auth_jwks_url": "http://auth:8000/.well-known/jwks.json",
    "app_public_url": "https://app.acme.test",
    "event_sealing_key": "c2l4dGVlbi1ieXRlcy1hbmQtc2l4dGVlbi1tb3JlLi4",
}


def test_boots_without_a_mail_provider_while_mail_is_off():
    assert not Settings(**COMMON).resend_email_enabled


@pytest.mark.parametrize("development", [{}, {"environment": "development", "debug": True}])
def test_names_everything_that_mail_lacks_at_once(development):
    with pytest.raises(
        ValidationError, match="RESEND_EMAIL_ENABLED=true needs RESEND_API_KEY, RESEND_DEFAULT_FROM"
    ):
        Settings(**COMMON, **development, resend_email_enabled=True)


@pytest.mark.parametrize("key", ["short", "c2hvcnQ", "not base64 at all!"])
def test_refuses_a_sealing_key_that_is_none(key):
    with pytest.raises(ValidationError, match="sealing key") as refusal:
        Settings(**{**COMMON, "event_sealing_key": key})
    assert key not in str(refusal.value).replace("a sealing key", "")


@pytest.mark.parametrize("url", ["app.acme.test", "ftp://app.acme.test", "https://app acme"])
def test_links_need_an_address_to_start_from(url):
    with pytest.raises(ValidationError, match="app_public_url"):
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
