"""One real token of every kind that auth gives or takes, each of them still good."""

import time
from dataclasses import dataclass
from typing import Any

import jwt
import yaml
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from servicekit.auth import jose
from servicekit.auth.permissions import Role, scopes_for
from testkit.token_matrix import opaque_token

from .authenticator import Authenticator
from .factor_helpers import challenged, enrol

ACCOUNT = "nightly-export"
ENDPOINT = "http://acme.test/api/v1/auth/oauth/token"


@dataclass
class Everything:
    """The tokens by kind, the names of machines by what they prove, and the new passkey of Ann."""

    tokens: dict[str, str]
    clients: dict[str, str]
    passkey: dict[str, Any]


async def replica(start: Any, operator: Any, folder: Any, **changes: Any) -> Any:
    """Start an auth in which every kind of token can be had."""
    path = folder / "accounts.yaml"
    account = {"role": "owner", "scopes": sorted(scopes_for(Role.OWNER)), "global": True}
    path.write_text(yaml.safe_dump({"accounts": {ACCOUNT: {**account, "audiences": ["acme-api", "auth"]}}}))
    settings = {"auth_service_accounts_file": path, "auth_magic_link_enabled": True, **operator.settings}
    settings["auth_account_deletion_grace_days"] = 14
    return await start(**settings, **changes)


async def everything(auth: Any, operator: Any) -> Everything:
    """Have one of each kind made."""
    ann = await auth.somebody()
    tokens = {
        "access token": ann["access_token"],
        "refresh token": ann["refresh_token"],
        "device token": ann["device"],
        **await of_mails(auth, ann),
    }
    answers, code = await challenges(auth, ann)
    for name, answer in answers.items():
        tokens[f"challenge: {name}"] = answer["challenge"]
    clients, of_machines = await machines(auth, operator, ann)
    made_up = {kind.name: kind.token for kind in opaque_token()}
    others = {name: made_up[name] for name in ("API key that nobody was given", "token in an event")}
    passkey = Authenticator().register(answers["new passkey"]["options"])
    return Everything({**tokens, "recovery code": code, **of_machines, **others}, clients, passkey)


async def of_mails(auth: Any, ann: dict[str, Any]) -> dict[str, str]:
    """Have a token of every kind of mail sent, and made for an open invite."""
    await auth.register("bob@example.com")
    await auth.post("password/forgot", email="ann@example.com")
    await auth.post(
        "email/change", ann["access_token"], new_email="ann@elsewhere.example", password=auth.password
    )
    binding = (await auth.post("magic-link", email="ann@example.com")).json()["binding"]
    await auth.ask("POST", "tenants/current/invites", ann, {"email": "carl@example.com", "role": "member"})
    open_invite = await auth.ask("POST", "tenants/current/invites", ann, {"role": "member", "max_uses": 5})
    return {
        "confirming mail": (await auth.mail_tokens())[-1],
        "reset": await newest(auth, "password_reset"),
        "change of address": await newest(auth, "email_change"),
        "magic link": await newest(auth, "magic_link"),
        "magic link's binding": binding,
        "invite": await newest(auth, "invitation"),
        "open invite": open_invite.json()["token"],
        "opening of a closed account": await of_a_closed_account(auth),
    }


async def of_a_closed_account(auth: Any) -> str:
    """Have Finn leave, who may think again."""
    finn = await auth.somebody("finn@example.com")
    answer = await auth.post("account/delete", finn["access_token"], password=auth.password)
    assert answer.status_code == 204, answer.text
    return await newest(auth, "account_closing")


async def newest(auth: Any, kind: str) -> str:
    token: str = (await auth.mails(kind))[-1]["token"]
    return token


async def challenges(auth: Any, ann: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """Have a challenge made for each thing that one can be asked for; Dora has an app, Eve needs one.

    Gives the answers with the challenges, and a recovery code of Dora's.
    """
    app = await enrol(auth, await auth.somebody("dora@example.com"))
    eve = await auth.somebody("eve@example.com")
    await auth.database.execute("update tenants set mfa_required = true where id = $1", eve["tenant_id"])
    access = ann["access_token"]
    answers = {
        "second factor": await challenged(auth, "dora@example.com"),
        "enrolment": (await auth.sign_in("eve@example.com")).json(),
        "passkey's sign-in": (await auth.post("passkeys/sign-in/options")).json(),
        "new passkey": (await auth.post("factors/passkeys/options", access)).json(),
        "step-up": (await auth.post("step-up/options", access)).json(),
    }
    return answers, (app.codes or [])[0]


async def machines(auth: Any, operator: Any, ann: dict[str, Any]) -> tuple[dict[str, str], dict[str, str]]:
    """Have all that machines prove themselves with, or have got for it; their client ids, then the tokens."""
    key_request = {"name": "Key", "scopes": sorted(scopes_for(Role.OWNER))}
    key = (await auth.post("api-keys", ann["access_token"], **key_request)).json()["key"]
    about = {"tenant_id": ann["tenant_id"], "scopes": sorted(scopes_for(Role.OWNER))}
    private = Ed25519PrivateKey.generate()
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": jose.encode(private.public_key().public_bytes_raw())}
    by_secret = (await auth.post("service-accounts/issue", **operator.request(**about))).json()
    by_key = (await auth.post("service-accounts/issue", **operator.request(**about, jwk=jwk))).json()
    for_ours = await auth.app.state.services.access_tokens.for_service(
        "chat-agent", "auth", ["api_keys:introspect", "members:read", "owners:read"]
    )
    unused = operator.request(**about)
    clients = {"secret": by_secret["client_id"], "assertion": by_key["client_id"]}
    return clients, {
        "API key": key,
        "service account's secret": by_secret["client_secret"],
        "service account's token": await exchanged(auth, by_secret),
        "service account's token for auth alone": await exchanged(auth, by_secret, audience="auth"),
        "client assertion": assertion(private, clients["assertion"]),
        "issuance": unused["payload_b64"],
        "signature of an issuance": unused["signature"],
        "service's secret": "what-chat-agent-proves-itself-with",
        "service's token": for_ours.token,
        "service's token for another": (await auth.machine()).json()["access_token"],
        "ID token": await id_token(auth, ann),
    }


async def exchanged(auth: Any, credential: dict[str, Any], **more: str) -> str:
    form = {name: credential[name] for name in ("client_id", "client_secret")}
    answer = await auth.public.post(
        "/api/v1/auth/oauth/token", data={"grant_type": "client_credentials", **form, **more}
    )
    token: str = answer.json()["access_token"]
    return token


def assertion(key: Ed25519PrivateKey, client_id: str) -> str:
    """Sign what a machine proves itself with (RFC 7523)."""
    now = int(time.time())
    claims = {"iss": client_id, "sub": client_id, "aud": ENDPOINT, "iat": now, "exp": now + 60, "jti": "once"}
    return jwt.encode(claims, key, "EdDSA")


async def id_token(auth: Any, bundle: dict[str, Any]) -> str:
    """Sign, with the key that auth signs with, what is like an access token in all but its type."""
    key = await auth.app.state.services.access_tokens.keys.current()
    return jwt.encode(auth.claims(bundle), key.private, "EdDSA", headers={"typ": "JWT", "kid": key.kid})
