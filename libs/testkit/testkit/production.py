"""The least variables with which each service starts in production, every secret a random one."""

import json
from base64 import urlsafe_b64encode
from collections.abc import Callable
from secrets import token_bytes, token_urlsafe


def production(service: str) -> dict[str, str]:
    """Return a service's variables; its stores and addresses are nowhere."""
    name = service.replace("-", "_")
    return {
        "ENVIRONMENT": "production",
        "DATABASE_URL": f"postgresql://{name}:{token_urlsafe()}@postgres.example/{name}",
        "REDIS_URL": f"redis://:{token_urlsafe()}@redis.example:6379/0",
        "AUTH_ISSUER": "https://api.acme.example",
        "AUTH_JWKS_URL": "http://auth:8000/.well-known/jwks.json",
        **OWN[service](),
    }


def sealing_key() -> str:
    """Return a random key that seals."""
    return urlsafe_b64encode(token_bytes(32)).decode()


def of_auth() -> dict[str, str]:
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


def of_other() -> dict[str, str]:
    """Return what a service needs that proves itself to auth."""
    return {"SERVICE_CLIENT_SECRET": token_urlsafe()}


def of_chat_agent() -> dict[str, str]:
    """Return what chat-agent needs beside what all need."""
    return {**of_other(), "OPENAI_API_KEY": f"sk-{token_urlsafe()}"}


def of_notification() -> dict[str, str]:
    """Return what notification needs beside what all need."""
    return {
        **of_other(),
        "APP_PUBLIC_URL": "https://app.acme.example",
        "EVENT_SEALING_KEY": sealing_key(),
    }


OWN: dict[str, Callable[[], dict[str, str]]] = {
    "auth": of_auth,
    "billing-webhook": of_other,
    "chat-agent": of_chat_agent,
    "conversation": of_other,
    "notification": of_notification,
}
