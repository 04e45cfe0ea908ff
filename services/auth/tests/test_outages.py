import pytest

NOWHERE = "127.0.0.1:1"


@pytest.mark.parametrize("path", ["register", "token", "refresh", "email/send", "email/verify"])
async def test_lets_nobody_guess_while_redis_is_away(auth, start, path):
    bundle = await auth.somebody()
    cut_off = await start(redis_url=f"redis://{NOWHERE}/0")
    body = {
        "register": {"email": "bob@example.com", "password": auth.password, "tenant_name": "Bob's"},
        "token": {"email": "ann@example.com", "password": auth.password},
        "refresh": {"refresh_token": bundle["refresh_token"]},
        "email/send": {"email": "ann@example.com"},
        "email/verify": {"token": "x"},
    }[path]
    answer = await cut_off.post(path, **body)
    assert (answer.status_code, answer.json()["code"]) == (503, "limits_unavailable")
    assert "retry-after" in answer.headers


async def test_does_without_redis_what_needs_no_limit(auth, start):
    bundle = await auth.somebody()
    cut_off = await start(redis_url=f"redis://{NOWHERE}/0")
    assert (await cut_off.me(bundle["access_token"])).status_code == 200
    assert (await cut_off.post("logout", refresh_token=bundle["refresh_token"])).status_code == 204
    assert (await cut_off.public.get("/.well-known/jwks.json")).status_code == 200
    assert (await cut_off.machine()).status_code == 200
    ready = await cut_off.internal.get("/readyz")
    assert ready.status_code == 503
    assert ready.json()["checks"]["database"] == ready.json()["checks"]["keys"] == "ok"


async def test_says_that_it_cannot_while_postgres_is_away(auth, start):
    bundle = await auth.somebody()
    cut_off = await start(database_url=f"postgresql://auth:auth@{NOWHERE}/auth")
    for answer in (
        await cut_off.sign_in(),
        await cut_off.refresh(bundle),
        await cut_off.me(bundle["access_token"]),
        await cut_off.register("bob@example.com"),
    ):
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
        assert "retry-after" in answer.headers
    assert (await cut_off.public.get("/.well-known/jwks.json")).status_code == 200
    assert (await cut_off.machine()).status_code == 200
    assert (await auth.refresh(bundle)).status_code == 200
