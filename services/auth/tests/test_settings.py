"""What auth refuses to start with, and that it says all of it at once."""

import json
from secrets import token_urlsafe

import pytest
from auth.settings import Settings
from pydantic import ValidationError
from testkit.production import production_settings

FIT = production_settings("auth")
SHORT = token_urlsafe(8)
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
def settings_with(monkeypatch):
    """A function that tells the settings some variables, and nothing else."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)

    def tell(variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        return Settings()

    return tell


def complaint(settings_with, **changes):
    with pytest.raises(ValidationError) as refused:
        settings_with({**FIT, **changes})
    return str(refused.value)


def test_starts_when_everything_is_set(settings_with):
    settings = settings_with(FIT)
    secrets = {name: secret.get_secret_value() for name, secret in settings.auth_service_secrets.items()}
    assert secrets == json.loads(FIT["AUTH_SERVICE_SECRETS"])
    assert (settings.access_token_expire_minutes, settings.require_email_verification) == (10, True)


def test_hashes_passwords_no_more_cheaply_than_is_safe_where_real_people_are(settings_with):
    assert "AUTH_PASSWORD_MEMORY_KIB must be 19456 or more" in complaint(
        settings_with, AUTH_PASSWORD_MEMORY_KIB="19455"
    )
    assert settings_with({**FIT, "AUTH_PASSWORD_MEMORY_KIB": "65536"}).auth_password_memory_kib == 65536


def test_needs_no_vault_in_development(settings_with):
    without = {name: value for name, value in FIT.items() if name not in VAULT}
    assert settings_with({**without, "ENVIRONMENT": "development", "DEBUG": "true"}).is_development


@pytest.mark.parametrize(
    "place",
    [{"ENVIRONMENT": "production"}, {"ENVIRONMENT": "staging", "DEBUG": "true"}, {"ENVIRONMENT": "test"}],
)
def test_names_everything_that_is_missing_in_one_message(settings_with, place):
    text = complaint(settings_with, **place, **dict.fromkeys([*SECRETS, *VAULT], ""))
    assert [name for name in [*SECRETS, *VAULT] if name not in text] == []


def test_wants_its_secrets_in_development_too(settings_with):
    text = complaint(settings_with, ENVIRONMENT="development", DEBUG="true", **dict.fromkeys(SECRETS, ""))
    assert [name for name in SECRETS if f"{name} is missing" not in text] == []


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
def test_is_opened_by_no_debug_outside_development(settings_with, place, name, value):
    assert name in complaint(settings_with, **place, **{name: value})


@pytest.mark.parametrize("sample", ["change-me-too", "changeme", "CHANGE-ME-email"])
@pytest.mark.parametrize("name", SECRETS[:5])
def test_takes_no_sample_for_a_secret(settings_with, name, sample):
    text = complaint(settings_with, **{name: sample})
    assert f"{name} is a placeholder" in text
    assert sample not in text


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"AUTH_JWKS_ETAG_SALT": "local-jwks-salt"}, "AUTH_JWKS_ETAG_SALT is a placeholder"),
        (
            {"AUTH_SERVICE_SECRETS": '{"chat-agent": "change-me"}'},
            "AUTH_SERVICE_SECRETS[chat-agent] is a placeholder",
        ),
        (
            {"AUTH_SERVICE_SECRETS": json.dumps({"chat-agent": SHORT})},
            "AUTH_SERVICE_SECRETS[chat-agent] is shorter than 16 characters",
        ),
        ({"AUTH_PASSWORD_PEPPER": SHORT}, "AUTH_PASSWORD_PEPPER is shorter than 16 characters"),
        (
            {"AUTH_PASSWORD_RESET_TOKEN_PEPPER": FIT["AUTH_PASSWORD_PEPPER"]},
            "AUTH_PASSWORD_PEPPER and AUTH_PASSWORD_RESET_TOKEN_PEPPER must differ",
        ),
        ({"VAULT_VERIFY_ENABLED": "false"}, "VAULT_VERIFY_ENABLED must be true"),
        ({"VAULT_ADDR": ""}, "VAULT_ADDR is missing"),
        ({"VAULT_ADDR": "http://vault:8200"}, "VAULT_ADDR must begin with https"),
        ({"VAULT_TOKEN": "change-me"}, "VAULT_TOKEN is a placeholder"),
        ({"VAULT_TOKEN": ""}, "VAULT_TOKEN is missing"),
        ({"VAULT_TRANSIT_KEY": ""}, "VAULT_TRANSIT_KEY is missing"),
        (
            {"AUTH_REFRESH_TOKEN_PEPPER": f"{FIT['AUTH_REFRESH_TOKEN_PEPPER']},{SHORT}"},
            "AUTH_REFRESH_TOKEN_PEPPER is shorter than 16 characters",
        ),
        (
            {"AUTH_REFRESH_TOKEN_PEPPER": ",".join([FIT["AUTH_REFRESH_TOKEN_PEPPER"]] * 2)},
            "AUTH_REFRESH_TOKEN_PEPPER has the same value twice",
        ),
        (
            {"AUTH_SESSION_ENCRYPTION_KEY": f"{FIT['AUTH_SESSION_ENCRYPTION_KEY']},dG9vIHNob3J0"},
            "AUTH_SESSION_ENCRYPTION_KEY is invalid: a sealing key has 32 bytes",
        ),
        (
            {"AUTH_RATE_LIMITS": '{"ip:tokens": 5}'},
            "AUTH_RATE_LIMITS is invalid: there is no limit named ip:tokens",
        ),
        ({"AUTH_SESSION_IP_HASH_SALT": SHORT}, "AUTH_SESSION_IP_HASH_SALT is shorter than 16 characters"),
        (
            {"AUTH_SESSION_ENCRYPTION_KEY": "dG9vIHNob3J0"},
            "AUTH_SESSION_ENCRYPTION_KEY is invalid: a sealing key has 32 bytes",
        ),
        ({"AUTH_LOCKOUT_THRESHOLD": "11"}, "AUTH_LOCKOUT_THRESHOLD"),
        ({"AUTH_SESSIONS_PER_PERSON": "101"}, "AUTH_SESSIONS_PER_PERSON"),
        ({"EVENT_SEALING_KEY": "dG9vIHNob3J0"}, "EVENT_SEALING_KEY is invalid: a sealing key has 32 bytes"),
        ({"ACCESS_TOKEN_EXPIRE_MINUTES": "16"}, "ACCESS_TOKEN_EXPIRE_MINUTES"),
        ({"AUTH_REFRESH_GRACE_SECONDS": "11"}, "AUTH_REFRESH_GRACE_SECONDS"),
        ({"AUTH_SESSION_TTL_MINUTES": "43201"}, "AUTH_SESSION_TTL_MINUTES"),
        ({"AUTH_KEY_PUBLISH_LEAD_MINUTES": "6"}, "AUTH_KEY_PUBLISH_LEAD_MINUTES is shorter"),
        ({"AUTH_KEY_RETIRE_LAG_MINUTES": "10"}, "AUTH_KEY_RETIRE_LAG_MINUTES is shorter"),
    ],
)
def test_refuses_what_would_be_unsafe(settings_with, changes, expected):
    text = complaint(settings_with, **changes)
    assert expected in text
    assert [name for name in SECRETS if FIT[name] in text] == []


SIGNING = {"ENVIRONMENT": "development", "DEBUG": "true", "AUTH_SIGNER": "vault"}


def test_signs_with_a_file_by_default(settings_with):
    assert settings_with(FIT).auth_signer == "file"
    assert settings_with(FIT | {"AUTH_SIGNER": "vault"}).auth_vault_signing_key == "auth-access-tokens"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"VAULT_ADDR": ""}, "VAULT_ADDR is missing: AUTH_SIGNER=vault needs it"),
        ({"VAULT_TOKEN": ""}, "VAULT_TOKEN is missing: AUTH_SIGNER=vault needs it"),
        (
            {"AUTH_VAULT_SIGNING_KEY": FIT["VAULT_TRANSIT_KEY"]},
            "AUTH_VAULT_SIGNING_KEY and VAULT_TRANSIT_KEY must differ",
        ),
        ({"AUTH_VAULT_SIGNING_KEY": "../sys/seal"}, "AUTH_VAULT_SIGNING_KEY"),
        ({"AUTH_SIGNER": "kms"}, "AUTH_SIGNER"),
    ],
)
def test_does_not_start_with_half_the_settings_of_a_signing_vault(settings_with, changes, expected):
    assert expected in complaint(settings_with, **{**SIGNING, **changes})


def test_prefers_a_token_for_vault_over_a_file_with_one(settings_with, tmp_path):
    file = tmp_path / "token"
    by_file = {**FIT, "AUTH_SIGNER": "vault", "VAULT_TOKEN": "", "VAULT_TOKEN_FILE": str(file)}
    settings = settings_with(by_file)
    assert settings.current_vault_token() == ""
    file.write_text("hvs.of-the-agent\n")
    assert settings.current_vault_token() == "hvs.of-the-agent"
    operators = f"hvs.{token_urlsafe()}"
    assert settings_with({**by_file, "VAULT_TOKEN": operators}).current_vault_token() == operators
