// Vercel's AI SDK with its providers for compatible servers and for OpenAI; the argument is the version.
import { z } from "zod";
import {
  AGAIN,
  API_KEY,
  BASE_URL,
  collect,
  EMBEDDING_MODEL,
  getWeather,
  IMAGE_URL,
  MODEL,
  report,
  STRUCTURED,
  TEXT,
  TOOLS,
} from "./report.mjs";

const version = process.argv[2];
const suffix = version === "7" ? "" : `-${version}`;
const { embedMany, generateText, Output, stepCountIs, streamText, tool } = await import(`ai${suffix}`);
const { createOpenAICompatible } = await import(`@ai-sdk/openai-compatible${suffix}`);

const { createOpenAI } = await import(`@ai-sdk/openai${suffix}`);

const settings = { name: "acme", baseURL: BASE_URL, apiKey: API_KEY };
const provider = createOpenAICompatible({ ...settings, includeUsage: true, supportsStructuredOutputs: true });
const common = { model: provider(MODEL), maxRetries: 0 };
const schema = z.object({ name: z.string(), age: z.int() });
const inputSchema = z.object({ city: z.string() });
const tools = { get_weather: tool({ inputSchema, execute: async (input) => getWeather(input) }) };

async function see(settings) {
  const content = [{ type: "text", text: TEXT }, { type: "image", image: new URL(IMAGE_URL) }];
  return (await generateText({ ...settings, messages: [{ role: "user", content }] })).text;
}

await report(`AI SDK ${version}`, {
  async text() {
    return (await generateText({ ...common, prompt: TEXT })).text;
  },
  async stream() {
    return collect(streamText({ ...common, prompt: TEXT }).textStream);
  },
  async usage() {
    const usage = await streamText({ ...common, prompt: TEXT }).usage;
    return [usage.inputTokens, usage.outputTokens];
  },
  async tools() {
    return (await generateText({ ...common, prompt: TOOLS, tools, stopWhen: stepCountIs(3) })).text;
  },
  async stream_tools() {
    return streamText({ ...common, prompt: TOOLS, tools, stopWhen: stepCountIs(3) }).text;
  },
  async structured() {
    return (await generateText({ ...common, prompt: STRUCTURED, output: Output.object({ schema }) })).output;
  },
  async embeddings() {
    const model = provider.embeddingModel(EMBEDDING_MODEL);
    return (await embedMany({ model, values: [TEXT, TOOLS], maxRetries: 0 })).embeddings;
  },
  async images() {
    return see(common);
  },
});

const openai = createOpenAI({ baseURL: BASE_URL, apiKey: API_KEY });
const responses = { model: openai.responses(MODEL), maxRetries: 0 };

// It sends references to what it has got, unless nothing is stored.
async function goOn(settings) {
  const question = { role: "user", content: TEXT };
  const { response } = await generateText({ ...settings, messages: [question] });
  const messages = [question, ...response.messages, { role: "user", content: AGAIN }];
  return (await generateText({ ...settings, messages })).text;
}

await report(`AI SDK ${version}, OpenAI provider`, {
  async text() {
    return (await generateText({ ...responses, prompt: TEXT })).text;
  },
  async stream() {
    return collect(streamText({ ...responses, prompt: TEXT }).textStream);
  },
  async usage() {
    const usage = await streamText({ ...responses, prompt: TEXT }).usage;
    return [usage.inputTokens, usage.outputTokens];
  },
  async tools() {
    return (await generateText({ ...responses, prompt: TOOLS, tools, stopWhen: stepCountIs(3) })).text;
  },
  async structured() {
    return (await generateText({ ...responses, prompt: STRUCTURED, output: Output.object({ schema }) })).output;
  },
  async images() {
    return see(responses);
  },
  async state_references() {
    return goOn(responses);
  },
  async state_unstored() {
    return goOn({ ...responses, providerOptions: { openai: { store: false } } });
  },
});
