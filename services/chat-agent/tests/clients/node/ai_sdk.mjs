// Vercel's AI SDK with its provider for compatible servers; the argument is the version.
import { z } from "zod";
import { API_KEY, BASE_URL, collect, EMBEDDING_MODEL, getWeather, MODEL, report, STRUCTURED, TEXT, TOOLS } from "./report.mjs";

const version = process.argv[2];
const suffix = version === "7" ? "" : `-${version}`;
const { embedMany, generateText, Output, stepCountIs, streamText, tool } = await import(`ai${suffix}`);
const { createOpenAICompatible } = await import(`@ai-sdk/openai-compatible${suffix}`);

const settings = { name: "acme", baseURL: BASE_URL, apiKey: API_KEY };
const provider = createOpenAICompatible({ ...settings, includeUsage: true, supportsStructuredOutputs: true });
const common = { model: provider(MODEL), maxRetries: 0 };
const schema = z.object({ name: z.string(), age: z.int() });
const inputSchema = z.object({ city: z.string() });
const tools = { get_weather: tool({ inputSchema, execute: async (input) => getWeather(input) }) };

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
});
