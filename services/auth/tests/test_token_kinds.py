"""Every kind of token, brought to every place that takes one: as bearer, and in every field of a body."""

from typing import Any, NamedTuple

import pytest
from auth.oauth.token_endpoint import ASSERTION_TYPE
from testkit.databases import contents
from testkit.token_matrix import (
    UNKNOWN_API_KEY,
    WRONG_AUDIENCE,
    TokenKind,
    error_code,
    find_violations,
    matches,
    protected_routes,
)

from .all_tokens import everything, replica
from .conftest import PASSWORD

UNKNOWN_KEY = "API key that nobody was given"
MACHINES = ("API key", "service account's token", "service account's token for auth alone")
# What comes in as a bearer somewhere; all other kinds do nowhere.
BEARERS = {"access token", *MACHINES}
# Where a body must be in order before anybody looks at who has sent it.
BODIES = {
    "me": {"display_name": "Other"},
    "step-up": {"password": "whatever it is"},
    "factors/passkeys/{passkey_id}": {"name": "Other"},
    "tenants": {"name": "Other"},
    "tenants/current/members/{user_id}": {"role": "viewer"},
    "tenants/current/invites": {"role": "member"},
    "invites/accept": {"token": "unknown"},
}
# Where machines come in whose scopes and role allow it; elsewhere auth is for people.
MACHINES_TOO = {
    ("GET", "tenants/current/members"),
    ("GET", "tenants/current/invites"),
    ("GET", "audit"),
    ("GET", "audit/export"),
    ("GET", "api-keys"),
    ("GET", "service-accounts/tokens"),
}
OPERATORS = ("signup-requests", "sessions/end")


@pytest.fixture
async def service(start, operator, tmp_path):
    return await replica(start, operator, tmp_path)


@pytest.fixture
async def made(service, operator):
    return await everything(service, operator)


def short(place):
    return place.path.removeprefix("/api/v1/auth/")


async def test_only_what_is_for_it_comes_in_as_a_bearer(service, made):
    kinds = [TokenKind(name, token) for name, token in made.tokens.items() if name not in BEARERS]
    ours = TokenKind("service's token", made.tokens["service's token"], WRONG_AUDIENCE, None)
    key = TokenKind(UNKNOWN_KEY, made.tokens[UNKNOWN_KEY], UNKNOWN_API_KEY, UNKNOWN_API_KEY)
    kinds = [{ours.name: ours, key.name: key}.get(kind.name, kind) for kind in kinds]
    assert len(kinds) > 20
    assert await find_violations(service.app, kinds) == []
    await machines_come_in_where_they_may_do_something(service, made)


async def machines_come_in_where_they_may_do_something(service, made):
    inside = protected_routes(service.app.state.internal, is_internal=True)
    taken = set()
    for place in [*protected_routes(service.app), *inside]:
        for kind in MACHINES:
            answer = await place(made.tokens[kind], BODIES.get(short(place)))
            if place.is_internal:
                assert matches(answer, WRONG_AUDIENCE), (kind, place.path)
            elif short(place).startswith(OPERATORS):
                assert matches(answer, (403, "operators_only")), (kind, place.path)
            elif matches(answer, None):
                taken.add((place.method, short(place)))
            else:
                assert matches(answer, (403, "people_only")), (kind, place.path, answer.text)
    assert taken == MACHINES_TOO


async def test_a_persons_access_token_comes_in_everywhere_but_inside(service):
    ann, people = None, 0
    for place in protected_routes(service.app):
        if ann is None:
            people += 1
            ann = await service.somebody(f"p{people}@example.com")
        answer = await place(ann["access_token"])
        expected = (403, "operators_only") if short(place).startswith(OPERATORS) else None
        assert matches(answer, expected), (place.method, place.path, answer.text)
        # What this has ended or begun is not in the way of the next.
        ann = ann if place.method == "GET" or answer.is_error else None
    for place in protected_routes(service.app.state.internal, is_internal=True):
        assert matches(await place(ann["access_token"]), WRONG_AUDIENCE), place.path


# How a field refuses what is no token of its kind.
MAIL = (400, "invalid_email_token")
INVITE = (400, "invalid_invite")
CHALLENGE = (401, "invalid_challenge")
CLIENT = (401, "invalid_client")
UNSIGNED = (401, "invalid_issuance_signature")
# What is too long, or not in the letters of the right kind.
UNLIKE = (422, "invalid_request")
PASSKEY = {"id": "AAAA", "rawId": "AAAA", "type": "public-key"}
MADE = {**PASSKEY, "response": {"clientDataJSON": "AAAA", "attestationObject": "AAAA"}}
USED = {
    **PASSKEY,
    "response": {"clientDataJSON": "AAAA", "authenticatorData": "AAAA", "signature": "AAAA"},
}
ASSERTED = {"client_id": "assertion", "client_assertion_type": ASSERTION_TYPE}
NEWCOMER = {"email": "carl@example.com", "password": PASSWORD}


class Field(NamedTuple):
    """A field for one kind of token: how it refuses others, how it answers the right one, with what else."""

    kind: str
    refusal: tuple[int, str]
    right: tuple[int, str]
    rest: dict[str, Any] = {}  # noqa: RUF012  # nobody changes it
    also: str = ""


# In an order in which none is in the way of the next.
FIELDS = {
    ("password/reset", "token"): Field("reset", MAIL, (422, "password_too_short"), {"password": "short"}),
    ("magic-link/verify", "token"): Field("magic link", MAIL, (200, ""), {"binding": "magic link's binding"}),
    # Used up by the line before.
    ("magic-link/verify", "binding"): Field("magic link's binding", MAIL, MAIL, {"token": "magic link"}),
    ("email/verify", "token"): Field("confirming mail", MAIL, (200, "")),
    ("register", "invite"): Field("invite", INVITE, (202, ""), NEWCOMER, also="open invite"),
    ("invites/accept", "token"): Field("open invite", INVITE, (409, "already_member")),
    ("token/second-factor", "challenge"): Field(
        "challenge: second factor", CHALLENGE, (401, "invalid_factor"), {"code": "000000"}
    ),
    ("token/enrol/totp", "challenge"): Field("challenge: enrolment", CHALLENGE, (201, "")),
    ("token/enrol/totp/confirm", "challenge"): Field(
        "challenge: enrolment", CHALLENGE, (400, "invalid_totp_code"), {"code": "000000"}
    ),
    ("token/enrol/passkey/options", "challenge"): Field("challenge: enrolment", CHALLENGE, (200, "")),
    ("token/enrol/passkey", "challenge"): Field(
        "challenge: enrolment", CHALLENGE, (400, "invalid_passkey"), {"passkey": MADE}
    ),
    ("factors/passkeys", "challenge"): Field(
        "challenge: new passkey", (400, "invalid_passkey"), (201, ""), {"passkey": ...}
    ),
    ("passkeys/sign-in", "challenge"): Field(
        "challenge: passkey's sign-in", CHALLENGE, (401, "invalid_factor"), {"passkey": USED}
    ),
    ("step-up", "challenge"): Field(
        "challenge: step-up", CHALLENGE, (401, "invalid_factor"), {"passkey": USED}
    ),
    ("oauth/token", "client_secret"): Field(
        "service account's secret", CLIENT, (200, ""), {"client_id": "secret"}
    ),
    ("oauth/token", "client_assertion"): Field("client assertion", CLIENT, (200, ""), ASSERTED),
    ("service-accounts/issue", "signature"): Field(
        "signature of an issuance", UNSIGNED, (201, ""), {"payload_b64": "issuance"}
    ),
    ("service-accounts/issue", "payload_b64"): Field(
        "issuance", UNSIGNED, (401, "issuance_replayed"), {"signature": "signature of an issuance"}
    ),
    ("refresh", "refresh_token"): Field("refresh token", (401, "invalid_refresh_token"), (200, "")),
    ("account/restore", "token"): Field("opening of a closed account", MAIL, (204, "")),
    ("email/change/confirm", "token"): Field("change of address", MAIL, (200, "")),
    ("logout", "refresh_token"): Field("refresh token", (204, ""), (204, "")),
    ("internal/v1/oauth/token", "client_secret"): Field(
        "service's secret", CLIENT, (200, ""), {"client_id": "chat-agent", "audience": "auth"}
    ),
    # Of what is none, it says just that.
    ("internal/v1/api-keys/introspect", "key"): Field("API key", (200, ""), (200, "")),
}
# Secret, too, but nothing that anybody was given; and what only says that a device is known.
NO_TOKENS = {"password", "new_password", "current_password", "code", "recovery_code", "device"}
# Tokens that are no secrets, or not for long.
OTHERS = {"client_assertion", "payload_b64", "signature"}


async def sent(service, made, place, kind):
    """Send a token of a kind in a field, with all else as it should be."""
    path, field = place
    rest = {
        name: made.passkey if value is ... else made.tokens.get(value, value) if name != "passkey" else value
        for name, value in FIELDS[place].rest.items()
    }
    body = {**rest, field: made.tokens[kind]}
    if path.endswith("oauth/token"):
        named = made.clients.get(rest["client_id"], rest["client_id"])
        body = {**body, "client_id": named, "grant_type": "client_credentials"}
    internal = path.startswith("internal/")
    bearer = made.tokens["service's token" if internal else "access token"]
    return await (service.internal if internal else service.public).post(
        f"/{path}" if internal else f"/api/v1/auth/{path}",
        headers={} if path.endswith("oauth/token") else {"Authorization": f"Bearer {bearer}"},
        **{"data" if path.endswith("oauth/token") else "json": body},
    )


async def test_every_field_that_takes_a_token_is_filled_here(service):
    found = set()
    for app in (service.app, service.app.state.internal):
        document = app.openapi()
        for path, operations in document["paths"].items():
            for operation in operations.values():
                for name, schema in fields(document, operation):
                    kinds = [schema, *schema.get("anyOf", [])]
                    if name in OTHERS or any(one.get("format") == "password" for one in kinds):
                        found.add((path.removeprefix("/api/v1/auth/").removeprefix("/"), name))
    assert {place for place in found if place[1] not in NO_TOKENS} == FIELDS.keys()


def fields(document, operation):
    for content in operation.get("requestBody", {}).get("content", {}).values():
        name = content["schema"]["$ref"].rpartition("/")[2]
        yield from document["components"]["schemas"][name]["properties"].items()


async def test_no_field_takes_a_token_of_another_kind(service, made):
    url = service.settings.database_url.get_secret_value()
    before = await contents(url)
    for place, field in FIELDS.items():
        for kind in made.tokens.keys() - {field.kind, field.also}:
            answer = await sent(service, made, place, kind)
            assert (answer.status_code, error_code(answer)) in {field.refusal, UNLIKE}, (place, kind)
            assert not answer.is_success or not answer.content or not answer.json()["active"], (place, kind)
            # Wrong answers of somebody who is signed in are counted, and five are as many as there may be.
            await service.database.execute("delete from factor_attempts")
    after = await contents(url)
    assert {name for name in before if after[name] != before[name]} <= {"audit_events"}
    # Whatever a device is known by, it opens nothing.
    for kind, token in made.tokens.items():
        answer = await service.sign_in(password="a wrong one", device=token[:256])
        assert (answer.status_code, answer.json()["code"]) == (401, "invalid_credentials"), kind


async def test_every_field_takes_its_own_kind(service, made):
    for place, field in FIELDS.items():
        answer = await sent(service, made, place, field.kind)
        assert (answer.status_code, error_code(answer)) == field.right, (place, answer.text)


async def test_takes_a_token_from_no_other_place(auth):
    token = (await auth.somebody())["access_token"]
    for elsewhere in (
        {"params": {"access_token": token}},
        {"headers": {"Cookie": f"access_token={token}"}},
    ):
        answer = await auth.public.get("/api/v1/auth/me", **elsewhere)
        assert (answer.status_code, answer.json()["code"]) == (401, "token_missing")
