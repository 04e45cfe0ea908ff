"""The variables of each component: defaults, then the caller's own variables, then what cannot be changed.

Nothing else of the caller's environment reaches a component.
"""

import json
import os
from collections.abc import Callable, Mapping

from starter_cli import billing, vault
from starter_cli.paths import SERVICES, Layout
from starter_cli.ports import HOST
from starter_cli.variables import MACHINE, PROXIES, TELEMETRY, TLS, non_empty, overrides_for

MODEL = ("OPENAI_API_KEY", "OPENAI_BASE_URL")
OTHER_PROVIDERS = ("ANTHROPIC", "GEMINI", "XAI")

Environment = dict[str, str]


def machine_variables() -> Environment:
    """Return the variables that describe the machine."""
    return {
        **non_empty(*MACHINE, *TLS, *TELEMETRY),
        "NO_PROXY": f"{HOST},localhost",
        "no_proxy": f"{HOST},localhost",
    }


def python_variables() -> Environment:
    """Return the variables of a Python program, which logs without delay."""
    return {**machine_variables(), "PYTHONUNBUFFERED": "1"}


def for_service(layout: Layout, replica: str) -> Environment:
    """Return the variables of a replica: defaults, the caller's own, and those that cannot be changed."""
    service = layout.replicas[replica]
    return {
        **python_variables(),
        "LOGGING_SINK": "stdout",
        **DEFAULTS.get(service, no_variables)(layout),
        **overrides_for(service),
        **fixed_variables(layout, replica),
        **FIXED.get(service, no_variables)(layout),
        **layout.settings.get(service, {}),
    }


def fixed_variables(layout: Layout, replica: str) -> Environment:
    """Return what makes a replica a part of this stack and of no other."""
    service = layout.replicas[replica]
    return {
        "ENVIRONMENT": "development",
        "DEBUG": "true",
        "HOST": HOST,
        "PORT": str(layout.ports[replica]),
        "INTERNAL_PORT": str(layout.ports[f"{replica}-internal"]),
        "DATABASE_URL": layout.database_url(service),
        "REDIS_URL": layout.valkey.url,
        "AUTH_ISSUER": layout.gateway_url,
        "AUTH_JWKS_URL": f"{layout.url('auth')}/.well-known/jwks.json",
        "AUTH_INTERNAL_URL": layout.url("auth-internal"),
        "SERVICE_CLIENT_SECRET": layout.secrets[f"{service}-client"],
    }


def no_variables(_layout: Layout) -> Environment:
    """Return nothing more."""
    return {}


def auth_defaults(layout: Layout) -> Environment:
    """Return the sandbox's Vault, and limits for a machine on which every caller has the same IP address."""
    return {
        **vault.default_variables(layout),
        "APP_PUBLIC_URL": layout.pages_url,
        "AUTH_RATE_LIMITS": json.dumps(
            dict.fromkeys(("ip:register", "ip:token", "ip:refresh", "ip:email/verify"), 1000)
        ),
        "EMAIL_VERIFICATION_IP_RATE_LIMIT_PER_HOUR": "1000",
    }


def auth_fixed(layout: Layout) -> Environment:
    """Return auth's peppers, its keys, and the credentials of the other services."""
    secrets = layout.secrets
    return {
        "AUTH_PASSWORD_PEPPER": secrets["password-pepper"],
        "AUTH_REFRESH_TOKEN_PEPPER": secrets["refresh-token-pepper"],
        "AUTH_EMAIL_VERIFICATION_TOKEN_PEPPER": secrets["email-verification-token-pepper"],
        "AUTH_PASSWORD_RESET_TOKEN_PEPPER": secrets["password-reset-token-pepper"],
        "AUTH_JWKS_ETAG_SALT": secrets["jwks-etag-salt"],
        "AUTH_SESSION_ENCRYPTION_KEY": secrets["session-encryption-key"],
        "AUTH_SESSION_IP_HASH_SALT": secrets["session-ip-hash-salt"],
        "AUTH_SERVICE_SECRETS": json.dumps({service: secrets[f"{service}-client"] for service in SERVICES}),
        "EVENT_SEALING_KEY": secrets["event-sealing-key"],
    }


def chat_agent_defaults(layout: Layout) -> Environment:
    """Return whether runs keep limits, and how chat-agent reaches the caller's model, if there is one."""
    if not has_real_model():
        inputs = {"MODEL_INPUTS": '{"sandbox-large": ["image", "file", "audio"]}'}
        return {**billing.default_variables(layout), **inputs}
    # A server of one's own needs no key, and speaks the older protocol more often than the newer one.
    own = {"OPENAI_API": "chat_completions"}
    return {
        **billing.default_variables(layout),
        **non_empty(*PROXIES),
        "OPENAI_API_KEY": "none-needed",
        **(own if non_empty("OPENAI_BASE_URL") else {}),
    }


def chat_agent_fixed(layout: Layout) -> Environment:
    """Return where conversation and billing are, and the sandbox if there is no other model."""
    sandbox = {
        "OPENAI_API_KEY": "sandbox",
        "OPENAI_BASE_URL": f"{layout.sandbox_url}/v1",
        # What the ledger is to say: that no model has answered.
        "AGENT_MODEL_DEFAULT": "sandbox-large",
    }
    search = {"TAVILY_API_KEY": "tvly-sandbox", "TAVILY_BASE_URL": f"{layout.sandbox_url}/tavily"}
    return {
        "CONVERSATION_INTERNAL_URL": layout.url("conversation-internal"),
        "BILLING_INTERNAL_URL": layout.url("billing-webhook-internal"),
        "TENANT_SECRETS_ENCRYPTION_KEY": layout.secrets["tenant-secrets-encryption-key"],
        **({} if has_real_model() else sandbox),
        **({} if non_empty("TAVILY_API_KEY", "TAVILY_BASE_URL") else search),
    }


def billing_webhook_defaults(layout: Layout) -> Environment:
    """Return that billing is on, with which secret Stripe signs, and where people change their plan."""
    proxies = non_empty(*PROXIES) if non_empty("STRIPE_SECRET_KEY") else {}
    return {
        **billing.default_variables(layout),
        "STRIPE_WEBHOOK_SECRET": f"whsec_{layout.secrets['stripe-webhook-secret']}",
        "APP_PUBLIC_URL": layout.pages_url,
        **proxies,
    }


def notification_defaults(layout: Layout) -> Environment:
    """Return where links lead, and the sender when emails really go out."""
    # Resend's own address for those who have not verified a domain yet.
    real = {"RESEND_DEFAULT_FROM": "onboarding@resend.dev", **non_empty(*PROXIES)}
    return {"APP_PUBLIC_URL": layout.pages_url, **(real if has_real_mail() else {})}


def notification_fixed(layout: Layout) -> Environment:
    """Return where billing is, and where emails are sent: to the sandbox, unless there is a key."""
    sandbox = {
        "RESEND_API_KEY": "re_sandbox",
        "RESEND_BASE_URL": f"{layout.sandbox_url}/resend",
        "RESEND_DEFAULT_FROM": "Acme <acme@example.com>",
    }
    return {
        "EVENT_SEALING_KEY": layout.secrets["event-sealing-key"],
        "BILLING_INTERNAL_URL": layout.url("billing-webhook-internal"),
        "RESEND_EMAIL_ENABLED": "true",
        **({} if has_real_mail() else sandbox),
    }


def for_gateway(layout: Layout, envoy: str) -> Environment:
    """Return where the gateway listens, and where it sends requests."""
    services = {
        f"{replica.upper().replace('-', '_')}_{what}": value
        for replica in layout.replicas
        for what, value in (("ADDRESS", HOST), ("PORT", str(layout.ports[replica])))
    }
    return {
        **machine_variables(),
        "ALLOWED_ORIGINS": ",".join(allowed_origins(layout)),
        **overrides_for("gateway"),
        "ENVOY": envoy,
        "GATEWAY_ADDRESS": HOST,
        "GATEWAY_PORT": str(layout.ports["gateway"]),
        "GATEWAY_ADMIN_PORT": str(layout.ports["gateway-admin"]),
        "GATEWAY_CONFIG_OUT": str(layout.data_dir.root / "gateway.yaml"),
        "AUTH_ISSUER": layout.gateway_url,
        **services,
        **layout.settings.get("gateway", {}),
    }


def allowed_origins(layout: Layout) -> list[str]:
    """List the origins that may call from a browser: a frontend's and ours, by both names of this machine."""
    ports = (3000, layout.ports["gateway"])
    return [f"http://{host}:{port}" for port in ports for host in ("localhost", HOST)]


def for_all(layout: Layout) -> dict[str, Environment]:
    """Return the environment of each service and of the gateway."""
    services = {service: for_service(layout, service) for service in SERVICES}
    return {**services, "gateway": for_gateway(layout, "")}


def has_real_model() -> bool:
    """Return whether the caller has a key for a model, or the address of a server that may need none."""
    return bool(non_empty(*MODEL)) or has_model_of_other_provider()


def has_model_of_other_provider() -> bool:
    """Return whether agents call a model of another provider than OpenAI, whose key is set."""
    provider = os.environ.get("AGENT_MODEL_DEFAULT", "").partition("/")[0].upper()
    return provider in OTHER_PROVIDERS and bool(non_empty(f"{provider}_API_KEY"))


def has_real_mail() -> bool:
    """Return whether the caller has a key for sending mail."""
    return bool(non_empty("RESEND_API_KEY"))


DEFAULTS: Mapping[str, Callable[[Layout], Environment]] = {
    "auth": auth_defaults,
    "chat-agent": chat_agent_defaults,
    "billing-webhook": billing_webhook_defaults,
    "notification": notification_defaults,
}
FIXED: Mapping[str, Callable[[Layout], Mapping[str, str]]] = {
    "auth": auth_fixed,
    "chat-agent": chat_agent_fixed,
    "billing-webhook": billing.sandbox_variables,
    "notification": notification_fixed,
}
