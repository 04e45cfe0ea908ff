import math

import pytest
from openai import APIStatusError, AsyncOpenAI


def distance(one: list[float], other: list[float]) -> float:
    return math.dist(one, other)


async def embed(model: AsyncOpenAI, *texts: str, **more: object) -> list[list[float]]:
    answer = await model.embeddings.create(model="sandbox-embedding", input=[*texts], **more)  # type: ignore[arg-type]
    return [one.embedding for one in answer.data]


async def test_the_same_text_has_the_same_vector(model: AsyncOpenAI) -> None:
    one, other = await embed(model, "Refund order A-7", "Refund order A-7")
    (float_,) = await embed(model, "Refund order A-7", encoding_format="float")
    assert one == other == pytest.approx(float_, abs=1e-6)
    assert math.hypot(*one) == pytest.approx(1, abs=1e-5)


async def test_texts_that_share_words_are_near(model: AsyncOpenAI) -> None:
    cat, cats, stocks = await embed(
        model, "The cat sat on the mat.", "Cats sit on mats.", "Share prices fell in Frankfurt today."
    )
    assert distance(cat, cats) < distance(cat, stocks)


async def test_vectors_have_as_many_numbers_as_requested(model: AsyncOpenAI) -> None:
    assert [len(one) for one in await embed(model, "", "a", dimensions=64)] == [64, 64]


async def test_embeddings_count_what_they_read(model: AsyncOpenAI) -> None:
    answer = await model.embeddings.create(model="m", input=[[1, 2, 3]])
    assert answer.usage.prompt_tokens == answer.usage.total_tokens == 3


async def test_moderations_flag_a_few_words(model: AsyncOpenAI) -> None:
    answer = await model.moderations.create(input=["I will kill the process", "Good morning"])
    assert [one.flagged for one in answer.results] == [True, False]
    assert answer.results[0].categories.violence


async def test_completions_are_whole_or_streamed_alike(model: AsyncOpenAI) -> None:
    whole = await model.completions.create(model="m", prompt="Good morning", max_tokens=200)
    stream = await model.completions.create(model="m", prompt="Good morning", max_tokens=200, stream=True)
    chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].text for chunk in chunks) == whole.choices[0].text
    assert whole.usage is not None
    assert whole.usage.completion_tokens == len(chunks) - 1


async def test_completions_may_be_several(model: AsyncOpenAI) -> None:
    answer = await model.completions.create(model="m", prompt=["a", "b"], n=2, max_tokens=3, logprobs=1)
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    assert {choice.finish_reason for choice in answer.choices} == {"length"}


async def test_faults_come_on_demand(model: AsyncOpenAI) -> None:
    with pytest.raises(APIStatusError) as caught:
        await embed(model, "[sandbox: error=503] Hello")
    assert caught.value.status_code == 503
