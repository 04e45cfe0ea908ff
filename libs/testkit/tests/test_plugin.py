import asyncio


async def test_asynchronous_tests_run_on_the_loop_of_the_services() -> None:
    assert type(asyncio.get_running_loop()).__module__.startswith("uvloop")
