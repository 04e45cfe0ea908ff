from secrets import token_urlsafe

import pytest
from pydantic import SecretStr, ValidationError
from servicekit.settings import ServiceSettings

NEEDED = {
    "database_url": f"postgresql://acme:{token_urlsafe()}@db/acme",
    "redis_url": f"redis://:{token_urlsafe()}@redis",
    "auth_issuer": "https://api.example.test",
    "auth_jwks_url": "https://api.example.test/.well-known/jwks.json",
}


class ShopSettings(ServiceSettings):
    till_key: SecretStr
    safe_key: SecretStr = SecretStr("change-me-too")


def shop(**values: object) -> ShopSettings:
    return ShopSettings(**{**NEEDED, "till_key": "Zx81-and-more", "safe_key": "qWeRtY-long-enough", **values})


def test_reads_its_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in NEEDED.items():
        monkeypatch.setenv(name.upper(), value)
    monkeypatch.setenv("TILL_KEY", "Zx81-and-more")
    monkeypatch.setenv("SAFE_KEY", "Zx82-and-more")
    monkeypatch.setenv("LOG_LEVEL", "debug")
    settings = ShopSettings()
    assert (settings.log_level, settings.environment) == ("DEBUG", "production")


def test_names_every_missing_variable_at_once() -> None:
    with pytest.raises(ValidationError) as refused:
        ShopSettings()
    for name in ("DATABASE_URL", "REDIS_URL", "AUTH_ISSUER", "AUTH_JWKS_URL", "TILL_KEY", "SAFE_KEY"):
        assert name in str(refused.value)


@pytest.mark.parametrize("placeholder", ["change-me", "CHANGE-ME", "changeme-pepper", "secret", " ", ""])
@pytest.mark.parametrize(
    "mode", [{}, {"environment": "production", "debug": True}, {"environment": "development"}]
)
def test_refuses_to_boot_on_placeholders_outside_development(
    placeholder: str, mode: dict[str, object]
) -> None:
    with pytest.raises(ValidationError, match=r"TILL_KEY is a placeholder.*SAFE_KEY is a placeholder"):
        shop(till_key=placeholder, safe_key=placeholder, **mode)


def test_takes_placeholders_in_development() -> None:
    assert shop(till_key="change-me", environment="development", debug=True).is_development


def test_a_refusal_does_not_tell_the_secrets() -> None:
    with pytest.raises(ValidationError) as refused:
        shop(database_url="postgresql://acme:hunter2hunter2@db/acme", till_key="change-me")
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    ("sink", "missing"), [("datadog", "LOGGING_DATADOG_API_KEY"), ("otlp", "LOGGING_OTLP_ENDPOINT")]
)
def test_a_sink_that_is_not_configured_stops_the_boot(sink: str, missing: str) -> None:
    with pytest.raises(ValidationError, match=missing):
        shop(logging_sink=sink)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"redis_url": "http://:hunter2hunter2@redis"}, "REDIS_URL is invalid: it begins with redis://"),
        ({"database_url": "mysql://acme:hunter2hunter2@db/acme"}, "DATABASE_URL is invalid: it begins with"),
        (
            {"database_url": "postgresql://acme:hunter2hunter2@db/acme?sslmode=on"},
            "DATABASE_URL is invalid: sslmode",
        ),
        (
            {"database_url": "postgresql://acme:hunter2hunter2@db/acme?sslrootcert=/nowhere/ca.pem"},
            "DATABASE_URL is invalid: there is no file where sslrootcert says",
        ),
    ],
)
def test_refuses_addresses_that_cannot_be_meant(changes: dict[str, str], complaint: str) -> None:
    with pytest.raises(ValidationError) as refused:
        shop(**changes)
    assert complaint in str(refused.value)
    assert "hunter2" not in str(refused.value)
