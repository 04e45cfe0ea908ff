"""A tenant in which every sensitive action can be done, and how each is asked for."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import httpx
import pyotp
import yaml
from auth.access.sensitive_actions import POLICIES, SensitiveAction, Where
from servicekit.auth.permissions import Role, scopes_for

from .authenticator import Authenticator
from .conftest import PASSWORD
from .factor_helpers import enrol
from .vault_fixtures import Operator

A = SensitiveAction
ACCOUNT = "nightly-export"
KEY_SCOPES = ["billing:manage", "conversations:read"]


class Request(NamedTuple):
    """What is asked of auth."""

    method: str
    path: str
    body: Any = None
    headers: Mapping[str, str] = {}


@dataclass(frozen=True, kw_only=True)
class Team:
    """A tenant with two owners, an admin and a member; `target` and `role` are what actions are about."""

    auth: Any
    vault: Operator
    owner: dict[str, Any]
    other_owner: dict[str, Any]
    admin: dict[str, Any]
    member: dict[str, Any]
    target: dict[str, Any]
    role: str = "member"

    def actor(self, action: SensitiveAction) -> dict[str, Any]:
        """Return the session of somebody who has just what an action needs."""
        policy = POLICIES[action]
        if policy.where is Where.ACCOUNT:
            return self.member
        return self.other_owner if policy.min_role is Role.OWNER else self.admin

    def above(self) -> "Team":
        """Return the same tenant, with actions about its owner."""
        return replace(self, target=self.owner, role="owner")

    @property
    def target_id(self) -> str:
        return str(self.target["user_id"]).removeprefix("user:")

    async def ask(self, bundle: dict[str, Any], request: Request) -> httpx.Response:
        answer: httpx.Response = await self.auth.ask(
            request.method, request.path, bundle, request.body, **request.headers
        )
        return answer

    async def made(self, path: str, body: Any) -> dict[str, Any]:
        """Have the owner make something; gives the answer."""
        answer = await self.auth.ask("POST", path, self.owner, body)
        assert answer.is_success, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def key(self, scopes: list[str] = KEY_SCOPES) -> dict[str, Any]:
        return await self.made("api-keys", {"name": "Nightly", "scopes": scopes})

    async def invite(self) -> str:
        body = {"email": "guest@example.com", "role": self.role}
        return str((await self.made("tenants/current/invites", body))["id"])


def accounts_file(folder: Any) -> Any:
    """Write the catalogue of service accounts."""
    path = folder / "accounts.yaml"
    account = {"role": "owner", "scopes": sorted(scopes_for(Role.OWNER)), "global": True}
    path.write_text(yaml.safe_dump({"accounts": {ACCOUNT: {**account, "audiences": ["acme-api", "auth"]}}}))
    return path


async def team(auth: Any, start: Any, operator: Operator, folder: Any) -> Team:
    """Make the tenant; it is the operators', too."""
    owner = await auth.somebody()
    service = await start(
        auth_operator_tenant_id=owner["tenant_id"],
        auth_signup_policy="approval",
        auth_account_deletion_grace_days=14,
        auth_service_accounts_file=accounts_file(folder),
        **operator.settings,
    )
    others = [
        await service.joined(owner, f"{name}@example.com", role)
        for name, role in (("olga", "owner"), ("adam", "admin"), ("bob", "member"))
    ]
    names = dict(zip(("other_owner", "admin", "member"), others, strict=True))
    return Team(auth=service, vault=operator, owner=owner, target=names["member"], **names)


Ask = Callable[[Team], Awaitable[Request]]


def at(method: str, path: str, body: Any = None) -> Ask:
    """Return a request that needs nothing to be there before; `{user_id}` is the target."""

    async def request(team: Team) -> Request:
        return Request(method, path.format(user_id=team.target_id), body)

    return request


def on_key(method: str, path: str, body: Any = None) -> Ask:
    async def request(team: Team) -> Request:
        return Request(method, path.format(key_id=(await team.key())["id"]), body)

    return request


def on_invite(method: str, path: str) -> Ask:
    async def request(team: Team) -> Request:
        return Request(method, path.format(invite_id=await team.invite()))

    return request


def on_signup(decision: str, body: Any = None) -> Ask:
    async def request(team: Team) -> Request:
        wanted = {"email": "new@example.com", "name": "Nell", "company": "New"}
        assert (await team.auth.post("signup-requests", **wanted)).status_code == 202
        listed = (await team.auth.ask("GET", "signup-requests", team.owner)).json()["items"]
        return Request("POST", f"signup-requests/{listed[-1]['id']}/{decision}", body)

    return request


async def inviting(team: Team) -> Request:
    body = {"email": "guest@example.com", "role": team.role}
    return Request("POST", "tenants/current/invites", body)


async def changing_role(team: Team) -> Request:
    body = {"role": "viewer" if team.role == "member" else team.role}
    return Request("PATCH", f"tenants/current/members/{team.target_id}", body)


async def transferring(team: Team) -> Request:
    return Request("POST", "tenants/current/transfer-ownership", {"user_id": team.target_id})


async def reactivating(team: Team) -> Request:
    """The other owner works in a second tenant; the first is suspended."""
    tenant_id = team.owner["tenant_id"]
    second = (await team.auth.ask("POST", "tenants", team.other_owner, {"name": "Second"})).json()["id"]
    bundle = (await team.auth.ask("POST", f"tenants/{second}/switch", team.other_owner)).json()
    assert (await team.auth.ask("POST", "tenants/current/suspend", team.owner)).status_code == 204
    team.other_owner.update(bundle)
    return Request("POST", f"tenants/{tenant_id}/reactivate")


async def revoking_credential(team: Team) -> Request:
    wanted = team.vault.request(account=ACCOUNT, tenant_id=team.owner["tenant_id"])
    issued = await team.auth.post("service-accounts/issue", **wanted)
    return Request("POST", f"service-accounts/tokens/{issued.json()['id']}/revoke")


async def with_app(team: Team) -> None:
    """Set up an authenticator app for the member, and verify it."""
    app = await enrol(team.auth, team.member)
    stepped = await team.auth.post("step-up", team.member["access_token"], code=app.code)
    team.member.update(stepped.json())
    await app.later()


async def resetting_factors(team: Team) -> Request:
    return Request("POST", f"tenants/current/members/{team.target_id}/second-factor-reset")


async def adding_totp(team: Team) -> Request:
    begun = (await team.auth.post("factors/totp", team.member["access_token"])).json()
    return Request("POST", "factors/totp/confirm", {"code": pyotp.TOTP(begun["seed"]).now()})


async def adding_passkey(team: Team) -> Request:
    begun = (await team.auth.post("factors/passkeys/options", team.member["access_token"])).json()
    made = Authenticator().register(begun["options"])
    return Request("POST", "factors/passkeys", {"challenge": begun["challenge"], "passkey": made})


async def removing_passkey(team: Team) -> Request:
    await with_app(team)
    request = await adding_passkey(team)
    added = (await team.ask(team.member, request)).json()["passkey"]
    return Request("DELETE", f"factors/passkeys/{added['id']}")


def after_app(method: str, path: str) -> Ask:
    async def request(team: Team) -> Request:
        await with_app(team)
        return Request(method, path)

    return request


async def changing_settings(team: Team) -> Request:
    return Request("PUT", "tenants/current/settings", {"default_locale": "de"}, {"If-Match": "*"})


async def ending_other_sessions(team: Team) -> Request:
    await team.auth.session("bob@example.com")
    return Request("POST", "logout/others")


async def ending_another_session(team: Team) -> Request:
    other = await team.auth.session("bob@example.com")
    return Request("DELETE", f"sessions/{other['session_id']}")


async def ending_any_sessions(team: Team) -> Request:
    return Request("POST", "sessions/end", {"user_id": team.target_id})


MEMBER = "tenants/current/members/{user_id}"
INVITE = "tenants/current/invites/{invite_id}"
# How each action is asked for. A new action needs a line here.
REQUESTS: dict[SensitiveAction, Ask] = {
    A.CREATE_API_KEY: at("POST", "api-keys", {"name": "Nightly", "scopes": KEY_SCOPES}),
    A.ROTATE_API_KEY: on_key("POST", "api-keys/{key_id}/rotate", {}),
    A.REVOKE_API_KEY: on_key("DELETE", "api-keys/{key_id}"),
    A.REVOKE_SERVICE_CREDENTIAL: revoking_credential,
    A.CREATE_INVITE: inviting,
    A.RESEND_INVITE: on_invite("POST", f"{INVITE}/resend"),
    A.REVOKE_INVITE: on_invite("DELETE", INVITE),
    A.CHANGE_ROLE: changing_role,
    A.TRANSFER_OWNERSHIP: transferring,
    A.REMOVE_MEMBER: at("DELETE", MEMBER),
    A.LEAVE_TENANT: at("POST", "tenants/current/leave"),
    A.END_MEMBER_SESSIONS: at("DELETE", f"{MEMBER}/sessions"),
    A.SEND_PASSWORD_RESET: at("POST", f"{MEMBER}/password-reset"),
    A.RESET_SECOND_FACTORS: resetting_factors,
    A.CREATE_TENANT: at("POST", "tenants", {"name": "Second"}),
    A.CHANGE_TENANT_SETTINGS: changing_settings,
    A.SUSPEND_TENANT: at("POST", "tenants/current/suspend"),
    A.REACTIVATE_TENANT: reactivating,
    A.DELETE_TENANT: at("DELETE", "tenants/current"),
    A.APPROVE_SIGNUP: on_signup("approve"),
    A.REJECT_SIGNUP: on_signup("reject", {"reason": "We do not know you"}),
    A.END_ANY_SESSIONS: ending_any_sessions,
    A.END_ALL_SESSIONS: at("POST", "logout/all"),
    A.END_OTHER_SESSIONS: ending_other_sessions,
    A.END_OTHER_SESSION: ending_another_session,
    A.CHANGE_PASSWORD: at(
        "POST", "password/change", {"current_password": PASSWORD, "new_password": "an entirely new phrase"}
    ),
    A.CHANGE_EMAIL: at("POST", "email/change", {"new_email": "rob@example.com", "password": PASSWORD}),
    A.DELETE_ACCOUNT: at("POST", "account/delete", {"password": PASSWORD}),
    A.BEGIN_TOTP: at("POST", "factors/totp"),
    A.ADD_TOTP: adding_totp,
    A.REMOVE_TOTP: after_app("DELETE", "factors/totp"),
    A.RENEW_RECOVERY_CODES: after_app("POST", "factors/recovery-codes"),
    A.BEGIN_PASSKEY: at("POST", "factors/passkeys/options"),
    A.ADD_PASSKEY: adding_passkey,
    A.REMOVE_PASSKEY: removing_passkey,
}
