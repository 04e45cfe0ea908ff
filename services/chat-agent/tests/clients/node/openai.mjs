// OpenAI's own client, on Chat Completions and on Responses.
import assert from "node:assert/strict";
import OpenAI from "openai";
import { zodResponseFormat, zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";
import {
  AGAIN,
  collect,
  EMBEDDING_MODEL,
  getWeather,
  IMAGE_URL,
  MODEL,
  report,
  STRUCTURED,
  TEXT,
  TOOLS,
  WEATHER_SCHEMA,
} from "./report.mjs";

const client = new OpenAI({ maxRetries: 0 });
const Person = z.object({ name: z.string(), age: z.int() });
const respond = (input, more) => client.responses.create({ model: MODEL, input, ...more });
const expectNotFound = (request) => assert.rejects(request, OpenAI.NotFoundError);
const ask = (content, more) => ({ model: MODEL, messages: [{ role: "user", content }], ...more });

await report("openai (node), Chat Completions", {
  async text() {
    return (await client.chat.completions.create(ask(TEXT))).choices[0].message.content;
  },
  async stream() {
    const chunks = await collect(await client.chat.completions.create(ask(TEXT, { stream: true })));
    return chunks.map((chunk) => chunk.choices[0].delta.content ?? "");
  },
  async usage() {
    const wanted = { stream: true, stream_options: { include_usage: true } };
    const { usage } = (await collect(await client.chat.completions.create(ask(TEXT, wanted)))).at(-1);
    return [usage.prompt_tokens, usage.completion_tokens];
  },
  async tools() {
    const definition = { name: "get_weather", parameters: WEATHER_SCHEMA, parse: JSON.parse, function: getWeather };
    const tools = [{ type: "function", function: definition }];
    return client.chat.completions.runTools(ask(TOOLS, { tools, stream: true })).finalContent();
  },
  async structured() {
    const format = { response_format: zodResponseFormat(Person, "person") };
    return (await client.chat.completions.parse(ask(STRUCTURED, format))).choices[0].message.parsed;
  },
  async embeddings() {
    const { data } = await client.embeddings.create({ model: EMBEDDING_MODEL, input: [TEXT, TOOLS] });
    return data.map(({ embedding }) => embedding);
  },
  async images() {
    const parts = [{ type: "text", text: TEXT }, { type: "image_url", image_url: { url: IMAGE_URL } }];
    return (await client.chat.completions.create(ask(parts))).choices[0].message.content;
  },
});

await report("openai (node), Responses", {
  async text() {
    return (await client.responses.create({ model: MODEL, input: TEXT })).output_text;
  },
  async stream() {
    const events = await collect(client.responses.stream({ model: MODEL, input: TEXT }));
    return events.filter(({ type }) => type === "response.output_text.delta").map(({ delta }) => delta);
  },
  async usage() {
    const { usage } = await client.responses.create({ model: MODEL, input: TEXT });
    return [usage.input_tokens, usage.output_tokens];
  },
  async tools() {
    const tools = [{ type: "function", name: "get_weather", parameters: WEATHER_SCHEMA, strict: true }];
    let request = { input: TOOLS };
    for (;;) {
      const response = await client.responses.stream({ model: MODEL, tools, ...request }).finalResponse();
      const calls = response.output.filter(({ type }) => type === "function_call");
      if (!calls.length) return response.output_text;
      const input = calls.map((call) => ({
        type: "function_call_output",
        call_id: call.call_id,
        output: getWeather(JSON.parse(call.arguments)),
      }));
      request = { input, previous_response_id: response.id };
    }
  },
  async structured() {
    const text = { format: zodTextFormat(Person, "person") };
    return (await client.responses.parse({ model: MODEL, input: STRUCTURED, text })).output_parsed;
  },
  async images() {
    const content = [{ type: "input_text", text: TEXT }, { type: "input_image", image_url: IMAGE_URL, detail: "auto" }];
    return (await respond([{ role: "user", content }])).output_text;
  },
  async state_branches() {
    const { id } = await respond(TEXT);
    await respond("On another branch", { previous_response_id: id });
    return (await respond(AGAIN, { previous_response_id: id })).output_text;
  },
  async state_unstored() {
    const question = { role: "user", content: TEXT };
    const { id, output } = await respond([question], { store: false });
    await expectNotFound(client.responses.retrieve(id));
    return (await respond([question, ...output, { role: "user", content: AGAIN }], { store: false })).output_text;
  },
  async state_references() {
    const { id, output } = await respond(TEXT);
    const items = [...(await collect(client.responses.inputItems.list(id))), ...output];
    const references = items.map(({ id }) => ({ type: "item_reference", id }));
    return (await respond([...references, { role: "user", content: AGAIN }])).output_text;
  },
  async state_conversations() {
    const items = [{ type: "message", role: "user", content: TEXT }];
    const { id } = await client.conversations.create({ items });
    const { output_text } = await respond(AGAIN, { conversation: id });
    const stored = await collect(client.conversations.items.list(id, { order: "asc" }));
    assert.deepEqual(stored.map(({ role }) => role), ["user", "user", "assistant"]);
    await client.conversations.delete(id);
    await expectNotFound(client.conversations.retrieve(id));
    return output_text;
  },
});
