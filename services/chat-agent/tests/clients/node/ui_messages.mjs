// Holds a conversation the way `useChat` does, and returns the messages that it would show.
import { DefaultChatTransport, readUIMessageStream } from "ai";
import { randomUUID } from "node:crypto";

export default async function converse(request) {
  const { url, token, chatId, messages, resume, resumed, allow, body } = request;
  const transport = new DefaultChatTransport({
    api: url,
    headers: { Authorization: `Bearer ${token}` },
    body,
  });
  const errors = [];
  const shown = [];

  async function show(stream, message) {
    const onError = (error) => void errors.push(error.message);
    let last;
    for await (const more of readUIMessageStream({ stream, message, onError })) last = more;
    if (last) shown.push(last);
  }

  async function ask(message) {
    const sent = { chatId, messages: shown, trigger: "submit-message", messageId: undefined };
    try {
      const stream = await transport.sendMessages({ ...sent, abortSignal: undefined });
      if (message) shown.pop();
      await show(stream, message);
    } catch (error) {
      errors.push(error.message);
    }
  }

  // What `addToolApprovalResponse` does.
  function answered(message) {
    const asked = message.parts.filter((part) => part.state === "approval-requested");
    for (const part of asked) {
      part.state = "approval-responded";
      part.approval = { ...part.approval, approved: allow };
    }
    return asked.length > 0;
  }

  if (resume) {
    const stream = await transport.reconnectToStream({ chatId });
    if (resumed) await fetch(resumed, { method: "POST" });
    if (stream) await show(stream);
  }
  for (const text of messages ?? []) {
    shown.push({ id: randomUUID(), role: "user", parts: [{ type: "text", text }] });
    await ask();
    const last = shown.at(-1);
    if (last.role === "assistant" && answered(last)) await ask(last);
  }
  return { shown, errors };
}
