"""Permissions: one table, from a permission to the lowest role that has it.

Roles decide. The scopes of a token (RFC 6749 section 3.3) bear the same names and can only take away.
"""

from collections.abc import Set
from enum import Enum
from functools import total_ordering


@total_ordering
class Role(Enum):
    """What a person is in a tenant, from the least to the most powerful; `Role.MEMBER < Role.OWNER`."""

    VIEWER = "viewer"
    MEMBER = "member"
    ADMIN = "admin"
    OWNER = "owner"

    def __lt__(self, other: object) -> bool:
        return _RANK[self] < _RANK[other] if isinstance(other, Role) else NotImplemented

    def __str__(self) -> str:
        return self.value


_RANK = {role: rank for rank, role in enumerate(Role)}

INTRODUCTION = (
    "What each role may do in its tenant, in every service. Written by `make contracts`.",
    "A token, an API key or a service account may be given less by its scopes, and never more.",
)
PERMISSIONS: dict[str, Role] = {
    "conversations:read": Role.VIEWER,
    "conversations:write": Role.MEMBER,
    "conversations:delete": Role.MEMBER,
    "tools:read": Role.VIEWER,
    "agents:manage": Role.ADMIN,
    "billing:read": Role.VIEWER,
    "billing:manage": Role.ADMIN,
    "tenant:read": Role.VIEWER,
    "tenant:manage": Role.ADMIN,
    "members:manage": Role.ADMIN,
    "api_keys:manage": Role.ADMIN,
    "service_accounts:manage": Role.ADMIN,
    "audit:read": Role.ADMIN,
}


def allows(permission: str, role: Role | None, scopes: Set[str]) -> bool:
    """Return whether a role has a permission that the token's scopes, if it names any, do not take away."""
    if role is None or role < PERMISSIONS[permission]:
        return False
    return not scopes or covers(scopes, permission)


def covers(scopes: Set[str], permission: str) -> bool:
    """Return whether one of the scopes names the permission, or all of its kind (`conversations:*`)."""
    kind, _, _ = permission.partition(":")
    return permission in scopes or f"{kind}:*" in scopes


def scopes_for(role: Role) -> frozenset[str]:
    """List every permission that a role has, as the scopes of a token."""
    return frozenset(permission for permission, least in PERMISSIONS.items() if role >= least)


def to_markdown() -> str:
    """Write the table down for people (Markdown)."""
    head = ["permission", *(str(role) for role in Role)]
    rows = [
        [f"`{permission}`", *("yes" if role >= least else "" for role in Role)]
        for permission, least in sorted(PERMISSIONS.items())
    ]
    lines = [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]
    return "\n".join(["# Permissions", "", *INTRODUCTION, "", *lines, ""])
