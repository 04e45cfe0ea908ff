from agents import Usage as SdkUsage
from chat_agent.model.prices import Catalogue
from chat_agent.model.usage import UsageMeter
from chat_agent.settings import ModelFacts, Price
from hypothesis import given
from hypothesis import strategies as st
from openai.types.responses import ResponseUsage
from openai.types.responses.response_usage import InputTokensDetails, OutputTokensDetails

TOKENS = st.integers(0, 100_000)
MODELS = st.sampled_from(["large", "small"])
SMALL = Price(input=1_000_000, cached=1_000_000, output=2_000_000)
LARGE = Price(input=1_250_000, cached=125_000, output=10_000_000)


def received(input: int, cached: int, output: int, reasoning: int) -> ResponseUsage:
    return ResponseUsage(
        input_tokens=input,
        input_tokens_details=InputTokensDetails(cached_tokens=cached, cache_write_tokens=0),
        output_tokens=output,
        output_tokens_details=OutputTokensDetails(reasoning_tokens=reasoning),
        total_tokens=input + output,
    )


def test_counts_by_model() -> None:
    meter = UsageMeter()
    meter.count("large", received(100, 40, 20, 5))
    meter.count("large", received(10, 0, 2, 0))
    meter.count("small", received(7, 0, 1, 0))
    total = meter.total()
    assert (total.requests, total.input_tokens, total.output_tokens) == (3, 117, 23)
    assert (total.cached_tokens, total.reasoning_tokens, total.estimated) == (40, 5, False)
    assert [(each.model, each.requests, each.input_tokens) for each in total.models] == [
        ("large", 2, 110),
        ("small", 1, 7),
    ]


def test_estimated_usage_can_be_distinguished_from_reported() -> None:
    meter = UsageMeter()
    meter.count("large", received(100, 0, 20, 0))
    meter.estimate("large", input_characters=400, output_characters=41)
    total = meter.total()
    assert (total.input_tokens - total.estimated_input_tokens) == 100
    assert (total.output_tokens - total.estimated_output_tokens) == 20
    assert (total.estimated_input_tokens, total.estimated_output_tokens) == (100, 11)
    assert total.estimated
    assert total.requests == 2


def test_counts_what_a_compatible_server_leaves_out_as_nothing() -> None:
    meter = UsageMeter()
    meter.count("large", ResponseUsage.model_construct(input_tokens=5, output_tokens=None))
    meter.count("large", SdkUsage(requests=1, input_tokens=3))
    assert (meter.total().input_tokens, meter.total().output_tokens) == (8, 0)


@given(st.lists(st.tuples(MODELS, TOKENS, TOKENS, st.booleans())))
def test_goes_on_in_another_process(calls: list[tuple[str, int, int, bool]]) -> None:
    catalogue = Catalogue({"large": ModelFacts(price=LARGE), "small": ModelFacts(price=SMALL)})
    whole, moved = UsageMeter(catalogue), UsageMeter(catalogue)
    for model, sent, came, is_known in calls:
        for meter in (whole, moved):
            if is_known:
                meter.count(model, received(sent, sent // 2, came, came // 3))
            else:
                meter.estimate(model, sent, came)
        moved = UsageMeter.resume(moved.total(), catalogue)
    tokens = {"cost": True, "models": {"__all__": {"cost"}}}
    assert moved.total().model_dump(exclude=tokens) == whole.total().model_dump(exclude=tokens)
    # Each process rounds up what it has not counted to its end.
    assert 0 <= (moved.total().cost or 0) - (whole.total().cost or 0) <= len(calls) * 2
    assert moved.tokens == whole.tokens == whole.total().input_tokens + whole.total().output_tokens


def test_cost_is_exact_and_rounded_up_once() -> None:
    meter = UsageMeter(Catalogue({"large": ModelFacts(price=LARGE)}))
    assert meter.total().cost == 0
    meter.count("large", received(1000, 400, 100, 50))
    assert meter.total().cost == 600 * 1.25 + 400 * 0.125 + 100 * 10
    meter.count("large", received(1, 0, 0, 0))
    meter.count("large", received(1, 0, 0, 0))
    assert meter.total().cost == 1800 + 3
    assert [each.cost for each in meter.total().models] == [1800 + 3]


def test_cost_is_unknown_when_a_price_is() -> None:
    meter = UsageMeter(Catalogue({"large": ModelFacts(price=LARGE)}))
    meter.count("large", received(1000, 0, 0, 0))
    meter.count("no-such-model", received(1, 0, 1, 0))
    assert meter.total().cost is None
    assert {each.model: each.cost for each in meter.total().models} == {"large": 1250, "no-such-model": None}
