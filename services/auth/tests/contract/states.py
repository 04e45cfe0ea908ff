"""How things stand with auth, in the words of those who need something of it."""

from datetime import UTC, datetime

from auth import accounts, mails, registration
from auth.email_tokens import Fresh
from auth.events import MailKind
from auth.parts import Parts
from auth.schemas import Registration
from servicekit.app import Kit
from testkit.providers import State

# What the pacts' chat-agent proves itself with.
MACHINE_SECRET = "a-secret-of-the-pacts"
ADA = Registration.model_validate(
    {
        "email": "ada@example.com",
        "password": "four unrelated words here",
        "display_name": "Ada",
        "tenant_name": "Analytical Engines",
    }
)


async def chat_agent_has_a_secret(kit: Kit, secret: str) -> None:
    """Services get their secrets with the settings, so there is nothing to do but to look."""
    assert kit.settings.auth_service_secrets["chat-agent"].get_secret_value() == secret


async def somebody_has_signed_up(kit: Kit) -> None:
    await registration.register(Parts.of(kit.settings, kit, kit.keys), ADA)


async def somebody_has_asked_again(kit: Kit) -> None:
    await somebody_has_signed_up(kit)
    await registration.send_again(Parts.of(kit.settings, kit, kit.keys), ADA.email)


async def somebody_has_forgotten_their_password(kit: Kit) -> None:
    await a_mail_is_due(kit, MailKind.PASSWORD_RESET, Fresh("token", datetime.now(UTC)))


async def somebody_has_set_a_new_password(kit: Kit) -> None:
    await a_mail_is_due(kit, MailKind.PASSWORD_CHANGED)


async def a_mail_is_due(kit: Kit, kind: MailKind, fresh: Fresh | None = None) -> None:
    parts = Parts.of(kit.settings, kit, kit.keys)
    await somebody_has_signed_up(kit)
    async with kit.database.begin() as db:
        user = await accounts.find(db, ADA.email)
        assert user
        mails.send(db, parts, kind, mails.Recipient.of(user), fresh=fresh)


STATES: dict[str, State] = {
    "the chat-agent has a secret": chat_agent_has_a_secret,
    "somebody has signed up": somebody_has_signed_up,
    "somebody has asked for the confirming mail again": somebody_has_asked_again,
    "somebody has forgotten their password": somebody_has_forgotten_their_password,
    "somebody has set a new password": somebody_has_set_a_new_password,
}
