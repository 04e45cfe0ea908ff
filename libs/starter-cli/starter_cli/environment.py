"""What each part is told. The caller's own environment reaches none of them, but for what is listed here."""

import json
import os
from collections.abc import Callable, Mapping

from starter_cli.layout import SERVICES, Layout
from starter_cli.ports import HOST

# What any program needs of the machine it runs on.
MACHINE = ("PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR")
TLS = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
TELEMETRY = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_HEADERS")
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")
MODEL = ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_API", "AGENT_MODEL_DEFAULT")
MAIL = ("RESEND_API_KEY", "RESEND_BASE_URL", "RESEND_DEFAULT_FROM")

Environment = dict[str, str]


def taken(*names: str) -> Environment:
    """Take variables from the caller's environment, as far as they are set."""
    return {name: os.environ[name] for name in names if os.environ.get(name)}


def machine() -> Environment:
    """Tell a program about the machine."""
    return {
        **taken(*MACHINE, *TLS, *TELEMETRY),
        "NO_PROXY": f"{HOST},localhost",
        "no_proxy": f"{HOST},localhost",
    }


def python() -> Environment:
    """Tell a Python program about the machine, and to log without delay."""
    return {**machine(), "PYTHONUNBUFFERED": "1"}


def of_service(layout: Layout, replica: str) -> Environment:
    """Tell a replica of a service what all of them are told, then what its service alone is."""
    service = layout.replicas[replica]
    return {
        **python(),
        "ENVIRONMENT": "development",
        "DEBUG": "true",
        "LOGGING_SINK": "stdout",
        "HOST": HOST,
        "PORT": str(layout.ports[replica]),
        "INTERNAL_PORT": str(layout.ports[f"{replica}-internal"]),
        "DATABASE_URL": layout.database_url(service),
        "REDIS_URL": layout.valkey.url,
        "AUTH_ISSUER": layout.gateway_url,
        "AUTH_JWKS_URL": f"{layout.url('auth')}/.well-known/jwks.json",
        "AUTH_INTERNAL_URL": layout.url("auth-internal"),
        "SERVICE_CLIENT_SECRET": layout.secrets[f"{service}-client"],
        **OWN[service](layout),
        **layout.settings.get(service, {}),
    }


def of_auth(layout: Layout) -> Environment:
    """Tell auth its peppers, its keys, and the credentials of the other services."""
    secrets = layout.secrets
    return {
        "APP_PUBLIC_URL": layout.gateway_url,
        "AUTH_PASSWORD_PEPPER": secrets["password-pepper"],
        "AUTH_REFRESH_TOKEN_PEPPER": secrets["refresh-token-pepper"],
        "AUTH_EMAIL_VERIFICATION_TOKEN_PEPPER": secrets["email-verification-token-pepper"],
        "AUTH_PASSWORD_RESET_TOKEN_PEPPER": secrets["password-reset-token-pepper"],
        "AUTH_JWKS_ETAG_SALT": secrets["jwks-etag-salt"],
        "AUTH_SESSION_ENCRYPTION_KEY": secrets["session-encryption-key"],
        "AUTH_SESSION_IP_HASH_SALT": secrets["session-ip-hash-salt"],
        "AUTH_SERVICE_SECRETS": json.dumps({service: secrets[f"{service}-client"] for service in SERVICES}),
        "EVENT_SEALING_KEY": secrets["event-sealing-key"],
        # Everybody comes from this one machine, whatever they try out.
        "SIGNUP_RATE_LIMIT_PER_HOUR": "1000",
        "AUTH_TOKEN_RATE_LIMIT_PER_MINUTE": "1000",
        "AUTH_REFRESH_RATE_LIMIT_PER_MINUTE": "1000",
        "EMAIL_VERIFICATION_IP_RATE_LIMIT_PER_HOUR": "1000",
        "EMAIL_VERIFICATION_ATTEMPT_RATE_LIMIT_PER_MINUTE": "1000",
    }


def of_conversation(_layout: Layout) -> Environment:
    """Tell conversation nothing of its own."""
    return {}


def of_chat_agent(layout: Layout) -> Environment:
    """Tell chat-agent where the model is: the real one when there is a key for it, else the sandbox."""
    sandbox = {
        "OPENAI_API_KEY": "sandbox",
        "OPENAI_BASE_URL": f"{layout.sandbox_url}/v1",
        # What the ledger is to say: that no model has answered.
        "AGENT_MODEL_DEFAULT": "sandbox-large",
    }
    model = taken(*MODEL, *PROXIES) if has_real_model() else sandbox
    return {"CONVERSATION_INTERNAL_URL": layout.url("conversation-internal"), **model}


def of_billing_webhook(layout: Layout) -> Environment:
    """Tell billing-webhook what Stripe signs its events with."""
    return {"STRIPE_WEBHOOK_SECRET": f"whsec_{layout.secrets['stripe-webhook-secret']}"}


def of_notification(layout: Layout) -> Environment:
    """Tell notification where mail goes: out into the world when there is a key for it, else the sandbox."""
    sandbox = {
        "RESEND_API_KEY": "re_sandbox",
        "RESEND_BASE_URL": f"{layout.sandbox_url}/resend",
        "RESEND_DEFAULT_FROM": "Acme <acme@example.com>",
    }
    # Resend's own address for those who have not verified a domain yet.
    real = {"RESEND_DEFAULT_FROM": "onboarding@resend.dev", **taken(*MAIL, *PROXIES)}
    return {
        "APP_PUBLIC_URL": layout.gateway_url,
        "EVENT_SEALING_KEY": layout.secrets["event-sealing-key"],
        "RESEND_EMAIL_ENABLED": "true",
        **(real if has_real_mail() else sandbox),
    }


def of_gateway(layout: Layout, envoy: str) -> Environment:
    """Tell the gateway where it listens and where it sends what it hears."""
    services = {
        f"{replica.upper().replace('-', '_')}_{what}": value
        for replica in layout.replicas
        for what, value in (("ADDRESS", HOST), ("PORT", str(layout.ports[replica])))
    }
    return {
        **machine(),
        "ENVOY": envoy,
        "GATEWAY_ADDRESS": HOST,
        "GATEWAY_PORT": str(layout.ports["gateway"]),
        "GATEWAY_ADMIN_PORT": str(layout.ports["gateway-admin"]),
        "GATEWAY_CONFIG_OUT": str(layout.folders.root / "gateway.yaml"),
        "AUTH_ISSUER": layout.gateway_url,
        "ALLOWED_ORIGINS": f"http://localhost:3000,http://localhost:{layout.ports['gateway']}",
        **services,
        **layout.settings.get("gateway", {}),
    }


def has_real_model() -> bool:
    """Tell whether the caller has a key for a model."""
    return bool(os.environ.get("OPENAI_API_KEY"))


def model_address() -> str:
    """Tell where the caller's model is."""
    return os.environ.get("OPENAI_BASE_URL") or "https://api.openai.com/v1"


def has_real_mail() -> bool:
    """Tell whether the caller has a key for sending mail."""
    return bool(os.environ.get("RESEND_API_KEY"))


OWN: Mapping[str, Callable[[Layout], Environment]] = {
    "auth": of_auth,
    "conversation": of_conversation,
    "chat-agent": of_chat_agent,
    "billing-webhook": of_billing_webhook,
    "notification": of_notification,
}
