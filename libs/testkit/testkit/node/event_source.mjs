// An EventSource, as browsers have it, with a token: prints events, errors and openings, one JSON text a line.
import { EventSource } from "eventsource";

const { url, token, types } = JSON.parse(process.argv[2]);
const print = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);
const withToken = (input, init) =>
  fetch(input, { ...init, headers: { ...init.headers, Authorization: `Bearer ${token}` } });
const source = new EventSource(url, { fetch: withToken });
source.onopen = () => print({ type: "open" });
source.onerror = ({ code, message }) =>
  print({ type: "error", code, message, isClosed: source.readyState === EventSource.CLOSED });
for (const type of types) {
  source.addEventListener(type, ({ lastEventId, data }) => print({ type, id: lastEventId, data }));
}
