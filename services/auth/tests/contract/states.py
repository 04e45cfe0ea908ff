"""How things stand with auth, in the words of those who need something of it."""

from uuid import UUID

from auth import users
from auth.account import deletion, password_reset
from auth.events import EmailRequested
from auth.models import ApiKey, Membership, Status, Tenant, TenantStatus, User
from auth.registration import registration
from auth.schemas import Credentials, Registration
from auth.services import AuthServices
from auth.sign_in import password
from auth.tenants import lifecycle
from servicekit.app import Resources
from servicekit.auth.permissions import Role
from servicekit.encryption import decrypt
from servicekit.events.outbox import outbox
from sqlalchemy import select
from testkit.pact_provider import State
from testkit.pacts import TENANT, USER

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


async def chat_agent_has_a_secret(resources: Resources, secret: str) -> None:
    """Services get their secrets with the settings, so there is nothing to do but to look."""
    assert resources.settings.auth_service_secrets["chat-agent"].get_secret_value() == secret


async def somebody_has_signed_up(resources: Resources) -> None:
    await registration.register(
        AuthServices.from_settings(resources.settings, resources, resources.keys), ADA
    )


async def somebody_has_forgotten_their_password(resources: Resources) -> str:
    await somebody_has_signed_up(resources)
    async with resources.database.begin() as db:
        user = await users.get_for_update(db, ADA.email)
        assert user
        users.mark_verified(user)
    await password_reset.request_reset(
        AuthServices.from_settings(resources.settings, resources, resources.keys), ADA.email
    )
    return await token_of_the_mail(resources)


async def somebody_has_set_a_new_password(resources: Resources) -> None:
    token = await somebody_has_forgotten_their_password(resources)
    await password_reset.reset(
        AuthServices.from_settings(resources.settings, resources, resources.keys),
        token,
        "entirely different words",
    )


async def somebody_has_left(resources: Resources) -> None:
    services = AuthServices.from_settings(resources.settings, resources, resources.keys)
    await somebody_has_forgotten_their_password(resources)
    credentials = Credentials(email=ADA.email, password=ADA.password)
    session = await password.sign_in(services, credentials)
    caller = await resources.verifier.verify(session.access_token)
    await deletion.delete_account(services, caller, ADA.password.get_secret_value())


async def token_of_the_mail(resources: Resources) -> str:
    async with resources.database.begin() as db:
        due = select(outbox.c.data).where(outbox.c.type == EmailRequested.type).order_by(outbox.c.seq.desc())
        mail = await db.scalar(due.limit(1))
    return decrypt(resources.settings.event_sealing_key, mail["token"], context=mail["recipient"])


async def somebody_belongs(
    resources: Resources, status: TenantStatus = TenantStatus.ACTIVE, role: Role = Role.MEMBER
) -> None:
    user_id = UUID(USER.removeprefix("user:"))
    async with resources.database.begin() as db:
        db.add(Tenant(id=TENANT, slug="engines", name="Analytical Engines", status=status))
        db.add(User(id=user_id, email=ADA.email, email_key=ADA.email, status=Status.ACTIVE))
        await db.flush()
        db.add(Membership(tenant_id=TENANT, user_id=user_id, role=role))


async def somebody_belongs_to_a_suspended_tenant(resources: Resources) -> None:
    await somebody_belongs(resources, TenantStatus.SUSPENDED)


async def an_api_key_of_a_suspended_tenant(resources: Resources) -> None:
    await somebody_belongs(resources, TenantStatus.SUSPENDED, Role.ADMIN)
    made_by, key_id = UUID(USER.removeprefix("user:")), UUID("0a" * 16)
    async with resources.database.begin() as db:
        db.add(
            ApiKey(
                id=key_id,
                tenant_id=TENANT,
                created_by=made_by,
                name="Key",
                digest=b"x",
                scopes=["conversations:read"],
                networks=[],
            )
        )


async def the_owner_of_a_tenant(resources: Resources) -> None:
    await somebody_belongs(resources, role=Role.OWNER)


async def nobody_belongs(resources: Resources) -> None:
    async with resources.database.begin() as db:
        db.add(Tenant(id=TENANT, slug="engines", name="Analytical Engines"))


async def a_tenant_was_suspended(resources: Resources) -> None:
    await nobody_belongs(resources)
    async with resources.database.begin() as db:
        await lifecycle.suspend(db, await db.get_one(Tenant, TENANT), actor=lifecycle.OPERATOR)


async def a_tenant_was_reactivated(resources: Resources) -> None:
    await a_tenant_was_suspended(resources)
    async with resources.database.begin() as db:
        await lifecycle.reactivate(db, await db.get_one(Tenant, TENANT), actor=lifecycle.OPERATOR)


async def a_tenant_was_deleted(resources: Resources) -> None:
    await nobody_belongs(resources)
    services = AuthServices.from_settings(resources.settings, resources, resources.keys)
    async with resources.database.begin() as db:
        await lifecycle.delete_tenant(
            db, services, await db.get_one(Tenant, TENANT), actor=lifecycle.OPERATOR
        )


STATES: dict[str, State] = {
    "the owner of a tenant": the_owner_of_a_tenant,
    "a tenant was created": somebody_has_signed_up,
    "a verification email was requested": somebody_has_signed_up,
    "a tenant was suspended": a_tenant_was_suspended,
    "a tenant was reactivated": a_tenant_was_reactivated,
    "a tenant was deleted": a_tenant_was_deleted,
    "somebody belongs to a tenant": somebody_belongs,
    "somebody belongs to a suspended tenant": somebody_belongs_to_a_suspended_tenant,
    "an API key of a suspended tenant": an_api_key_of_a_suspended_tenant,
    "nobody belongs to the tenant": nobody_belongs,
    "the chat-agent has a secret": chat_agent_has_a_secret,
    "somebody has signed up": somebody_has_signed_up,
    "somebody has forgotten their password": somebody_has_forgotten_their_password,
    "somebody has set a new password": somebody_has_set_a_new_password,
    "somebody has left for good": somebody_has_left,
}
