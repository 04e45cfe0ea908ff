"""The table of sensitive actions: every route is in it or listed as harmless, and each row is enforced."""

import pytest
from auth.access.sensitive_actions import POLICIES, Ceiling, SensitiveAction, Where
from auth.main import create_app
from auth.sessions.authorization import actions_of
from servicekit.auth.dependencies import every_route
from servicekit.auth.permissions import Role, scopes_for
from testkit.databases import contents

from .sensitive_requests import REQUESTS, team

A = SensitiveAction
SAFE = {"GET", "HEAD", "OPTIONS"}
MAILED = "the token of a mail proves the mailbox, and is good once, for this alone"
SIGN_IN = "part of a sign-in, which is itself the proof"
# Routes that issue or change no credential and no right of anybody who has not just proved to be its owner.
OTHERS = {
    "POST /register": "makes an account without any right over others; the mailbox is proved before it opens",
    "POST /token": SIGN_IN,
    "POST /token/second-factor": SIGN_IN,
    "POST /token/enrol/totp": SIGN_IN,
    "POST /token/enrol/totp/confirm": SIGN_IN,
    "POST /token/enrol/passkey/options": SIGN_IN,
    "POST /token/enrol/passkey": SIGN_IN,
    "POST /passkeys/sign-in/options": SIGN_IN,
    "POST /passkeys/sign-in": SIGN_IN,
    "POST /magic-link": "sends a link to the mailbox of the account",
    "POST /magic-link/verify": MAILED,
    "POST /step-up/options": "part of the fresh proof itself",
    "POST /step-up": "the fresh proof itself",
    "POST /refresh": "exchanges a refresh token; role and time of proof are not extended",
    "POST /tenants/{tenant_id}/switch": "exchanges the session for one of the same proof; the role is read",
    "POST /logout": "ends the session of a refresh token, for whoever has it",
    "POST /email/send": "sends a link to the mailbox of the account",
    "POST /email/verify": MAILED,
    "POST /email/change/confirm": MAILED,
    "POST /password/forgot": "sends a link to the mailbox of the account",
    "POST /password/reset": MAILED,
    "POST /account/restore": MAILED,
    "PATCH /me": "changes a display name",
    "PATCH /factors/passkeys/{passkey_id}": "changes the name of a passkey",
    "PATCH /tenants/current": "changes the name and the slug of a tenant, which nothing is decided by",
    "POST /invites/accept": "the invite's token is the right; whether its maker may still give it is read",
    "POST /signup-requests": "asks the operators, who decide",
    "POST /service-accounts/issue": "Vault's signature is the proof, and the catalogue the ceiling",
    "POST /oauth/token": "exchanges a credential for a token of no more than it has",
    "POST /internal/v1/oauth/token": "exchanges a service's secret for a token of what GRANTS lists",
    "POST /internal/v1/api-keys/introspect": "reads what a key may do",
}


def unsafe_routes(app):
    """Every route that may change something: how it is named here, and the actions that guard it."""
    for part in (app, app.state.internal):
        for route in every_route(part.routes):
            for method in sorted(set(route.methods or ()) - SAFE):
                yield f"{method} {route.path.removeprefix('/api/v1/auth')}", actions_of(route.dependant)


async def test_every_route_is_in_the_table_or_listed_as_harmless(auth):
    routes = dict(unsafe_routes(create_app(auth.settings)))
    guarded = [action for actions in routes.values() for action in actions]
    assert {name for name, actions in routes.items() if not actions} == OTHERS.keys()
    assert sorted(guarded) == sorted(SensitiveAction), "each action guards one route"
    assert POLICIES.keys() == REQUESTS.keys() == set(SensitiveAction)


@pytest.fixture
async def people(auth, start, operator, tmp_path):
    return await team(auth, start, operator, tmp_path)


def code(answer):
    return answer.status_code, answer.json()["code"]


async def rows(team):
    """All that is kept, but for the audit log and when a key was last used."""
    stored = await contents(team.auth.settings.database_url.get_secret_value())
    return {name: value for name, value in stored.items() if name not in {"audit_events", "api_keys"}}


async def test_only_an_owner_lets_keys_outlive_their_holders(people):
    request = (await REQUESTS[A.CHANGE_TENANT_SETTINGS](people))._replace(body={"orphaned_api_keys": "keep"})
    assert code(await people.ask(people.admin, request)) == (403, "role_too_low")
    assert (await people.ask(people.owner, request)).json()["orphaned_api_keys"] == "keep"
    # Taking it back makes nobody more powerful.
    back = request._replace(body={"orphaned_api_keys": "stop"})
    assert (await people.ask(people.admin, back)).json()["orphaned_api_keys"] == "stop"


def with_ceiling(ceiling):
    return [action for action in SensitiveAction if POLICIES[action].ceiling is ceiling]


async def machines(team, action):
    """The tokens of machines that have every scope there is."""
    actor = team.owner if POLICIES[action].where is Where.ACCOUNT else team.actor(action)
    fields = {"name": "Machine", "scopes": sorted(scopes_for(Role.OWNER))}
    key = await team.auth.post("api-keys", actor["access_token"], **fields)
    issued = await team.auth.post(
        "service-accounts/issue",
        **team.vault.request(tenant_id=actor["tenant_id"], scopes=sorted(scopes_for(Role.OWNER))),
    )
    form = {name: issued.json()[name] for name in ("client_id", "client_secret")}
    form["grant_type"] = "client_credentials"
    token = await team.auth.public.post("/api/v1/auth/oauth/token", data=form)
    return [key.json()["key"], token.json()["access_token"]]


@pytest.mark.parametrize("action", SensitiveAction)
async def test_enforces_its_row(people, action):
    policy, request, actor = POLICIES[action], await REQUESTS[action](people), people.actor(action)
    tokens = [] if policy.machines else await machines(people, action)
    before = await rows(people)
    for token in tokens:
        assert code(await people.ask({"access_token": token}, request)) == (403, "people_only")
    if policy.recent_auth:
        await refused_with_an_old_proof(people, policy, actor, request)
    assert await rows(people) == before
    if policy.min_role not in {None, Role.VIEWER} and policy.where is not Where.NAMED_TENANT:
        await refused_after_a_demotion(people, policy, actor, request)
    await act_and_read_events(people, policy, actor, request)


async def refused_with_an_old_proof(people, policy, actor, request):
    minutes = policy.max_auth_age_minutes or people.auth.settings.auth_step_up_minutes
    proved = "update sessions set authenticated_at = authenticated_at + make_interval(mins => $1)"
    await people.auth.database.execute(proved, -minutes - 1)
    answer = await people.ask(actor, request)
    assert code(answer) == (401, "insufficient_user_authentication")
    assert answer.json()["max_age"] == minutes * 60
    await people.auth.database.execute(proved, minutes + 1)


async def refused_after_a_demotion(people, policy, actor, request):
    """The access token is of before."""
    path = f"tenants/current/members/{actor['user_id'].removeprefix('user:')}"
    lower = "admin" if policy.min_role is Role.OWNER else "member"
    for role in (lower, policy.min_role.value):
        assert (await people.auth.ask("PATCH", path, people.owner, {"role": role})).status_code == 200
        if role == lower:
            before = await rows(people)
            assert code(await people.ask(actor, request)) == (403, "role_too_low")
            assert await rows(people) == before


async def act_and_read_events(people, policy, actor, request):
    actor = dict(actor)
    mails = len(await people.auth.mails(policy.email)) if policy.email else 0
    audited = len(await people.auth.audited(policy.audit)) if policy.audit else 0
    answer = await people.ask(actor, request)
    assert answer.is_success, answer.text
    if policy.audit:
        rows = await people.auth.audited(policy.audit)
        assert len(rows) > audited
        assert rows[-1]["actor"] == actor["user_id"]
    if policy.email:
        assert len(await people.auth.mails(policy.email)) > mails
        assert policy.email_to


@pytest.mark.parametrize("action", with_ceiling(Ceiling.ROLE))
async def test_nobody_gives_or_touches_a_role_above_their_own(people, action):
    above = people.above()
    request = await REQUESTS[action](above)
    before = await rows(people)
    assert code(await people.ask(people.admin, request)) == (403, "role_too_low")
    assert await rows(people) == before
    assert (await people.ask(people.other_owner, request)).is_success


@pytest.mark.parametrize("action", with_ceiling(Ceiling.RIGHTS))
async def test_a_key_gives_no_more_than_who_makes_or_rotates_it_has(people, action):
    request, auth = await REQUESTS[action](people), people.auth
    claims = auth.claims(people.admin)
    subset = {name: claims[name] for name in ("aud", "sub", "sid", "client_id", "tenant_id", "role")}
    narrow = await auth.app.state.services.access_tokens._sign(["api_keys:manage", "billing:manage"], subset)
    answer = await people.ask({"access_token": narrow.token}, request)
    assert code(answer) == (403, "scope_beyond_own_rights")
