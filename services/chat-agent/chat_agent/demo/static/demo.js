/** The page: sign in, conversations, a chat that is streamed, stopped, approved and resumed. */

import { Client, SignedOut } from "./client.js";

const CONVERSATION = "acme.conversation";
const UNFINISHED = "status=queued&status=running&status=waiting";
const JSON_BODY = { "Content-Type": "application/json" };

const client = new Client();
const find = (selector) => document.querySelector(selector);
const [signIn, chat, messages, composer] = ["#sign-in", "#chat", "#messages", "#composer"].map(find);
// What is shown: a conversation, and the run whose events arrive; the controller ends the reading, not the run.
const shown = { conversationId: null, runId: null, lastEvent: 0, reading: new AbortController() };

signIn.addEventListener("submit", (event) => {
  event.preventDefault();
  const { email, password } = Object.fromEntries(new FormData(signIn));
  attempt(signIn, async () => {
    await client.signIn(email, password);
    signIn.reset();
    await showChat();
  });
});

composer.addEventListener("submit", (event) => {
  event.preventDefault();
  const { message } = Object.fromEntries(new FormData(composer));
  composer.reset();
  addMessage("user", message);
  attempt(chat, () => read(client.send({ message, conversation_id: shown.conversationId }, { signal: signal() })));
});

composer.message.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    composer.requestSubmit();
  }
});

find("#stop").addEventListener("click", () =>
  attempt(chat, () => client.json(`/api/v1/runs/${shown.runId}/cancel`, { method: "POST" })),
);
find("#new").addEventListener("click", () => attempt(chat, () => openConversation(null)));
find("#sign-out").addEventListener("click", async () => {
  signal();
  await client.signOut();
  showSignIn();
});

/** Do what was asked; say what went wrong where the person looks. */
async function attempt(place, work) {
  const error = place.querySelector(".error");
  error.textContent = "";
  try {
    await work();
  } catch (failure) {
    if (failure.name === "AbortError") return;
    if (failure instanceof SignedOut) showSignIn(failure.message);
    else error.textContent = failure.message;
  }
}

/** End the reading of what was shown before, and return the signal of what is read from now on. */
function signal() {
  shown.reading.abort();
  shown.reading = new AbortController();
  return shown.reading.signal;
}

function showSignIn(reason = "") {
  chat.hidden = true;
  signIn.hidden = false;
  signIn.querySelector(".error").textContent = reason;
}

async function showChat() {
  signIn.hidden = true;
  chat.hidden = false;
  await openConversation(sessionStorage.getItem(CONVERSATION));
}

async function listConversations() {
  const { items } = await client.json("/api/v1/conversations?limit=50");
  const entries = items.map((one) => {
    const button = element("button", { textContent: one.title || one.last_message || "Untitled" });
    button.toggleAttribute("aria-current", one.conversation_id === shown.conversationId);
    button.addEventListener("click", () => attempt(chat, () => openConversation(one.conversation_id)));
    const entry = element("li");
    entry.append(button);
    return entry;
  });
  find("#conversations").replaceChildren(...entries);
}

/** Show a conversation; runs that have not ended are shown by their events from the first on, and followed. */
async function openConversation(id) {
  const reading = signal();
  remember(id);
  messages.replaceChildren();
  setRun(null);
  await listConversations();
  if (id === null) return;
  // In this order: what ends between the two is in the messages, too, and left out there.
  const { items: runs } = await client.json(`/api/v1/runs?conversation_id=${id}&${UNFINISHED}`);
  const { messages: stored } = await client.json(`/api/v1/conversations/${id}`);
  reading.throwIfAborted();
  const isOfUnfinished = (one) => runs.some((run) => one.id.startsWith(run.id));
  for (const one of stored.filter((one) => !isOfUnfinished(one))) {
    addMessage(one.role, one.content).classList.toggle("incomplete", one.is_incomplete);
  }
  // The newest is first; those that are queued follow the one that runs.
  for (const { id: runId } of runs.reverse()) {
    const { message, approvals } = await client.json(`/api/v1/runs/${runId}`);
    reading.throwIfAborted();
    addMessage("user", message);
    const decided = new Set(approvals.filter((one) => one.status !== "pending").map((one) => one.id));
    await read(client.follow(runId, { signal: reading }), decided);
  }
}

/** Show the events of a run as they arrive; approvals that are decided already are left out. */
async function read(events, decided = new Set()) {
  const items = new Map();
  const calls = new Map();
  for await (const { id, type, data } of events) {
    shown.lastEvent = id ?? shown.lastEvent;
    if (type === "run.started") {
      setRun(data.run_id);
      if (data.conversation_id !== shown.conversationId) {
        remember(data.conversation_id);
        await listConversations();
      }
    } else if (type === "run.queued") {
      addMessage("note", data.active_run.status === "waiting" ? "waits for an approval above" : "waits for the answer above");
    } else if (type === "message.delta") {
      if (!items.has(data.item_id)) items.set(data.item_id, addMessage("assistant", ""));
      items.get(data.item_id).textContent += data.delta;
    } else if (type === "run.resumed") {
      // Another process goes on: what it withdraws is said again. What was to be approved is decided.
      for (const id of data.withdrawn) items.get(id)?.remove();
      if (data.reason === "answered") messages.querySelectorAll(".approval").forEach((entry) => entry.remove());
    } else if (type === "tool.called") {
      calls.set(data.call_id, addCall(data, calls.get(data.parent_call_id)));
    } else if (type === "tool.output") {
      calls.get(data.call_id)?.classList.toggle("failed", data.failed === true);
    } else if (type === "agent.changed") {
      addMessage("note", `${data.from} handed over to ${data.to}`);
    } else if (type === "approval.required") {
      if (!decided.has(data.approval_id)) addApproval(data);
    } else if (type === "run.failed") {
      addMessage("note", data.detail);
    } else if (type === "run.cancelled") {
      [...items.values()].at(-1)?.classList.add("incomplete");
    }
    messages.scrollTop = messages.scrollHeight;
  }
  setRun(null);
}

/** Show the call of a tool; what an agent calls that is a tool itself is within the call of that agent. */
function addCall({ name, arguments: values, agent }, outer) {
  const text = `${name}(${values})`;
  if (!outer) return addMessage("note", agent ? `${agent}: ${text}` : text);
  const entry = element("li", { className: "note", textContent: `${agent}: ${text}` });
  const list = outer.querySelector(":scope > ul") ?? outer.appendChild(element("ul"));
  list.append(entry);
  return entry;
}

/** Ask whether a tool may be called; the run goes on when all that it waits for is answered. */
function addApproval({ run_id: runId, approval_id: id, name, arguments: values, agent }) {
  const by = agent ? ` by ${agent}` : "";
  const entry = addMessage("approval", `May ${name}(${values}) be called${by}?\n`);
  const answer = (approve) =>
    attempt(chat, async () => {
      const run = await client.json(`/api/v1/runs/${runId}/approvals/${id}`, {
        method: "POST",
        headers: JSON_BODY,
        body: JSON.stringify({ approve }),
      });
      entry.remove();
      if (run.status !== "waiting") await read(client.follow(runId, { after: shown.lastEvent, signal: signal() }));
    });
  for (const [label, approve] of [["Allow", true], ["Refuse", false]]) {
    const button = element("button", { textContent: label });
    button.addEventListener("click", () => answer(approve));
    entry.append(button);
  }
}

function addMessage(role, text) {
  const entry = element("li", { className: role, textContent: text });
  messages.append(entry);
  return entry;
}

function setRun(id) {
  shown.runId = id;
  find("#stop").hidden = id === null;
}

function remember(id) {
  shown.conversationId = id;
  if (id === null) sessionStorage.removeItem(CONVERSATION);
  else sessionStorage.setItem(CONVERSATION, id);
}

function element(name, properties = {}) {
  return Object.assign(document.createElement(name), properties);
}

if (client.session) attempt(chat, showChat);
else showSignIn();
