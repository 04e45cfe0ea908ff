// promptfoo, which evaluates prompts, with its providers for both of OpenAI's APIs.
import {
  API_KEY,
  BASE_URL,
  getWeather,
  IMAGE_URL,
  MODEL,
  report,
  STRUCTURED,
  TEXT,
  TOOLS,
  WEATHER_SCHEMA,
} from "./report.mjs";

Object.assign(process.env, {
  PROMPTFOO_CONFIG_DIR: process.cwd(),
  PROMPTFOO_CACHE_ENABLED: "false",
  PROMPTFOO_DISABLE_TELEMETRY: "true",
  PROMPTFOO_DISABLE_UPDATE: "true",
  PROMPTFOO_SELF_HOSTED: "true",
});
const { default: promptfoo } = await import("promptfoo");
const server = { apiBaseUrl: BASE_URL, apiKey: API_KEY, maxRetries: 0 };
const properties = { name: { type: "string" }, age: { type: "integer" } };
const schema = { type: "object", properties, required: ["name", "age"], additionalProperties: false };
const get_weather = { name: "get_weather", parameters: WEATHER_SCHEMA };

// Evaluate one prompt, and return what the provider got.
async function evaluate(prompt, { api = "chat", ...config } = {}) {
  const provider = { id: `openai:${api}:${MODEL}`, config: { ...server, ...config } };
  const { results } = await promptfoo.evaluate({ prompts: [prompt], providers: [provider], tests: [{ vars: {} }] });
  const [{ error, response }] = results;
  if (error) throw new Error(error);
  return response;
}

await report("promptfoo", {
  async text() {
    return (await evaluate(TEXT)).output;
  },
  async responses_text() {
    return (await evaluate(TEXT, { api: "responses" })).output;
  },
  async usage() {
    const { tokenUsage } = await evaluate(TEXT);
    return [tokenUsage.prompt, tokenUsage.completion];
  },
  async tools() {
    const tools = [{ type: "function", function: get_weather }];
    const functionToolCallbacks = { get_weather: (text) => getWeather(JSON.parse(text)) };
    return (await evaluate(TOOLS, { tools, functionToolCallbacks })).output;
  },
  async structured() {
    const json_schema = { name: "person", strict: true, schema };
    return (await evaluate(STRUCTURED, { response_format: { type: "json_schema", json_schema } })).output;
  },
  async images() {
    const content = [{ type: "text", text: TEXT }, { type: "image_url", image_url: { url: IMAGE_URL } }];
    return (await evaluate(JSON.stringify([{ role: "user", content }]))).output;
  },
});
process.exit();
