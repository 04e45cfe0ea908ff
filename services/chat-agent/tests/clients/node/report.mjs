// What the scripts of this folder share: the task of each capability, and how they print what they got.
export const API_KEY = process.env.OPENAI_API_KEY;
export const BASE_URL = process.env.OPENAI_BASE_URL;
export const ACME_URL = new URL(BASE_URL).origin;
export const MODEL = "triage";
export const EMBEDDING_MODEL = "acme/embeddings";
export const { text: TEXT, tools: TOOLS, structured: STRUCTURED, again: AGAIN, image: IMAGE_URL } = JSON.parse(
  process.env.TASKS,
);
export const WEATHER_SCHEMA = {
  type: "object",
  properties: { city: { type: "string" } },
  required: ["city"],
  additionalProperties: false,
};
const calls = [];

export function getWeather({ city }) {
  calls.push(city);
  return `Snow in ${city}`;
}

// Try each capability, and print what it returned, or how it failed, as a line of JSON.
export async function report(client, capabilities) {
  const results = {};
  for (const [name, capability] of Object.entries(capabilities)) {
    calls.length = 0;
    try {
      const result = await capability();
      results[name] = name.includes("tools") ? { calls: [...calls], text: result } : result;
    } catch (error) {
      results[name] = { error: `${error.stack}\n${JSON.stringify(error)}` };
    }
  }
  console.log(JSON.stringify({ client, results }));
}

export async function collect(stream) {
  const all = [];
  for await (const each of stream) all.push(each);
  return all;
}
