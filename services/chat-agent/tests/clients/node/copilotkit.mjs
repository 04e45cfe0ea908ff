// CopilotKit: its runtime in front of an agent of ours, and the client that its React hooks are built on.
import { HttpAgent } from "@ag-ui/client";
import { CopilotKitCore } from "@copilotkit/core";
import { CopilotRuntime } from "@copilotkit/runtime/v2";
import { createCopilotNodeListener } from "@copilotkit/runtime/v2/node";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:http";
import { z } from "zod";
import { ACME_URL, API_KEY, getWeather, IMAGE_URL, report, TEXT, TOOLS } from "./report.mjs";

const headers = { Authorization: `Bearer ${API_KEY}` };
const triage = new HttpAgent({ url: `${ACME_URL}/api/v1/agents/triage/ag-ui`, headers });
const runtime = new CopilotRuntime({ agents: { triage } });
const server = createServer(createCopilotNodeListener({ runtime, basePath: "/copilotkit" })).listen(0, "127.0.0.1");
await once(server, "listening");

// It connects in browsers only.
globalThis.window = globalThis;
const parameters = z.object({ city: z.string() });
const tool = { name: "get_weather", description: "The weather.", parameters, handler: getWeather };
const core = new CopilotKitCore({ runtimeUrl: `http://127.0.0.1:${server.address().port}/copilotkit`, tools: [tool] });
await new Promise((resolve, reject) =>
  core.subscribe({
    onRuntimeConnectionStatusChanged: ({ status }) => status === "connected" && resolve(),
    onError: ({ error }) => reject(error),
  }),
);

async function ask(content, subscriber = {}) {
  const agent = core.getAgent("triage").clone();
  agent.threadId = randomUUID();
  const { unsubscribe } = agent.subscribe(subscriber);
  agent.addMessage({ id: randomUUID(), role: "user", content });
  await core.runAgent({ agent });
  unsubscribe();
  return agent.messages.at(-1).content;
}

await report("CopilotKit", {
  text: () => ask(TEXT),
  async stream() {
    const deltas = [];
    await ask(TEXT, { onTextMessageContentEvent: ({ event }) => void deltas.push(event.delta) });
    return deltas;
  },
  tools: () => ask(TOOLS),
  images() {
    const source = { type: "data", mimeType: "image/png", value: IMAGE_URL.split(",")[1] };
    return ask([{ type: "text", text: TEXT }, { type: "image", source }]);
  },
});
process.exit();
