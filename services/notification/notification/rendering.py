"""Render emails: a template and a layout make an email for the provider."""

from functools import cache
from typing import Any
from urllib.parse import quote

from jinja2 import PackageLoader, StrictUndefined, Template
from jinja2.sandbox import SandboxedEnvironment
from resend import Emails
from servicekit.encryption import decrypt_by_any

from notification import email_templates
from notification.billing_templates import BILLING_TEMPLATES
from notification.deliveries import MAX_RETRY_SECONDS
from notification.email_templates import EmailTemplate
from notification.events import Facts
from notification.models import Delivery
from notification.resend_mailer import TemporaryFailure
from notification.settings import Settings
from notification.team_templates import TEAM_TEMPLATES


def make_environment(*, autoescape: bool) -> SandboxedEnvironment:
    """Return a Jinja environment for text, or for HTML in which values are escaped."""
    return SandboxedEnvironment(
        loader=PackageLoader("notification"),
        autoescape=autoescape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


HTML, TEXT = make_environment(autoescape=True), make_environment(autoescape=False)
HOSTED_TEMPLATE_VARIABLES = ("link", "token", "name", "tenant_name", "expires_at")
# Missing values render as nothing; a name that is not among these is an error.
BILLING_VARIABLES = (
    *("amount", "ends_at", "feature", "invoice", "is_hard", "next_attempt", "percent", "read_only_at"),
    "resets_at",
)
EMPTY_CONTEXT = dict.fromkeys([*HOSTED_TEMPLATE_VARIABLES, *Facts.model_fields, *BILLING_VARIABLES])
TEMPLATES = {**email_templates.TEMPLATES, **TEAM_TEMPLATES, **BILLING_TEMPLATES}


def render_email(delivery: Delivery, settings: Settings) -> Emails.SendParams:
    """Return the email of a delivery, as Resend expects it.

    Raise DecryptionFailed, and TemporaryFailure when the template is unknown.
    """
    template = TEMPLATES.get(delivery.template)
    if template is None:
        # A newer auth requests it: the newer sender that is being rolled out will send it.
        raise TemporaryFailure("template_not_found", MAX_RETRY_SECONDS)
    context = {**delivery.payload, **action_link(template, delivery, settings)}
    email: Emails.SendParams = {
        "from": settings.resend_default_from or "",
        "to": [delivery.address],
        "subject": template.subject,
        "tags": [{"name": "category", "value": delivery.template}],
    }
    if template_id := settings.template_ids.get(delivery.template):
        return {**email, "template": {"id": template_id, "variables": hosted_template_variables(context)}}
    return {
        **email,
        "html": render_body(HTML, "email.html", template, context),
        "text": render_body(TEXT, "email.txt", template, context),
    }


def action_link(template: EmailTemplate, delivery: Delivery, settings: Settings) -> dict[str, str]:
    """Return the link of an email, with its decrypted token if it carries one; a notice has neither."""
    if template.page is None:
        return {}
    url = f"{settings.app_public_url.rstrip('/')}/{template.page}"
    if not template.has_token:
        return {"link": delivery.payload.get("invoice_url") or url}
    token = decrypt_by_any(settings.sealing_keys, delivery.sealed_token or "", context=delivery.user_id)
    return {"token": token, "link": f"{url}?token={quote(token, safe='')}"}


def render_body(
    environment: SandboxedEnvironment, layout: str, template: EmailTemplate, context: dict[str, Any]
) -> str:
    """Render a template in its layout, as HTML or as text."""
    context = {**EMPTY_CONTEXT, **context}
    body = compile_template(environment, template.body).render(context)
    texts = {"footer": template.footer, "link_text": template.link_text}
    return environment.get_template(layout).render(context, body=body, **texts)


@cache
def compile_template(environment: SandboxedEnvironment, source: str) -> Template:
    """Compile a template once."""
    return environment.from_string(source)


def hosted_template_variables(context: dict[str, Any]) -> dict[str, str | int]:
    """Return the variables of a template hosted at Resend: LINK, TOKEN, NAME, …; never null."""
    return {name.upper(): context.get(name) or "" for name in HOSTED_TEMPLATE_VARIABLES}
