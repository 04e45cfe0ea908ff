"""An idle service makes no spans."""

from chat_agent.main import create_app
from testkit.telemetry_capture import spans_while_idle


async def test_polling_makes_no_spans(settings, other_services, captured_telemetry):
    changes = {**captured_telemetry.settings, "run_workers": True}
    app = create_app(type(settings).model_validate({**settings.model_dump(), **changes}))
    assert await spans_while_idle(app, captured_telemetry) == []
