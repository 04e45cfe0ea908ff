from .conftest import SESSION_OVER_CODES


async def test_ends_the_session_of_a_refresh_token(auth):
    ended, other = await auth.somebody(), await auth.session()
    answer = await auth.post("logout", refresh_token=ended["refresh_token"])
    assert (answer.status_code, answer.content) == (204, b"")
    assert (await auth.refresh(ended)).json()["code"] == "invalid_refresh_token"
    assert (await auth.refresh(other)).status_code == 200


async def test_tells_nobody_whether_there_was_a_session(auth):
    assert (await auth.post("logout", refresh_token="unknown")).status_code == 204
    bundle = await auth.somebody()
    for _ in range(2):
        assert (await auth.post("logout", refresh_token=bundle["refresh_token"])).status_code == 204


async def test_ends_all_sessions_of_one_person(auth):
    first, second = await auth.somebody(), await auth.session()
    bobs = await auth.somebody("bob@example.com")
    assert (await auth.post("logout/all", bearer=first["access_token"])).status_code == 204
    for bundle in (first, second):
        assert (await auth.refresh(bundle)).status_code == 401
        assert (await auth.me(bundle["access_token"])).json()["code"] in SESSION_OVER_CODES
    assert (await auth.refresh(bobs)).status_code == 200
    assert (await auth.me(bobs["access_token"])).status_code == 200


async def test_ends_a_session_although_a_refresh_is_under_way(auth):
    bundle = await auth.somebody()
    renewed = (await auth.refresh(bundle)).json()
    # The grace must not bring back what was ended.
    await auth.post("logout", refresh_token=renewed["refresh_token"])
    assert (await auth.refresh(bundle)).status_code == 401
    assert (await auth.refresh(renewed)).status_code == 401


async def test_wants_a_token_for_ending_all_sessions(auth):
    answer = await auth.post("logout/all")
    assert (answer.status_code, answer.json()["code"]) == (401, "token_missing")
