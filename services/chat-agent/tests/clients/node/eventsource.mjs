// A standard EventSource follows a run; its connection breaks off once, and it goes on where it was.
import { EventSource } from "eventsource";
import { ACME_URL, API_KEY, report, TEXT } from "./report.mjs";

const headers = { Authorization: `Bearer ${API_KEY}` };
let connections = 0;

async function start() {
  const body = JSON.stringify({ message: TEXT });
  const options = { method: "POST", headers: { ...headers, "Content-Type": "application/json" }, body };
  return (await fetch(`${ACME_URL}/api/v1/runs`, options)).headers.get("Location");
}

// The first connection ends after two events, as if it had broken off.
async function breaking(url, init) {
  const response = await fetch(url, { ...init, headers: { ...init.headers, ...headers } });
  if (connections++ > 0) return response;
  const [first, second] = (await response.text()).split(/(?<=\n\n)/);
  return new Response(first + second, { headers: response.headers });
}

async function follow(location) {
  const source = new EventSource(new URL(`${location}/events`, ACME_URL), { fetch: breaking });
  const received = [];
  // While it waits to connect again, the client does not keep node from ending.
  const alive = setInterval(() => {}, 1000);
  await new Promise((resolve, reject) => {
    source.addEventListener("error", ({ code, message }) => {
      if (source.readyState === EventSource.CLOSED) reject(new Error(`${code} ${message}`));
    });
    for (const type of ["run.started", "item.started", "message.delta", "item.completed", "run.completed"]) {
      source.addEventListener(type, (event) => {
        received.push({ id: Number(event.lastEventId), type, data: JSON.parse(event.data) });
        if (type === "run.completed") resolve();
      });
    }
  });
  source.close();
  clearInterval(alive);
  return received;
}

await report("EventSource", {
  async stream() {
    const received = await follow(await start());
    const numbers = received.map(({ id }) => id);
    if (connections !== 2) throw new Error(`${connections} connections`);
    if (numbers.some((number, index) => number !== index + 1)) throw new Error(`holes: ${numbers}`);
    return received.filter(({ type }) => type === "message.delta").map(({ data }) => data.delta);
  },
});
