"""The library of the command `llm`, set up as its own documentation says."""

import json
import os
from pathlib import Path

os.environ["LLM_USER_PATH"] = str(Path.cwd())

import llm
from pydantic import BaseModel
from report import API_KEY, BASE_URL, IMAGE, MODEL, STRUCTURED, TEXT, TOOLS, get_weather, report

SETTINGS = f"""
- model_id: {MODEL}
  model_name: {MODEL}
  api_base: {BASE_URL}
  api_key_name: acme
  supports_tools: true
  supports_schema: true
  vision: true
"""
Path("extra-openai-models.yaml").write_text(SETTINGS)
Path("keys.json").write_text(json.dumps({"acme": API_KEY}))  # what `llm keys set acme` writes
model = llm.get_model(MODEL)


class Person(BaseModel):
    name: str
    age: int


def text():
    return model.prompt(TEXT, stream=False).text()


def stream():
    return list(model.prompt(TEXT))


def usage():
    used = model.prompt(TEXT).usage()
    return [used.input, used.output]


def tools():
    return model.chain(TOOLS, tools=[get_weather]).text()


def structured():
    return json.loads(model.prompt(STRUCTURED, schema=Person).text())


def images():
    return model.prompt(TEXT, attachments=[llm.Attachment(type="image/png", content=IMAGE)]).text()


report("llm", text, stream, usage, tools, structured, images)
