"""Write docs/permissions.md: what each role may do, and what each sensitive action requires.

The first table is `PERMISSIONS` in servicekit, the second `POLICIES` in auth with the routes that it guards,
the third `audit.ROUTES` of billing-webhook with what these depend on.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from auth.access.sensitive_actions import POLICIES, Ceiling, Policy, SensitiveAction, Where
from auth.sessions.authorization import actions_of
from billing_webhook import audit
from billing_webhook.subscriptions.dependencies import require_recent_auth
from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from servicekit.auth import permissions
from servicekit.auth.dependencies import every_route
from servicekit.idempotency import HEADER
from testkit.contract_documents import app_of

PAGE = Path(__file__).resolve().parent.parent / "docs" / "permissions.md"
PREFIX = "/api/v1/auth/"
HEAD = ["action", "route", "fresh proof", "role now", "ceiling", "machines", "audit log", "mail"]
INTRODUCTION = """\
## Actions that issue or change a credential or a right

Enforced by auth (`auth/access/sensitive_actions.py`), and by a test that walks every route. Routes are below
`/api/v1/auth/`.

- **Fresh proof**: the session was proved within `AUTH_STEP_UP_MINUTES`, with a second factor if the account
  has one; otherwise 401 `insufficient_user_authentication`, and the client calls `POST /step-up`.
- **Role now**: the least role, read from the database with the tenant locked. What the access token says is
  not enough.
- **Machines**: whether API keys and service accounts may do it; otherwise they get 403 `people_only`.
"""

BILLING = """\
## Actions that change money or limits

Enforced by billing-webhook, and by a test that sends a request to each route. All need `billing:manage`.
Routes are below `/api/v1/billing/tenants/{tenant_id}/`.

- **Fresh proof**: a person (otherwise 403 `people_only`) who has proved who they are within
  `AUTH_STEP_UP_MINUTES`, which the access token carries as `auth_time`; otherwise 401
  `insufficient_user_authentication`, as above.
- **Key**: what makes a repeated request have one effect: the header `Idempotency-Key`, or `idempotency_key`
  in the body.
- **Audit log**: the action of the row that auth stores ([reference](reference/auth.md)); it is published in
  the transaction of the change. Usage that a machine reports is in the ledger alone.
"""
BILLING_HEAD = ["route", "fresh proof", "machines", "key", "audit log"]


def page() -> str:
    """Return the whole page (Markdown)."""
    ceilings = [f"- **{one.name.lower()}**: {one.value}." for one in Ceiling if one is not Ceiling.NONE]
    parts = [
        permissions.to_markdown(),
        INTRODUCTION,
        *table(app_of("auth")),
        "",
        "Ceilings:",
        "",
        *ceilings,
        "",
        BILLING,
        *billing_table(app_of("billing-webhook")),
        "",
    ]
    return "\n".join(parts)


def table(app: FastAPI) -> Iterator[str]:
    """Write a line for each action."""
    routes = dict(guarded(app))
    yield f"| {' | '.join(HEAD)} |"
    yield f"|{' --- |' * len(HEAD)}"
    for action, policy in POLICIES.items():
        yield f"| {' | '.join([action.value, f'`{routes[action]}`', *cells(policy)])} |"


def billing_table(app: FastAPI) -> Iterator[str]:
    """Write a line for each route of billing that changes money or limits."""
    paths = app.openapi()["paths"]
    fresh = set(freshly_proved(app))
    yield f"| {' | '.join(BILLING_HEAD)} |"
    yield f"|{' --- |' * len(BILLING_HEAD)}"
    for route, action in audit.ROUTES.items():
        method, path = route.split()
        parameters = paths[path][method.lower()].get("parameters", [])
        key = "header" if any(one["name"] == HEADER for one in parameters) else "body"
        proof, machines = ("yes", "no") if route in fresh else ("no", "yes")
        short = f"{method} {path.removeprefix(audit.TENANT).lstrip('/')}"
        yield f"| `{short}` | {proof} | {machines} | {key} | `{action}` |"


def freshly_proved(app: FastAPI) -> Iterator[str]:
    """Find the routes of billing that take a fresh proof."""
    for route in every_route(app.routes):
        if depends_on(getattr(route, "dependant", None), require_recent_auth):
            yield f"{min(route.methods or ())} {route.path}"


def depends_on(dependant: Dependant | None, call: object) -> bool:
    """Return whether a function is anywhere among what a route depends on."""
    return dependant is not None and (
        dependant.call is call or any(depends_on(one, call) for one in dependant.dependencies)
    )


def guarded(app: FastAPI) -> Iterator[tuple[SensitiveAction, str]]:
    """Find the route of each action."""
    for route in every_route(app.routes):
        for action in actions_of(getattr(route, "dependant", None)):
            yield action, f"{min(route.methods or ())} {(route.path or '').removeprefix(PREFIX)}"


def cells(policy: Policy) -> list[str]:
    """Describe what a row requires, and what it leaves behind."""
    proof = f"{policy.max_auth_age_minutes} min" if policy.max_auth_age_minutes else "yes"
    return [
        proof if policy.recent_auth else "no",
        role(policy),
        "" if policy.ceiling is Ceiling.NONE else policy.ceiling.name.lower(),
        "yes" if policy.machines else "no",
        f"`{policy.audit}`" if policy.audit else "",
        f"`{policy.email}` to {policy.email_to}" if policy.email else "",
    ]


def role(policy: Policy) -> str:
    """Name the least role, and where it is looked up unless that is the token's tenant."""
    if policy.min_role is None:
        return policy.where.value
    return (
        str(policy.min_role) if policy.where is Where.TENANT else f"{policy.min_role} of {policy.where.value}"
    )


def main(words: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 when the page is stale")
    if not parser.parse_args(words).check:
        PAGE.write_text(page())
    elif PAGE.read_text() != page():
        sys.exit("docs/permissions.md does not match the code. Run make contracts.")


if __name__ == "__main__":
    main()
