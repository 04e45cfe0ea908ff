"""What our mails say: templates in, a mail for the provider out."""

from typing import Any
from urllib.parse import quote

from jinja2 import PackageLoader, StrictUndefined, select_autoescape
from jinja2.sandbox import SandboxedEnvironment
from pydantic import JsonValue
from servicekit.sealing import unseal

from notification.models import Delivery
from notification.settings import Settings

SUBJECTS = {"email_verification": "Confirm your e-mail address"}
PAGES = {"email_verification": "verify-email"}

templates = SandboxedEnvironment(
    loader=PackageLoader("notification"),
    autoescape=select_autoescape(["html"], default=False),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def compose(delivery: Delivery, settings: Settings) -> dict[str, JsonValue]:
    """Write the mail of a delivery, as Resend takes it. Raises SealBroken when the token cannot be opened."""
    says = {**delivery.payload, **link(delivery, settings)}
    mail: dict[str, JsonValue] = {
        "to": [delivery.address],
        "subject": SUBJECTS[delivery.template],
        "tags": [{"name": "category", "value": delivery.template}],
    }
    if template_id := settings.template_ids[delivery.template]:
        return {**mail, "template": {"id": template_id, "variables": variables(says)}}
    return {**mail, **rendered(delivery.template, says)}


def link(delivery: Delivery, settings: Settings) -> dict[str, str]:
    """Open the token, and make the link that carries it."""
    token = unseal(settings.event_sealing_key, delivery.sealed_token or "", context=delivery.user_id)
    page = f"{settings.app_public_url.rstrip('/')}/{PAGES[delivery.template]}"
    return {"token": token, "link": f"{page}?token={quote(token, safe='')}"}


def rendered(template: str, says: dict[str, Any]) -> dict[str, JsonValue]:
    """Render our own templates: the same letter for those who read HTML and those who read text."""
    return {
        "html": templates.get_template(f"{template}.html").render(says),
        "text": templates.get_template(f"{template}.txt").render(says),
    }


def variables(says: dict[str, Any]) -> dict[str, JsonValue]:
    """Give what a template kept at Resend may use: LINK, TOKEN, NAME, TENANT_NAME, EXPIRES_AT; never null."""
    return {name.upper(): value or "" for name, value in says.items()}
