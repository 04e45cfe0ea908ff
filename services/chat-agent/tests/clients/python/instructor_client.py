"""Instructor, in the modes that people use."""

import instructor
from openai import OpenAI
from pydantic import BaseModel
from report import IMAGE_URL, MODEL, STRUCTURED, TEXT, report

client = OpenAI(max_retries=0)
MESSAGES = [{"role": "user", "content": STRUCTURED}]


class Person(BaseModel):
    name: str
    age: int


def create(mode):
    patched = instructor.from_openai(client, mode=mode)
    return patched.create(model=MODEL, messages=MESSAGES, response_model=Person, max_retries=0).model_dump()


def structured():
    return create(instructor.Mode.JSON_SCHEMA)


def structured_by_tool():
    return create(instructor.Mode.TOOLS)


def structured_in_stream():
    patched = instructor.from_openai(client, mode=instructor.Mode.TOOLS)
    *_, last = patched.create_partial(model=MODEL, messages=MESSAGES, response_model=Person, max_retries=0)
    return last.model_dump()


def usage():
    patched = instructor.from_openai(client, mode=instructor.Mode.TOOLS)
    _, raw = patched.create_with_completion(model=MODEL, messages=MESSAGES, response_model=Person)
    return [raw.usage.prompt_tokens, raw.usage.completion_tokens]


def images():
    content = [TEXT, instructor.Image.from_base64(IMAGE_URL)]
    patched = instructor.from_openai(client, mode=instructor.Mode.TOOLS)
    messages = [{"role": "user", "content": content}]
    answer = patched.create(model=MODEL, messages=messages, response_model=None, max_retries=0)
    return answer.choices[0].message.content


report("Instructor", usage, structured, structured_by_tool, structured_in_stream, images)
