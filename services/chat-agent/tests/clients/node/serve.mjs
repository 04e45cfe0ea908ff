// Runs scripts of this folder on request: a line of JSON in, their result as a line of JSON out.
import { createInterface } from "node:readline";

for await (const line of createInterface({ input: process.stdin })) {
  const { script, request } = JSON.parse(line);
  let answer;
  try {
    const { default: run } = await import(`./${script}`);
    answer = { result: await run(request) };
  } catch (error) {
    answer = { failure: String(error.stack ?? error) };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
