"""What auth refuses to start with, and that it says all of it at once."""

import pytest
from auth.settings import Settings
from pydantic import SecretStr, ValidationError

SEALING_KEY = "c2VhbGluZy1rZXktb2YtdGhpcnR5LXR3by1ieXRlcyE="
FIT = {
    "ENVIRONMENT": "production",
    "DATABASE_URL": "postgresql://auth:a-real-one@db/auth",
    "REDIS_URL": "redis://:a-real-one@redis/0",
    "AUTH_ISSUER": "https://api.acme.test",
    "AUTH_JWKS_URL": "http://auth:8000/.well-known/jwks.json",
    "AUTH_KEY_STORAGE_PATH": "/var/lib/auth/keys.json",
    "AUTH_PASSWORD_PEPPER": "Kq3-first-of-the-peppers",
    "AUTH_REFRESH_TOKEN_PEPPER": "Kq3-second-of-the-peppers",
    "AUTH_EMAIL_VERIFICATION_TOKEN_PEPPER": "Kq3-third-of-the-peppers",
    "AUTH_PASSWORD_RESET_TOKEN_PEPPER": "Kq3-fourth-of-the-peppers",
    "AUTH_JWKS_ETAG_SALT": "Kq3-a-salt-of-our-own",
    "AUTH_SERVICE_SECRETS": '{"chat-agent": "Kq3-the-secret-of-chat-agent"}',
    "AUTH_SESSION_ENCRYPTION_KEY": SEALING_KEY,
    "AUTH_SESSION_IP_HASH_SALT": "Kq3-a-salt-of-addresses",
    "EVENT_SEALING_KEY": SEALING_KEY,
    "VAULT_VERIFY_ENABLED": "true",
    "VAULT_ADDR": "https://vault:8200",
    "VAULT_TOKEN": "hvs.Kq3",
    "VAULT_TRANSIT_KEY": "auth-service",
}
SECRETS = [
    "AUTH_PASSWORD_PEPPER",
    "AUTH_REFRESH_TOKEN_PEPPER",
    "AUTH_EMAIL_VERIFICATION_TOKEN_PEPPER",
    "AUTH_PASSWORD_RESET_TOKEN_PEPPER",
    "AUTH_JWKS_ETAG_SALT",
    "AUTH_SESSION_IP_HASH_SALT",
    "AUTH_SESSION_ENCRYPTION_KEY",
    "EVENT_SEALING_KEY",
]
PLACES = [
    {"ENVIRONMENT": "production"},
    {"ENVIRONMENT": "production", "DEBUG": "true"},
    {"ENVIRONMENT": "staging", "DEBUG": "true"},
    {"ENVIRONMENT": "test", "DEBUG": "false"},
]
VAULT = ["VAULT_VERIFY_ENABLED", "VAULT_ADDR", "VAULT_TOKEN", "VAULT_TRANSIT_KEY"]


@pytest.fixture
def told(monkeypatch):
    """A function that tells the settings some variables, and nothing else."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)

    def tell(variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        return Settings()

    return tell


def complaint(told, **changes):
    with pytest.raises(ValidationError) as refused:
        told({**FIT, **changes})
    return str(refused.value)


def test_starts_when_everything_is_set(told):
    settings = told(FIT)
    assert settings.auth_service_secrets == {"chat-agent": SecretStr("Kq3-the-secret-of-chat-agent")}
    assert (settings.access_token_expire_minutes, settings.require_email_verification) == (10, True)


def test_needs_no_vault_in_development(told):
    without = {name: value for name, value in FIT.items() if name not in VAULT}
    assert told({**without, "ENVIRONMENT": "development", "DEBUG": "true"}).is_development


@pytest.mark.parametrize(
    "place",
    [{"ENVIRONMENT": "production"}, {"ENVIRONMENT": "staging", "DEBUG": "true"}, {"ENVIRONMENT": "test"}],
)
def test_names_everything_that_is_missing_in_one_message(told, place):
    said = complaint(told, **place, **dict.fromkeys([*SECRETS, *VAULT], ""))
    assert [name for name in [*SECRETS, *VAULT] if name not in said] == []


def test_wants_its_secrets_in_development_too(told):
    said = complaint(told, ENVIRONMENT="development", DEBUG="true", **dict.fromkeys(SECRETS, ""))
    assert [name for name in SECRETS if f"{name} is missing" not in said] == []


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AUTH_PASSWORD_PEPPER", "change-me-too"),
        ("AUTH_SERVICE_SECRETS", '{"chat-agent": "change-me"}'),
        ("VAULT_VERIFY_ENABLED", "false"),
        ("VAULT_TOKEN", ""),
    ],
)
def test_is_opened_by_no_debug_outside_development(told, place, name, value):
    assert name in complaint(told, **place, **{name: value})


@pytest.mark.parametrize("sample", ["change-me-too", "changeme", "CHANGE-ME-email"])
@pytest.mark.parametrize("name", SECRETS[:5])
def test_takes_no_sample_for_a_secret(told, name, sample):
    said = complaint(told, **{name: sample})
    assert f"{name} is a placeholder" in said
    assert sample not in said


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"AUTH_JWKS_ETAG_SALT": "local-jwks-salt"}, "AUTH_JWKS_ETAG_SALT is a placeholder"),
        (
            {"AUTH_SERVICE_SECRETS": '{"chat-agent": "change-me"}'},
            "AUTH_SERVICE_SECRETS[chat-agent] is a placeholder",
        ),
        ({"AUTH_SERVICE_SECRETS": '{"chat-agent": "short"}'}, "AUTH_SERVICE_SECRETS[chat-agent] is shorter"),
        ({"AUTH_PASSWORD_PEPPER": "short"}, "AUTH_PASSWORD_PEPPER is shorter than 14 bytes"),
        (
            {"AUTH_PASSWORD_RESET_TOKEN_PEPPER": FIT["AUTH_PASSWORD_PEPPER"]},
            "AUTH_PASSWORD_PEPPER and AUTH_PASSWORD_RESET_TOKEN_PEPPER must differ",
        ),
        ({"VAULT_VERIFY_ENABLED": "false"}, "VAULT_VERIFY_ENABLED must be true"),
        ({"VAULT_ADDR": ""}, "VAULT_ADDR is missing"),
        ({"VAULT_ADDR": "http://vault:8200"}, "VAULT_ADDR must be https"),
        ({"VAULT_TOKEN": "change-me"}, "VAULT_TOKEN is a placeholder"),
        ({"VAULT_TOKEN": ""}, "VAULT_TOKEN is missing"),
        ({"VAULT_TRANSIT_KEY": ""}, "VAULT_TRANSIT_KEY is missing"),
        ({"AUTH_PREVIOUS_REFRESH_TOKEN_PEPPER": "short"}, "AUTH_PREVIOUS_REFRESH_TOKEN_PEPPER is shorter"),
        (
            {"AUTH_PREVIOUS_REFRESH_TOKEN_PEPPER": FIT["AUTH_REFRESH_TOKEN_PEPPER"]},
            "AUTH_REFRESH_TOKEN_PEPPER and AUTH_PREVIOUS_REFRESH_TOKEN_PEPPER must differ",
        ),
        (
            {"AUTH_PREVIOUS_SESSION_ENCRYPTION_KEY": "dG9vIHNob3J0"},
            "AUTH_PREVIOUS_SESSION_ENCRYPTION_KEY: a sealing key has 32 bytes",
        ),
        ({"AUTH_SESSION_IP_HASH_SALT": "short"}, "AUTH_SESSION_IP_HASH_SALT is shorter than 14 bytes"),
        (
            {"AUTH_SESSION_ENCRYPTION_KEY": "dG9vIHNob3J0"},
            "AUTH_SESSION_ENCRYPTION_KEY: a sealing key has 32 bytes",
        ),
        ({"AUTH_LOCKOUT_THRESHOLD": "11"}, "auth_lockout_threshold"),
        ({"AUTH_SESSIONS_PER_PERSON": "101"}, "auth_sessions_per_person"),
        ({"EVENT_SEALING_KEY": "dG9vIHNob3J0"}, "EVENT_SEALING_KEY: a sealing key has 32 bytes"),
        ({"ACCESS_TOKEN_EXPIRE_MINUTES": "16"}, "access_token_expire_minutes"),
        ({"AUTH_REFRESH_GRACE_SECONDS": "11"}, "auth_refresh_grace_seconds"),
        ({"AUTH_SESSION_TTL_MINUTES": "43201"}, "auth_session_ttl_minutes"),
        ({"AUTH_KEY_PUBLISH_LEAD_MINUTES": "6"}, "AUTH_KEY_PUBLISH_LEAD_MINUTES is shorter"),
        ({"AUTH_KEY_RETIRE_LAG_MINUTES": "10"}, "AUTH_KEY_RETIRE_LAG_MINUTES is shorter"),
    ],
)
def test_refuses_what_would_be_unsafe(told, changes, expected):
    said = complaint(told, **changes)
    assert expected in said
    assert "Kq3" not in said


SIGNING = {"ENVIRONMENT": "development", "DEBUG": "true", "AUTH_SIGNER": "vault"}


def test_signs_with_a_file_unless_told_otherwise(told):
    assert told(FIT).auth_signer == "file"
    assert told(FIT | {"AUTH_SIGNER": "vault"}).auth_vault_signing_key == "auth-access-tokens"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"VAULT_ADDR": ""}, "AUTH_SIGNER=vault needs VAULT_ADDR"),
        ({"VAULT_TOKEN": ""}, "AUTH_SIGNER=vault needs VAULT_TOKEN"),
        (
            {"AUTH_VAULT_SIGNING_KEY": FIT["VAULT_TRANSIT_KEY"]},
            "AUTH_VAULT_SIGNING_KEY and VAULT_TRANSIT_KEY must differ",
        ),
        ({"AUTH_VAULT_SIGNING_KEY": "../sys/seal"}, "auth_vault_signing_key"),
        ({"AUTH_SIGNER": "kms"}, "auth_signer"),
    ],
)
def test_does_not_start_half_told_of_the_vault_that_signs_wherever_it_runs(told, changes, expected):
    assert expected in complaint(told, **{**SIGNING, **changes})


def test_takes_the_token_for_vault_from_a_file_too_and_rather_the_one_it_is_given(told, tmp_path):
    file = tmp_path / "token"
    by_file = {**FIT, "AUTH_SIGNER": "vault", "VAULT_TOKEN": "", "VAULT_TOKEN_FILE": str(file)}
    settings = told(by_file)
    assert settings.held_vault_token() == ""
    file.write_text("hvs.of-the-agent\n")
    assert settings.held_vault_token() == "hvs.of-the-agent"
    assert told({**by_file, "VAULT_TOKEN": "hvs.of-an-operator"}).held_vault_token() == "hvs.of-an-operator"
