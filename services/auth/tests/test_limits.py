import pytest
from redis.asyncio import Redis


async def post(auth, path, forwarded, **body):
    return await auth.public.post(f"/api/v1/auth/{path}", json=body, headers={"X-Forwarded-For": forwarded})


NOBODY = {"email": "unknown@example.com", "password": "some words that open nothing"}


@pytest.mark.parametrize(
    ("limit", "path", "body"),
    [
        ("ip:register", "register", {**NOBODY, "tenant_name": "Any"}),
        ("ip:token", "token", NOBODY),
        ("ip:refresh", "refresh", {"refresh_token": "x"}),
        ("ip:email/send", "email/send", {"email": "unknown@example.com"}),
        ("ip:email/verify", "email/verify", {"token": "x"}),
    ],
)
async def test_counts_by_the_address_that_our_own_proxy_saw(start, limit, path, body):
    auth = await start(auth_rate_limits={limit: 2})
    # What stands left of the gateway's entry is whatever the client wrote.
    answers = [await post(auth, path, f"198.51.100.{n}, 203.0.113.7", **body) for n in range(3)]
    assert [answer.status_code == 429 for answer in answers] == [False, False, True]
    assert answers[2].json()["code"] == "rate_limited"
    assert int(answers[2].headers["retry-after"]) >= 1
    assert "q=2" in answers[2].headers["ratelimit-policy"]
    assert (await post(auth, path, "203.0.113.7, 203.0.113.8", **body)).status_code != 429


# By the number of our proxies: what the header says first, what next, and whether that is one client.
CHAINS = {
    0: [("203.0.113.7", "203.0.113.8", True)],
    1: [
        ("2001:db8:1:2::3", "2001:db8:1:2:ffff::4", True),
        ("2001:db8:1:7::3", "2001:db8:1:8::3", False),
        ("::ffff:203.0.113.7", "203.0.113.7", True),
        # Not an address: counted as the peer.
        ("nonsense", "198.51.100.1, ", True),
    ],
    2: [
        ("198.51.100.1, 203.0.113.7, 10.0.0.1", "203.0.113.7, 10.0.0.2", True),
        ("203.0.113.8, 10.0.0.1", "203.0.113.9, 10.0.0.1", False),
        # Too short to have come through both: counted as the peer.
        ("203.0.113.10", "203.0.113.11", True),
    ],
}


@pytest.mark.parametrize("proxies", CHAINS)
async def test_walks_the_chain_from_its_trusted_end(start, proxies):
    auth = await start(auth_rate_limits={"ip:refresh": 1}, trusted_proxy_count=proxies)
    for one, other, same in CHAINS[proxies]:
        await post(auth, "refresh", one, refresh_token=one)
        again = await post(auth, "refresh", other, refresh_token=other)
        assert (again.status_code == 429) is same, (one, other)


async def test_reads_a_chain_that_comes_in_several_lines(start):
    auth = await start(auth_rate_limits={"ip:refresh": 1})
    answers = [
        await auth.public.post(
            "/api/v1/auth/refresh",
            json={"refresh_token": f"token {n}"},
            headers=[("X-Forwarded-For", f"198.51.100.{n}"), ("X-Forwarded-For", "203.0.113.7")],
        )
        for n in range(2)
    ]
    assert [answer.status_code for answer in answers] == [401, 429]


@pytest.mark.parametrize("email", ["ann@example.com", "unknown@example.com"])
async def test_counts_attempts_on_an_account_from_wherever_and_whether_it_exists_or_not(start, email):
    auth = await start(auth_rate_limits={"subject:token": 2})
    await auth.somebody("bob@example.com")
    await auth.register()
    for n in range(2):
        wrong = {"email": email, "password": "some words that open nothing"}
        assert (await post(auth, "token", f"203.0.113.{n}", **wrong)).status_code == 401
    tried = await post(auth, "token", "203.0.113.9", email=email.upper(), password=auth.password)
    assert tried.status_code == 429
    assert (await auth.sign_in("bob@example.com")).status_code == 200


async def test_counts_the_uses_of_one_refresh_token(start):
    auth = await start(auth_rate_limits={"subject:refresh": 2})
    answers = [await post(auth, "refresh", f"203.0.113.{n}", refresh_token="x") for n in range(3)]
    assert [answer.status_code for answer in answers] == [401, 401, 429]


async def test_sends_a_mailbox_no_more_than_its_share_and_tells_nobody(start):
    auth = await start(email_verification_email_rate_limit_per_hour=3)
    await auth.register()
    for n in range(4):
        answer = await post(auth, "email/send", f"203.0.113.{n}", email="ann@example.com")
        assert answer.status_code == 202
    assert len(await auth.mail_tokens()) == 3
    assert (await auth.register()).status_code == 202
    assert len(await auth.mail_tokens()) == 3


async def test_writes_no_address_of_mail_into_redis(auth, redis_url):
    await auth.somebody()
    async with Redis.from_url(redis_url, decode_responses=True) as redis:
        keys = [key async for key in redis.scan_iter()]
    assert keys
    assert not [key for key in keys if "ann" in key or "@" in key]
