from uuid import uuid4

import pytest
from testkit.app import client


@pytest.fixture
def reading(app, issuer):
    """Sign in as a person."""
    return lambda person, **token: client(
        app,
        issuer.token(**{"tenant_id": person.tenant_id, "subject": person.user_id, "role": "viewer", **token}),
    )


async def test_people_see_what_was_sent_to_them_and_neither_address_nor_secret(
    sign_up, mailed, reading, until
):
    person = await sign_up()
    await mailed(person)
    async with reading(person) as http:

        async def sent():
            answer = (await http.get("/api/v1/notifications")).json()
            return answer if answer["items"][0]["status"] == "sent" else None

        answer = await until(sent)
    [item] = answer["items"]
    assert set(item) == {"id", "type", "status", "created_at", "sent_at"}
    assert item["type"] == "email_verification"
    assert item["created_at"] <= item["sent_at"]
    assert answer["next_cursor"] is None


async def test_hides_what_was_sent_to_others(sign_up, mailed, reading):
    person = await sign_up()
    await mailed(person)
    for stranger in ({"tenant_id": uuid4()}, {"subject": f"user:{uuid4()}"}):
        async with reading(person, **stranger) as http:
            assert (await http.get("/api/v1/notifications")).json() == {"items": [], "next_cursor": None}


async def test_the_list_comes_in_pages_newest_first(sign_up, mailed, reading, until):
    person = await sign_up()
    for _ in range(4):
        await sign_up(user_id=person.user_id, tenant_id=person.tenant_id)
    async with reading(person) as http:

        async def all_there():
            items = (await http.get("/api/v1/notifications")).json()["items"]
            return items if len(items) == 5 else None

        whole = await until(all_there)
        assert [item["created_at"] for item in whole] == sorted(
            (item["created_at"] for item in whole), reverse=True
        )
        paged, query = [], {"limit": 2}
        while True:
            page = (await http.get("/api/v1/notifications", params=query)).json()
            paged += page["items"]
            if page["next_cursor"] is None:
                break
            query["cursor"] = page["next_cursor"]
    assert [item["id"] for item in paged] == [item["id"] for item in whole]


async def test_refuses_what_is_no_page(sign_up, reading):
    async with reading(await sign_up()) as http:
        for query, status, code in (
            ({"cursor": "x"}, 400, "invalid_cursor"),
            ({"cursor": "WyJ4Il0"}, 400, "invalid_cursor"),
            ({"cursor": "WzFd"}, 400, "invalid_cursor"),
            ({"limit": 0}, 422, "invalid_request"),
            ({"limit": 101}, 422, "invalid_request"),
        ):
            answer = await http.get("/api/v1/notifications", params=query)
            assert (answer.status_code, answer.json()["code"]) == (status, code), query


async def test_asks_for_a_token(app):
    async with client(app) as nobody:
        assert (await nobody.get("/api/v1/notifications")).status_code == 401
