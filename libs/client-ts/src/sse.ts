/** An event of a stream, as the text of its fields. */
export interface Frame {
  event: string;
  data: string;
}

/** Yield the server-sent events of a body (WHATWG HTML 9.2); comments, which keep it open, are left out. */
export async function* readFrames(body: ReadableStream<Uint8Array<ArrayBuffer>>): AsyncGenerator<Frame> {
  let rest = "";
  let event = "";
  let data: string[] = [];
  for await (const text of chunks(body.pipeThrough(new TextDecoderStream()))) {
    // A carriage return at the end may be the first half of a line break.
    const lines = (rest + text).split(/\r\n|\n|\r(?!$)/);
    rest = lines.pop() ?? "";
    for (const line of lines) {
      const [, name, value = ""] = /^([^:]*):? ?(.*)$/s.exec(line) ?? [];
      if (name === "event") event = value;
      if (name === "data") data.push(value);
      if (line === "") {
        if (data.length) yield { event, data: data.join("\n") };
        event = "";
        data = [];
      }
    }
  }
}

/** Yield what a stream gives; not every browser iterates over streams itself. */
async function* chunks(stream: ReadableStream<string>): AsyncGenerator<string> {
  const reader = stream.getReader();
  try {
    for (let chunk = await reader.read(); !chunk.done; chunk = await reader.read()) yield chunk.value;
  } finally {
    reader.cancel().catch(() => {});
  }
}
