"""What people do with second factors."""

from dataclasses import dataclass
from typing import Any

import httpx
import pyotp

from .authenticator import Authenticator


@dataclass
class App:
    """Somebody's authenticator app, and the recovery codes that came with it."""

    auth: Any
    totp: pyotp.TOTP
    codes: list[str] | None

    @property
    def code(self) -> str:
        return self.totp.now()

    async def later(self) -> None:
        """As though the codes that were used were used a while ago."""
        await self.auth.database.execute("update totp_factors set last_step = last_step - 10")


async def enrol(auth: Any, bundle: dict[str, Any]) -> App:
    """Set an authenticator app up."""
    begun = await auth.post("factors/totp", bundle["access_token"])
    assert begun.status_code == 201, begun.text
    totp = pyotp.TOTP(begun.json()["seed"])
    done = await auth.post("factors/totp/confirm", bundle["access_token"], code=totp.now())
    assert done.status_code == 200, done.text
    app = App(auth, totp, done.json()["recovery_codes"])
    await app.later()
    return app


async def register(auth: Any, bundle: dict[str, Any], key: Authenticator, **lies: Any) -> httpx.Response:
    """Register a passkey."""
    begun = await auth.post("factors/passkeys/options", bundle["access_token"])
    assert begun.status_code == 200, begun.text
    made = key.register(begun.json()["options"], **lies)
    return await auth.post(
        "factors/passkeys", bundle["access_token"], challenge=begun.json()["challenge"], passkey=made
    )


async def challenged(auth: Any, email: str = "ann@example.com", **more: Any) -> dict[str, Any]:
    """Sign in with the right password of an account with a second factor; return the answer."""
    answer = await auth.sign_in(email, **more)
    assert (answer.status_code, answer.json()["code"]) == (401, "second_factor_required"), answer.text
    return answer.json()


async def answered(auth: Any, challenge: str, **proof: Any) -> httpx.Response:
    return await auth.post("token/second-factor", challenge=challenge, **proof)


async def delete(auth: Any, path: str, bundle: dict[str, Any]) -> httpx.Response:
    headers = {"Authorization": f"Bearer {bundle['access_token']}"}
    return await auth.public.delete(f"/api/v1/auth/{path}", headers=headers)


async def listed(auth: Any, bundle: dict[str, Any]) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {bundle['access_token']}"}
    answer = await auth.public.get("/api/v1/auth/factors", headers=headers)
    assert answer.status_code == 200
    return answer.json()
