// Parses streams with eventsource-parser: prints the events of each, given as a list of chunks.
import { createParser } from "eventsource-parser";

let input = "";
for await (const chunk of process.stdin) input += chunk;
const parse = (chunks) => {
  const events = [];
  const decoder = new TextDecoder();
  const parser = createParser({ onEvent: ({ event, data, id }) => events.push([event ?? "", data, id ?? ""]) });
  for (const chunk of chunks) parser.feed(decoder.decode(Buffer.from(chunk, "base64"), { stream: true }));
  return events;
};
process.stdout.write(JSON.stringify(JSON.parse(input).map(parse)));
