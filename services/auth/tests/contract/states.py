"""How things stand with auth, in the words of those who need something of it."""

from auth import registration
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


STATES: dict[str, State] = {
    "the chat-agent has a secret": chat_agent_has_a_secret,
    "somebody has signed up": somebody_has_signed_up,
    "somebody has asked for the confirming mail again": somebody_has_asked_again,
}
