// What is behind the AI SDK's `useChat` in every framework, with a tool that the frontend executes.
import { ACME_URL, API_KEY, getWeather, IMAGE_URL, report, TEXT, TOOLS, WEATHER_SCHEMA } from "./report.mjs";

const version = process.argv[2];
const sdk = await import(version === "7" ? "ai" : `ai-${version}`);
const { AbstractChat, DefaultChatTransport, lastAssistantMessageIsCompleteWithToolCalls } = sdk;
const tools = { get_weather: { description: "The weather.", parameters: WEATHER_SCHEMA } };

// A framework puts its own reactive state in place of this.
class State {
  status = "ready";
  error = undefined;
  messages = [];
  pushMessage = (message) => void this.messages.push(message);
  popMessage = () => void this.messages.pop();
  replaceMessage = (index, message) => void (this.messages[index] = message);
  snapshot = (value) => structuredClone(value);
}

class Chat extends AbstractChat {}

async function ask(text, files) {
  const transport = new DefaultChatTransport({
    api: `${ACME_URL}/api/v1/chat/ui`,
    headers: { Authorization: `Bearer ${API_KEY}` },
    body: { tools },
  });
  return new Promise((resolve, reject) => {
    const chat = new Chat({
      state: new State(),
      transport,
      sendAutomaticallyWhen: lastAssistantMessageIsCompleteWithToolCalls,
      onToolCall({ toolCall: { toolName, toolCallId, input } }) {
        void chat.addToolOutput({ tool: toolName, toolCallId, output: getWeather(input) });
      },
      onError: reject,
      onFinish: ({ message, finishReason }) => finishReason === "stop" && resolve(message),
    });
    void chat.sendMessage({ text, files });
  });
}

const textOf = ({ parts }) => parts.filter(({ type }) => type === "text").map(({ text }) => text).join("");

await report(`AI SDK ${version}, useChat`, {
  async text() {
    return textOf(await ask(TEXT));
  },
  async tools() {
    return textOf(await ask(TOOLS));
  },
  async images() {
    return textOf(await ask(TEXT, [{ type: "file", mediaType: "image/png", filename: "dot.png", url: IMAGE_URL }]));
  },
});
