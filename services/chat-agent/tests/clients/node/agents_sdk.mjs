// OpenAI's Agents SDK: an agent elsewhere, whose model is an agent of ours.
import { Agent, OpenAIProvider, Runner, tool } from "@openai/agents";
import { z } from "zod";
import { AGAIN, collect, getWeather, IMAGE_URL, MODEL, report, STRUCTURED, TEXT, TOOLS } from "./report.mjs";

const Person = z.object({ name: z.string(), age: z.int() });
const parameters = z.object({ city: z.string() });
const weather = tool({ name: "get_weather", description: "The weather.", parameters, execute: getWeather });
const agent = (more) => new Agent({ name: "Mine", instructions: "Be brief.", model: MODEL, ...more });

const responsesState = (runner) => ({
  async state_previous() {
    const { lastResponseId: previousResponseId } = await runner.run(agent(), TEXT);
    return (await runner.run(agent(), AGAIN, { previousResponseId })).finalOutput;
  },
  async state_unstored() {
    const forgetful = agent({ modelSettings: { store: false } });
    const { history } = await runner.run(forgetful, TEXT);
    return (await runner.run(forgetful, [...history, { role: "user", content: AGAIN }])).finalOutput;
  },
});

for (const [api, useResponses] of [["Responses", true], ["Chat Completions", false]]) {
  const runner = new Runner({ modelProvider: new OpenAIProvider({ useResponses }), tracingDisabled: true });
  await report(`Agents SDK (node), ${api}`, {
    async text() {
      return (await runner.run(agent(), TEXT)).finalOutput;
    },
    async stream() {
      const events = await collect(await runner.run(agent(), TEXT, { stream: true }));
      return events.filter(({ data }) => data?.type === "output_text_delta").map(({ data }) => data.delta);
    },
    async usage() {
      const { usage } = (await runner.run(agent(), TEXT)).state;
      return [usage.inputTokens, usage.outputTokens];
    },
    async tools() {
      return (await runner.run(agent({ tools: [weather] }), TOOLS)).finalOutput;
    },
    async structured() {
      return (await runner.run(agent({ outputType: Person }), STRUCTURED)).finalOutput;
    },
    async images() {
      const content = [{ type: "input_text", text: TEXT }, { type: "input_image", image: IMAGE_URL }];
      return (await runner.run(agent(), [{ role: "user", content }])).finalOutput;
    },
    ...(useResponses ? responsesState(runner) : {}),
  });
}
