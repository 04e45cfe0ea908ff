// Compiled only: operations and types are there by the names that the documents give them.
import createClient from "openapi-fetch";
import { createChat, type ChatAnswer } from "./hey/chat-agent";
import { createConversation, listConversations, type ConversationPage } from "./hey/conversation";
import { listPlans } from "./hey/billing-webhook";
import { listNotifications } from "./hey/notification";
import { getMe, signIn } from "./hey/auth";
import type { components, operations, paths } from "./types/conversation";

const client = createClient<paths>({ baseUrl: "http://127.0.0.1" });

export async function titles(): Promise<(string | null)[]> {
  const { data } = await client.GET("/api/v1/conversations", { params: { query: { limit: 3 } } });
  return data?.items.map((one) => one.title) ?? [];
}

export async function page(): Promise<ConversationPage | undefined> {
  await createConversation({ body: { title: "Generated" } });
  return (await listConversations({ query: { limit: 3 } })).data;
}

export async function chat(): Promise<ChatAnswer | undefined> {
  await signIn({ body: { email: "ann@example.com", password: "four unrelated words here" } });
  return (await createChat({ body: { message: "Hello" } })).data;
}

export const others = [getMe, listNotifications, listPlans];
export type Query = operations["listConversations"]["parameters"]["query"];
export type Page = components["schemas"]["ConversationPage"];
