// AG-UI's own client, with a tool that the frontend executes.
import { HttpAgent } from "@ag-ui/client";
import { randomUUID } from "node:crypto";
import { ACME_URL, API_KEY, getWeather, IMAGE_URL, report, TEXT, TOOLS, WEATHER_SCHEMA } from "./report.mjs";

const url = `${ACME_URL}/api/v1/agents/triage/ag-ui`;
const weather = { name: "get_weather", description: "The weather.", parameters: WEATHER_SCHEMA };
const create = () => new HttpAgent({ url, headers: { Authorization: `Bearer ${API_KEY}` } });

async function ask(agent, content, subscriber) {
  agent.addMessage({ id: randomUUID(), role: "user", content });
  await agent.runAgent({ tools: [weather] }, subscriber);
  return agent.messages.at(-1);
}

await report("AG-UI", {
  async text() {
    return (await ask(create(), TEXT)).content;
  },
  async stream() {
    const deltas = [];
    await ask(create(), TEXT, { onTextMessageContentEvent: ({ event }) => void deltas.push(event.delta) });
    return deltas;
  },
  async tools() {
    const agent = create();
    let last = await ask(agent, TOOLS);
    while (last.toolCalls?.length) {
      for (const call of last.toolCalls) {
        const content = getWeather(JSON.parse(call.function.arguments));
        agent.addMessage({ id: randomUUID(), role: "tool", toolCallId: call.id, content });
      }
      await agent.runAgent({ tools: [weather] });
      last = agent.messages.at(-1);
    }
    return last.content;
  },
  async images() {
    const source = { type: "data", mimeType: "image/png", value: IMAGE_URL.split(",")[1] };
    return (await ask(create(), [{ type: "text", text: TEXT }, { type: "image", source }])).content;
  },
});
