import { ApiError } from "./errors.js";
import type { RunEvent } from "./schemas.js";
import { readFrames } from "./sse.js";

const LONGEST_PAUSE_MS = 10_000;
// In a row, without an event between them: about a minute.
const MAX_FAILURES = 12;
const ENDED: ReadonlySet<string> = new Set(["run.completed", "run.failed", "run.cancelled"]);

/** Where a stream begins: `start` opens it, `runId` and `after` say where it is resumed. */
export interface Position {
  start: () => Promise<Response>;
  resume: (runId: string, after: number) => Promise<Response>;
  runId?: string;
  after?: number;
  signal: AbortSignal | undefined;
}

/** Yield the events of a run to the last one; where the stream breaks off, resume it after the newest. */
export async function* readRun({ start, resume, runId, after = 0, signal }: Position): AsyncGenerator<RunEvent> {
  for (let failures = 0; ; ) {
    let error: unknown = new TypeError("The stream ended without an event.");
    try {
      const response = await (runId === undefined ? start() : resume(runId, after));
      // There are no more events.
      if (response.status === 204) return;
      let isWaiting = false;
      for await (const event of readEvents(response)) {
        failures = 0;
        runId = event.run_id;
        if ("seq" in event) after = event.seq;
        isWaiting = event.type === "run.waiting";
        yield event;
        if (ENDED.has(event.type)) return;
      }
      // A run that is read from its beginning may have waited, and gone on.
      if (isWaiting) return;
    } catch (caught) {
      error = caught;
    }
    if (signal?.aborted || !isTransient(error) || ++failures > MAX_FAILURES) throw error;
    const longest = Math.min(LONGEST_PAUSE_MS, 250 * 2 ** failures);
    await pause((error instanceof ApiError && error.retryAfterMs) || Math.random() * longest, signal);
  }
}

async function* readEvents(response: Response): AsyncGenerator<RunEvent> {
  if (!response.body) return;
  for await (const { event, data } of readFrames(response.body)) {
    yield { type: event, ...(JSON.parse(data) as object) } as RunEvent;
  }
}

// `fetch` throws a TypeError where a connection fails or breaks.
const isTransient = (error: unknown): boolean =>
  error instanceof ApiError ? error.isTransient : error instanceof TypeError;

/** Wait, but not for longer than somebody waits for it. */
const pause = (ms: number, signal: AbortSignal | undefined): Promise<void> =>
  new Promise((resolve, reject) => {
    const abort = () => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", abort);
      resolve();
    }, ms);
    signal?.addEventListener("abort", abort, { once: true });
  });
