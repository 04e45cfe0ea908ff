"""Every action that issues or changes a credential or a right, and what it requires: one table.

    @router.delete("/{key_id}")
    async def revoke_api_key(
        caller: Annotated[Principal, sensitive(SensitiveAction.REVOKE_API_KEY)], ...
    ) -> None: ...

`authorization.sensitive` enforces a row before a route runs; `roles.authorize` verifies the role
again inside the transaction, with the tenant locked. `docs/permissions.md` shows the table.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum

from servicekit.auth.permissions import Role

from auth.audit.record import Action
from auth.events import EmailKind


class SensitiveAction(StrEnum):
    """A sensitive action, by its name in the documentation."""

    CREATE_API_KEY = "create an API key"
    ROTATE_API_KEY = "rotate an API key"
    REVOKE_API_KEY = "revoke an API key"
    REVOKE_SERVICE_CREDENTIAL = "revoke a service account's credential"
    CREATE_INVITE = "invite somebody"
    RESEND_INVITE = "send an invite again"
    REVOKE_INVITE = "revoke an invite"
    CHANGE_ROLE = "change a member's role"
    TRANSFER_OWNERSHIP = "transfer ownership"
    REMOVE_MEMBER = "remove a member"
    LEAVE_TENANT = "leave a tenant"
    END_MEMBER_SESSIONS = "end a member's sessions"
    SEND_PASSWORD_RESET = "send a member a password reset"  # noqa: S105  # an action, not a password
    RESET_SECOND_FACTORS = "reset a member's second factors"
    CREATE_TENANT = "create a tenant"
    CHANGE_TENANT_SETTINGS = "change a tenant's settings"
    SUSPEND_TENANT = "suspend a tenant"
    REACTIVATE_TENANT = "reactivate a tenant"
    DELETE_TENANT = "delete a tenant"
    APPROVE_SIGNUP = "approve a sign-up request"
    REJECT_SIGNUP = "reject a sign-up request"
    END_ANY_SESSIONS = "end anybody's sessions"
    END_ALL_SESSIONS = "end all of one's sessions"
    END_OTHER_SESSIONS = "end all of one's other sessions"
    END_OTHER_SESSION = "end another of one's sessions"
    CHANGE_PASSWORD = "change one's password"  # noqa: S105  # an action, not a password
    CHANGE_EMAIL = "change one's e-mail address"
    DELETE_ACCOUNT = "delete one's account"
    BEGIN_TOTP = "begin to add an authenticator app"
    ADD_TOTP = "add an authenticator app"
    REMOVE_TOTP = "remove an authenticator app"
    RENEW_RECOVERY_CODES = "renew recovery codes"
    BEGIN_PASSKEY = "begin to add a passkey"
    ADD_PASSKEY = "add a passkey"
    REMOVE_PASSKEY = "remove a passkey"


class Where(Enum):
    """What the action changes, which decides in which tenant the role is looked up."""

    ACCOUNT = "one's own account"
    TENANT = "the tenant of the token"
    # Nobody has a token for a suspended tenant.
    NAMED_TENANT = "the tenant in the path"
    OPERATORS = "the operators' tenant"


class Ceiling(Enum):
    """What the actor may not exceed."""

    NONE = "none"
    ROLE = "the member's role and the role given are at most the actor's"
    RIGHTS = "the key's scopes are within the actor's rights and the token's scopes"
    LOOSENING = "only an owner may let API keys outlive their holder's rights"


@dataclass(frozen=True, kw_only=True)
class Policy:
    """One row: what an action requires, how it is audited, and who is notified.

    `proof_minutes` is None where AUTH_STEP_UP_MINUTES applies. `permission` is what the token must allow;
    `least_role` is read from the database. `mail` goes to `mail_to`, whoever acted.
    """

    where: Where = Where.TENANT
    recent_auth: bool = True
    max_auth_age_minutes: int | None = None
    permission: str | None = None
    min_role: Role | None = None
    ceiling: Ceiling = Ceiling.NONE
    machines: bool = False
    audit: Action | None
    email: EmailKind | None = None
    email_to: str = ""


def api_key_policy(audit: Action, mail: EmailKind, mail_to: str, ceiling: Ceiling = Ceiling.NONE) -> Policy:
    """Return the policy of an action on a tenant's API keys."""
    return Policy(
        permission="api_keys:manage",
        min_role=Role.ADMIN,
        ceiling=ceiling,
        audit=audit,
        email=mail,
        email_to=mail_to,
    )


def member_policy(
    audit: Action, mail: EmailKind | None = None, mail_to: str = "the member", ceiling: Ceiling = Ceiling.ROLE
) -> Policy:
    """Return the policy of an action on a tenant's members or invites."""
    return Policy(
        permission="members:manage",
        min_role=Role.ADMIN,
        ceiling=ceiling,
        audit=audit,
        email=mail,
        email_to=mail_to,
    )


def tenant_policy(audit: Action, mail: EmailKind, mail_to: str = "the owners") -> Policy:
    """Return the policy of an owner's action on the tenant itself."""
    return Policy(permission="tenant:manage", min_role=Role.OWNER, audit=audit, email=mail, email_to=mail_to)


def signup_policy(audit: Action, mail: EmailKind) -> Policy:
    """Return the policy of an operator's decision on a request to sign up."""
    return Policy(
        where=Where.OPERATORS,
        permission="tenant:manage",
        min_role=Role.ADMIN,
        audit=audit,
        email=mail,
        email_to="the address that asked",
    )


def account_policy(
    audit: Action | None, mail: EmailKind | None = None, mail_to: str = "the person"
) -> Policy:
    """Return the policy of an action on one's own account."""
    return Policy(where=Where.ACCOUNT, audit=audit, email=mail, email_to=mail_to)


A, M = SensitiveAction, EmailKind
POLICIES: Mapping[SensitiveAction, Policy] = {
    A.CREATE_API_KEY: api_key_policy(Action.TOKEN_CREATED, M.API_KEY_CREATED, "the maker", Ceiling.RIGHTS),
    A.ROTATE_API_KEY: api_key_policy(
        Action.TOKEN_ROTATED, M.API_KEY_ROTATED, "the old and the new holder", Ceiling.RIGHTS
    ),
    A.REVOKE_API_KEY: api_key_policy(Action.TOKEN_REVOKED, M.API_KEY_REVOKED, "the holder"),
    A.REVOKE_SERVICE_CREDENTIAL: Policy(
        permission="service_accounts:manage",
        min_role=Role.ADMIN,
        audit=Action.TOKEN_REVOKED,
        email=M.SERVICE_CREDENTIAL_REVOKED,
        email_to="the owners",
    ),
    A.CREATE_INVITE: member_policy(Action.INVITE_CREATED, M.INVITATION, "the invited address"),
    A.RESEND_INVITE: member_policy(Action.INVITE_RESENT, M.INVITATION, "the invited address"),
    A.REVOKE_INVITE: member_policy(Action.INVITE_REVOKED),
    A.CHANGE_ROLE: member_policy(Action.ROLE_CHANGED, M.ROLE_CHANGED),
    A.TRANSFER_OWNERSHIP: tenant_policy(
        Action.ROLE_CHANGED, M.OWNERSHIP_TRANSFERRED, "the old and the new owner"
    ),
    A.REMOVE_MEMBER: member_policy(Action.MEMBER_REMOVED, M.MEMBER_REMOVED),
    A.LEAVE_TENANT: Policy(min_role=Role.VIEWER, audit=Action.MEMBER_REMOVED),
    A.END_MEMBER_SESSIONS: member_policy(Action.SESSION_ENDED),
    A.SEND_PASSWORD_RESET: member_policy(Action.PASSWORD_RESET_REQUESTED, M.PASSWORD_RESET),
    A.RESET_SECOND_FACTORS: member_policy(Action.SECOND_FACTORS_RESET, M.SECOND_FACTORS_RESET),
    # An empty tenant gives its owner nothing over anybody else.
    A.CREATE_TENANT: Policy(where=Where.ACCOUNT, recent_auth=False, audit=Action.TENANT_CREATED),
    A.CHANGE_TENANT_SETTINGS: Policy(
        permission="tenant:manage",
        min_role=Role.ADMIN,
        ceiling=Ceiling.LOOSENING,
        audit=Action.TENANT_CHANGED,
    ),
    A.SUSPEND_TENANT: tenant_policy(Action.TENANT_SUSPENDED, M.TENANT_SUSPENDED),
    A.REACTIVATE_TENANT: Policy(
        where=Where.NAMED_TENANT,
        min_role=Role.OWNER,
        audit=Action.TENANT_REACTIVATED,
        email=M.TENANT_REACTIVATED,
        email_to="the owners",
    ),
    A.DELETE_TENANT: tenant_policy(Action.TENANT_DELETED, M.TENANT_DELETED),
    A.APPROVE_SIGNUP: signup_policy(Action.ACCESS_APPROVED, M.ACCESS_APPROVED),
    A.REJECT_SIGNUP: signup_policy(Action.ACCESS_REJECTED, M.ACCESS_REJECTED),
    A.END_ANY_SESSIONS: Policy(
        where=Where.OPERATORS, permission="tenant:manage", min_role=Role.ADMIN, audit=Action.SESSIONS_ENDED
    ),
    A.END_ALL_SESSIONS: account_policy(Action.SESSION_ENDED),
    A.END_OTHER_SESSIONS: account_policy(Action.SESSION_ENDED),
    A.END_OTHER_SESSION: account_policy(Action.SESSION_ENDED),
    A.CHANGE_PASSWORD: account_policy(Action.PASSWORD_CHANGED, M.PASSWORD_CHANGED),
    A.CHANGE_EMAIL: account_policy(Action.EMAIL_CHANGE_REQUESTED, M.EMAIL_CHANGE, "the new address"),
    A.DELETE_ACCOUNT: account_policy(Action.USER_CLOSED, M.ACCOUNT_CLOSING),
    A.BEGIN_TOTP: account_policy(None),
    A.ADD_TOTP: account_policy(Action.SECOND_FACTOR_ADDED, M.SECOND_FACTOR_ADDED),
    A.REMOVE_TOTP: account_policy(Action.SECOND_FACTOR_REMOVED, M.SECOND_FACTOR_REMOVED),
    A.RENEW_RECOVERY_CODES: account_policy(Action.RECOVERY_CODES_RENEWED, M.RECOVERY_CODES_RENEWED),
    A.BEGIN_PASSKEY: account_policy(None),
    A.ADD_PASSKEY: account_policy(Action.SECOND_FACTOR_ADDED, M.SECOND_FACTOR_ADDED),
    A.REMOVE_PASSKEY: account_policy(Action.SECOND_FACTOR_REMOVED, M.SECOND_FACTOR_REMOVED),
}
