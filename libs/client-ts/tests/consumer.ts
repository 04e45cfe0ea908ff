// An application that uses the packed client against a stack; prints what it got, one JSON document a line.

import { AcmeClient, ApiError, MemoryStore, SignedOut, readFrames, type Frame, type RunEvent } from "@acme/client";
import type { paths } from "@acme/client/openapi/auth";

declare const process: { argv: string[] };

type SignIn = paths["/api/v1/auth/token"]["post"]["requestBody"]["content"]["application/json"];
interface Request extends SignIn {
  url: string;
  /** A way to the same gateway that breaks when "cut" is printed. */
  fragile_url: string;
}

const { url, fragile_url, email, password } = JSON.parse(process.argv[2] ?? "") as Request;
const print = (value: unknown) => console.log(JSON.stringify(value));

const paths: string[] = [];
const fetchUncounted = globalThis.fetch;
globalThis.fetch = (input, init) => {
  paths.push(new URL(`${input}`).pathname);
  return fetchUncounted(input, init);
};

async function all(events: AsyncIterable<RunEvent>): Promise<RunEvent[]> {
  const received: RunEvent[] = [];
  for await (const event of events) received.push(event);
  return received;
}

/** Compiles only while each type of event has its own fields. */
function describe(event: RunEvent): string {
  switch (event.type) {
    case "run.queued":
      // @ts-expect-error: it is not in the log
      return `${event.ahead} ahead, ${event.seq}`;
    case "message.delta":
      return event.delta;
    case "agent.changed":
      return event.to;
    case "memory.recalled":
      return event.memories.map((memory) => memory.text).join();
    case "memory.noted":
      return event.supersedes ?? event.memory.kind;
    case "history.compacted":
      return event.summary_id;
    case "approval.required":
      // @ts-expect-error: there is no such field
      return event.tool;
    default:
      return event.type;
  }
}

async function code(work: () => Promise<unknown>): Promise<unknown> {
  try {
    await work();
  } catch (error) {
    if (error instanceof ApiError) return [error.status, error.code, error.message, error.requestId !== ""];
    if (error instanceof SignedOut) return "signed out";
    throw error;
  }
  return "no error";
}

async function parse(stream: string, size: number): Promise<Frame[]> {
  const bytes = new TextEncoder().encode(stream);
  const frames: Frame[] = [];
  const body = new ReadableStream<Uint8Array<ArrayBuffer>>({
    start(controller) {
      for (let at = 0; at < bytes.length; at += size) controller.enqueue(bytes.slice(at, at + size));
      controller.close();
    },
  });
  for await (const frame of readFrames(body)) frames.push(frame);
  return frames;
}

const sample = ": sign of life\n\r\nevent: a\r\ndata: \u{1F600}: x\r\n\r\nid: 1\revent:b\rdata\rdata: 2\r\r\nretry: 9\n\ndata: unfinished";
print({ frames: await Promise.all([1, 2, 3, 1000].map((size) => parse(sample, size))) });

const store = new MemoryStore();
const acme = new AcmeClient({ baseUrl: url, store });
print({ unsigned: await code(() => acme.conversations()) });
print({ refused: await code(() => acme.signIn(email, `not ${password}`)) });
await acme.signIn(email, password);
print({ unknown: await code(() => all(acme.stream({ message: "Hello", agent_type: "poet" }))) });

const whole = await all(acme.stream("What time is it, and can you review this Python function? def add(a, b): return a - b"));
const conversationId = whole[0]!.conversation_id;
const { messages } = await acme.conversation(conversationId);
const { items } = await acme.conversations({ limit: 100 });
const { items: runs } = await acme.runs({ conversation_id: conversationId });
const { title } = await acme.renameConversation(conversationId, "Time and code");
print({
  whole,
  text: whole.map((event) => (event.type === "message.delta" ? describe(event) : "")).join(""),
  messages: messages.map((message) => message.content),
  isListed: items.some((item) => item.conversation_id === conversationId),
  runs: runs.map((run) => run.id),
  title,
  again: await all(acme.follow(whole[0]!.run_id, { after: 2 })),
});

// The connection breaks in the middle; what comes after that is the rest.
const fragile = new AcmeClient({ baseUrl: fragile_url, store });
const resumed: RunEvent[] = [];
let resumedAt = 0;
for await (const event of fragile.stream("Slowly [sandbox: tokens=2000, rate=20]")) {
  resumed.push(event);
  if (resumed.length === 10) print("cut");
  if (!resumedAt && paths.at(-1)?.endsWith("/events")) {
    resumedAt = resumed.length;
    await fragile.cancel(event.run_id);
  }
}
print({ resumed, resumedAt });

const waiting = await all(acme.stream("Forget it [sandbox: call=forget_conversation]"));
const approval = waiting.find((event) => event.type === "approval.required")!;
const last = waiting.at(-1)!;
await acme.answerApproval(approval.run_id, approval.approval_id, { approve: true });
const after = "seq" in last ? last.seq : 0;
const continued = await all(acme.follow(approval.run_id, { after }));
const end = continued.at(-1)!;
const rest = await all(acme.follow(approval.run_id, { after: "seq" in end ? end.seq : 0 }));
print({ waiting, continued, fromStart: await all(acme.follow(approval.run_id)), rest });

// Two clients find at the same moment that the token has expired, and then that it is refused.
const other = new AcmeClient({ baseUrl: url, store });
const refreshes = () => paths.filter((path) => path.endsWith("/refresh")).length;
const both = () => Promise.all([acme, other].map((client) => client.conversations()));
store.save({ ...store.load()!, expires_at: new Date(0).toISOString() });
await both();
const afterExpiry = refreshes();
store.save({ ...store.load()!, access_token: "revoked" });
await both();
print({ afterExpiry, afterRefusal: refreshes() });

const key = new AcmeClient({ baseUrl: url, token: store.load()!.access_token });
print({ byToken: (await key.conversations({ limit: 1 })).items.length });
await acme.signOut();
print({ after: await code(() => other.conversations()) });
