// Holds a conversation with AG-UI's own client, and returns what it made of it.
import { HttpAgent } from "@ag-ui/client";
import { randomUUID } from "node:crypto";

export default async function converse(request) {
  const { url, token, threadId, messages, allow } = request;
  const agent = new HttpAgent({
    url,
    threadId,
    headers: { Authorization: `Bearer ${token}` },
    initialState: { theme: "dark" },
  });
  const events = [];
  const errors = [];

  async function run(parameters) {
    try {
      await agent.runAgent(parameters, { onEvent: ({ event }) => void events.push(event) });
    } catch (error) {
      errors.push(String(error.message ?? error));
    }
  }

  for (const content of messages) {
    agent.addMessage({ id: randomUUID(), role: "user", content });
    await run({});
    const asked = agent.pendingInterrupts;
    const said = { status: "resolved", payload: { approved: allow } };
    if (asked.length) await run({ resume: asked.map(({ id }) => ({ interruptId: id, ...said })) });
  }
  return { events, errors, messages: agent.messages, state: agent.state };
}
