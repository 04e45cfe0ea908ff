"""The least variables with which each service starts in production, every secret a random one."""

import json
from base64 import urlsafe_b64encode
from collections.abc import Callable
from secrets import token_bytes, token_urlsafe


def production_settings(service: str) -> dict[str, str]:
    """Return a service's variables; its stores and addresses are nowhere."""
    name = service.replace("-", "_")
    return {
        "ENVIRONMENT": "production",
        "DATABASE_URL": f"postgresql://{name}:{token_urlsafe()}@postgres.example/{name}",
        "REDIS_URL": f"redis://:{token_urlsafe()}@redis.example:6379/0",
        "AUTH_ISSUER": "https://api.acme.example",
        "AUTH_JWKS_URL": "http://auth:8000/.well-known/jwks.json",
        **SETTINGS_BY_SERVICE[service](),
    }


def sealing_key() -> str:
    """Return a random key that seals."""
    return urlsafe_b64encode(token_bytes(32)).decode()


def auth_settings() -> dict[str, str]:
    """Return what auth needs beside what all need."""
    return {
        "AUTH_PASSWORD_PEPPER": token_urlsafe(),
        "AUTH_REFRESH_TOKEN_PEPPER": token_urlsafe(),
        "AUTH_EMAIL_VERIFICATION_TOKEN_PEPPER": token_urlsafe(),
        "AUTH_PASSWORD_RESET_TOKEN_PEPPER": token_urlsafe(),
        "AUTH_JWKS_ETAG_SALT": token_urlsafe(),
        "AUTH_SESSION_ENCRYPTION_KEY": sealing_key(),
        "AUTH_SESSION_IP_HASH_SALT": token_urlsafe(),
        "AUTH_SERVICE_SECRETS": json.dumps({"chat-agent": token_urlsafe()}),
        "EVENT_SEALING_KEY": sealing_key(),
        "VAULT_VERIFY_ENABLED": "true",
        "VAULT_ADDR": "https://vault.example:8200",
        "VAULT_TOKEN": f"hvs.{token_urlsafe()}",
        "VAULT_TRANSIT_KEY": "auth-service",
    }


def base_settings() -> dict[str, str]:
    """Return what a service needs that proves itself to auth."""
    return {"SERVICE_CLIENT_SECRET": token_urlsafe()}


def chat_agent_settings() -> dict[str, str]:
    """Return what chat-agent needs beside what all need."""
    return {
        **base_settings(),
        "OPENAI_API_KEY": f"sk-{token_urlsafe()}",
        "TENANT_SECRETS_ENCRYPTION_KEY": sealing_key(),
    }


def notification_settings() -> dict[str, str]:
    """Return what notification needs beside what all need."""
    return {
        **base_settings(),
        "APP_PUBLIC_URL": "https://app.acme.example",
        "EVENT_SEALING_KEY": sealing_key(),
    }


SETTINGS_BY_SERVICE: dict[str, Callable[[], dict[str, str]]] = {
    "auth": auth_settings,
    "billing-webhook": base_settings,
    "chat-agent": chat_agent_settings,
    "conversation": base_settings,
    "notification": notification_settings,
}
