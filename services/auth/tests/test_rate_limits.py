"""Every route for authenticated callers has a limit of rate."""

from testkit.rate_walk import ONE_CALL, find_unlimited_routes


async def test_no_route_is_without_a_limit(start):
    auth = await start(auth_limits=ONE_CALL)
    bundle = await auth.somebody()

    async def renew():
        return (await auth.session())["access_token"]

    assert await find_unlimited_routes(auth.app, bundle["access_token"], renew) == []
