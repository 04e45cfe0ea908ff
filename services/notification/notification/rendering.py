"""Writing our mails: a letter and one layout in, a mail for the provider out."""

from functools import cache
from typing import Any
from urllib.parse import quote

from jinja2 import PackageLoader, StrictUndefined, Template
from jinja2.sandbox import SandboxedEnvironment
from pydantic import JsonValue
from servicekit.encryption import decrypt_by_any

from notification.deliveries import LONGEST_PAUSE
from notification.email_templates import LETTERS, Letter
from notification.events import Facts
from notification.models import Delivery
from notification.resend_mailer import NotNow
from notification.settings import Settings


def writing(*, escaped: bool) -> SandboxedEnvironment:
    """Make what renders text, or HTML in which nobody's name becomes a part of the page."""
    return SandboxedEnvironment(
        loader=PackageLoader("notification"),
        autoescape=escaped,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


HTML, TEXT = writing(escaped=True), writing(escaped=False)
KEPT_TEMPLATES_USE = ("link", "token", "name", "tenant_name", "expires_at")
# A letter is rendered whatever of this is known; a word that it makes up itself is an error.
NOTHING_KNOWN = dict.fromkeys([*KEPT_TEMPLATES_USE, *Facts.model_fields])


def compose(delivery: Delivery, settings: Settings) -> dict[str, JsonValue]:
    """Write the mail of a delivery, as Resend takes it.

    Raises SealBroken when the token cannot be opened, and NotNow when there is no letter of the kind.
    """
    letter = LETTERS.get(delivery.template)
    if letter is None:
        # A newer auth asks for it: the mail is kept for the newer sender that is being rolled out beside us.
        raise NotNow("letter_unknown", LONGEST_PAUSE)
    says = {**delivery.payload, **link(letter.page, delivery, settings)}
    mail: dict[str, JsonValue] = {
        "to": [delivery.address],
        "subject": letter.subject,
        "tags": [{"name": "category", "value": delivery.template}],
    }
    if template_id := settings.template_ids.get(delivery.template):
        return {**mail, "template": {"id": template_id, "variables": variables(says)}}
    return {
        **mail,
        "html": rendered(HTML, "email.html", letter, says),
        "text": rendered(TEXT, "email.txt", letter, says),
    }


def link(page: str | None, delivery: Delivery, settings: Settings) -> dict[str, str]:
    """Open the token, and make the link that carries it; notices have neither."""
    if page is None:
        return {}
    token = decrypt_by_any(settings.sealing_keys, delivery.sealed_token or "", context=delivery.user_id)
    address = f"{settings.app_public_url.rstrip('/')}/{page}"
    return {"token": token, "link": f"{address}?token={quote(token, safe='')}"}


def rendered(written: SandboxedEnvironment, layout: str, letter: Letter, says: dict[str, Any]) -> str:
    """Render a letter in its layout: the same for those who read HTML and those who read text."""
    known = {**NOTHING_KNOWN, **says}
    body = sentence(written, letter.says).render(known)
    wording = {"otherwise": letter.otherwise, "link_says": letter.link_says}
    return written.get_template(layout).render(known, says=body, **wording)


@cache
def sentence(written: SandboxedEnvironment, says: str) -> Template:
    """Compile what a letter says, once."""
    return written.from_string(says)


def variables(says: dict[str, Any]) -> dict[str, JsonValue]:
    """Give what a template kept at Resend may use: LINK, TOKEN, NAME, TENANT_NAME, EXPIRES_AT; never null."""
    return {name.upper(): says.get(name) or "" for name in KEPT_TEMPLATES_USE}
