// Stops OpenAI's own client by an AbortController, as a stop button does, while its run is under way.
import OpenAI from "openai";

export default async function stop({ url, token, text, stream }) {
  const client = new OpenAI({ baseURL: url, apiKey: token, maxRetries: 0 });
  const controller = new AbortController();
  const messages = [{ role: "user", content: text }];

  async function read() {
    const answer = await client.chat.completions.create(
      { model: "triage", messages, stream },
      { signal: controller.signal },
    );
    // Its iterator ends without an error when it is aborted.
    if (stream) for await (const _ of answer);
  }

  async function isRunning() {
    const runs = new URL("/api/v1/runs?status=running", url);
    const { items } = await (await fetch(runs, { headers: { Authorization: `Bearer ${token}` } })).json();
    return items.length > 0;
  }

  const reading = read().catch((error) => error.constructor.name);
  while (!(await isRunning()));
  controller.abort();
  return (await reading) ?? null;
}
