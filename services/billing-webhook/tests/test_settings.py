from secrets import token_urlsafe

import pytest
from billing_webhook.settings import Settings
from pydantic import SecretStr, ValidationError

COMMON = {
    "database_url": "postgresql://billing@db/billing",
    "redis_url": "redis://redis/0",
    "auth_issuer": "https://auth.acme.test",
    "auth_jwks_url": "http://auth:8000/.well-known/jwks.json",
    "service_client_secret": token_urlsafe(),
}
STRIPE = {
    "stripe_secret_key": f"sk_test_{token_urlsafe()}",
    "stripe_webhook_secret": f"whsec_{token_urlsafe()}",
    "stripe_product_price_map": {"starter": "price_1"},
}


def test_boots_without_stripe_while_billing_is_off():
    assert Settings(**COMMON).webhook_secrets == []


def test_boots_with_all_that_billing_needs():
    assert Settings(**COMMON, **STRIPE, enable_billing=True).enable_billing


def test_names_everything_that_billing_lacks_at_once():
    with pytest.raises(ValidationError) as refusal:
        Settings(**COMMON, enable_billing=True)
    for name in ("STRIPE_SECRET_KEY", "STRIPE_WEBHOOK_SECRET", "STRIPE_PRODUCT_PRICE_MAP"):
        assert f"{name} is missing: ENABLE_BILLING=true needs it" in str(refusal.value)


def test_names_placeholders_and_what_is_missing_in_one_message():
    with pytest.raises(ValidationError) as refusal:
        Settings(
            **COMMON,
            **{**STRIPE, "stripe_secret_key": "change-me", "stripe_webhook_secret": ","},
            enable_billing=True,
        )
    assert "STRIPE_SECRET_KEY is a placeholder" in str(refusal.value)
    assert "STRIPE_WEBHOOK_SECRET is missing" in str(refusal.value)


def test_development_gets_by_without_stripe():
    assert Settings(**COMMON, environment="development", debug=True, enable_billing=True)


def test_refuses_prices_of_plans_that_do_not_exist():
    with pytest.raises(ValidationError, match=r"plans\.toml has no paid plan gold"):
        Settings(**COMMON, stripe_product_price_map={"starter": "price_1", "gold": "price_2"})


def test_reads_the_environment_where_what_is_empty_is_not_set(monkeypatch):
    for name, value in COMMON.items():
        monkeypatch.setenv(name.upper(), value)
    monkeypatch.setenv("STRIPE_SECRET_KEY", "")
    new, old = f"whsec_{token_urlsafe()}", f"whsec_{token_urlsafe()}"
    monkeypatch.setenv("STRIPE_WEBHOOK_SECRET", f"{new}, {old}")
    monkeypatch.setenv("STRIPE_PRODUCT_PRICE_MAP", '{"starter": "price_1"}')
    settings = Settings()
    assert settings.stripe_secret_key is None
    assert settings.webhook_secrets == [new, old]
    assert settings.stripe_product_price_map == {"starter": "price_1"}


@pytest.mark.parametrize("seconds", [0, -1, 601])
def test_refuses_a_tolerance_that_would_check_nothing(seconds):
    with pytest.raises(ValidationError, match="STRIPE_WEBHOOK_TOLERANCE_SECONDS"):
        Settings(**COMMON, stripe_webhook_tolerance_seconds=seconds)


@pytest.mark.parametrize(
    ("key", "chosen", "live"),
    [
        (None, None, False),
        ("sk_test_1", None, False),
        ("sk_live_1", None, True),
        ("rk_live_1", None, True),
        ("sk_test_1", True, True),
    ],
)
def test_knows_from_the_key_whether_it_is_for_real_money(key, chosen, live):
    settings = Settings(**COMMON, stripe_secret_key=key and key + token_urlsafe(), stripe_livemode=chosen)
    assert settings.livemode is live


def test_secrets_do_not_show():
    settings = Settings(**COMMON, **STRIPE)
    assert isinstance(settings.stripe_secret_key, SecretStr)
    assert "sk_test_" not in repr(settings)
    assert "whsec_" not in repr(settings)
