/** The page: sign in, conversations, a chat that is streamed, stopped, approved and resumed. */

import { ApiError, Client, SignedOut } from "./client.js";
import { addApproval, addCall, addMessage, element, keepingPlace, setText } from "./messages.js";

const CONVERSATION = "acme.conversation";
const UNFINISHED = "status=queued&status=running&status=waiting";
const JSON_BODY = { "Content-Type": "application/json" };

const find = (selector) => document.querySelector(selector);
const say = (text) => (find("#status").textContent = text);
const client = new Client("", () => say("The connection was lost. Trying again …"));
const [signIn, chat, messages, composer, menu] = ["#sign-in", "#chat", "#messages", "#composer", "#menu"].map(find);
// What is shown: pages of the list, a conversation, and the run whose events arrive; the controller ends the
// reading, not the run.
const shown = { pages: 1, conversationId: null, runId: null, lastEvent: 0, reading: new AbortController() };

const onClick = (selector, work) => find(selector).addEventListener("click", () => attempt(chat, work));

signIn.addEventListener("submit", (event) => {
  event.preventDefault();
  const { email, password } = Object.fromEntries(new FormData(event.target));
  attempt(signIn, async () => {
    await client.signIn(email, password);
    event.target.reset();
    await showChat();
  });
});

composer.addEventListener("submit", (event) => {
  event.preventDefault();
  // One answer at a time: the next message can be written, and is sent after it.
  if (find("#send").hidden) return;
  const { message } = Object.fromEntries(new FormData(composer));
  composer.reset();
  attempt(chat, () => send(message));
});

composer.message.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    composer.requestSubmit();
  }
});

onClick("#stop", () => client.json(`/api/v1/runs/${shown.runId}/cancel`, { method: "POST" }));
onClick("#new", () => openConversation(null));
onClick("#more", listMore);
onClick("#rename", renameConversation);
onClick("#delete", deleteConversation);
menu.addEventListener("click", () => showMenu(menu.getAttribute("aria-expanded") === "false"));
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
  signIn.querySelector("input").focus();
}

/** Open or close the list of conversations, which a narrow window has no room for. */
function showMenu(isOpen) {
  menu.setAttribute("aria-expanded", isOpen);
}

async function showChat() {
  signIn.hidden = true;
  chat.hidden = false;
  shown.pages = 1;
  await openConversation(sessionStorage.getItem(CONVERSATION));
}

/** List conversations, the newest first, and keep the focus on the one that has it. */
async function listConversations() {
  const { items, cursor } = await newestConversations();
  const { activeElement } = document;
  const list = find("#conversations");
  const focused = list.contains(activeElement) ? activeElement.dataset.id : null;
  list.replaceChildren(...items.map(conversationEntry));
  if (focused) list.querySelector(`[data-id="${focused}"]`)?.focus({ preventScroll: true });
  find("#more").hidden = cursor === null;
  const current = items.find((one) => one.conversation_id === shown.conversationId);
  if (current) find("#title").textContent = titleOf(current);
  if (shown.conversationId === null) find("#title").textContent = "New conversation";
  find("#rename").hidden = find("#delete").hidden = shown.conversationId === null;
}

/** Read as many pages as are shown, and the cursor of the next one, if there is one. */
async function newestConversations() {
  const items = [];
  let cursor = null;
  let pages = 0;
  do {
    const after = cursor ? `&cursor=${encodeURIComponent(cursor)}` : "";
    const page = await client.json(`/api/v1/conversations?limit=50${after}`);
    items.push(...page.items);
    cursor = page.next_cursor;
    pages += 1;
  } while (cursor && pages < shown.pages);
  return { items, cursor };
}

/** List one page more; the focus goes to the first that it adds, since the button may be hidden by now. */
async function listMore() {
  const { children } = find("#conversations");
  const before = children.length;
  shown.pages += 1;
  await listConversations();
  say(`${children.length} conversations are listed.`);
  children[before]?.querySelector("button").focus();
}

const titleOf = (conversation) => conversation?.title || conversation?.last_message || "Untitled";

function conversationEntry(conversation) {
  const { conversation_id: id } = conversation;
  const button = element("button", { textContent: titleOf(conversation) });
  button.dataset.id = id;
  if (id === shown.conversationId) button.setAttribute("aria-current", "true");
  button.addEventListener("click", () => attempt(chat, () => openConversation(id)));
  const entry = element("li");
  entry.append(button);
  return entry;
}

async function renameConversation() {
  const title = prompt("Title of this conversation", find("#title").textContent)?.trim();
  if (!title) return;
  const change = { method: "PATCH", headers: JSON_BODY, body: JSON.stringify({ title }) };
  await client.json(`/api/v1/conversations/${shown.conversationId}`, change);
  find("#title").textContent = title;
  await listConversations();
}

async function deleteConversation() {
  if (!confirm("Delete this conversation? It cannot be restored.")) return;
  await client.json(`/api/v1/conversations/${shown.conversationId}`, { method: "DELETE" });
  await openConversation(null);
}

/** Send a message; one that is refused is given back to be sent again. */
async function send(message) {
  const entry = addMessage("user", message);
  messages.scrollTop = messages.scrollHeight;
  shown.lastEvent = 0;
  try {
    await read(client.send({ message, conversation_id: shown.conversationId }, { signal: signal() }));
  } catch (failure) {
    if (failure instanceof ApiError && shown.lastEvent === 0) {
      entry.remove();
      composer.message.value ||= message;
    }
    throw failure;
  }
}

/** Show a conversation; runs that have not ended are shown by their events from the first on, and followed. */
async function openConversation(id) {
  const reading = signal();
  remember(id);
  messages.replaceChildren();
  setReading(false);
  say("");
  showMenu(false);
  // On a touch screen the keyboard would cover what was opened.
  if (!matchMedia("(pointer: coarse)").matches) composer.message.focus();
  await listConversations();
  if (id === null) return;
  // In this order: what ends between the two is in the messages, too, and left out there.
  const { items: runs } = await client.json(`/api/v1/runs?conversation_id=${id}&${UNFINISHED}`);
  const conversation = await client.json(`/api/v1/conversations/${id}`);
  reading.throwIfAborted();
  // The list may not go back as far.
  find("#title").textContent = titleOf(conversation);
  const isOfUnfinished = (one) => runs.some((run) => one.id.startsWith(run.id));
  for (const one of conversation.messages.filter((one) => !isOfUnfinished(one))) {
    addMessage(one.role, one.content).classList.toggle("incomplete", one.is_incomplete);
  }
  messages.scrollTop = messages.scrollHeight;
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
  const { reading } = shown;
  const entries = { items: new Map(), calls: new Map(), decided };
  setReading(true);
  try {
    for await (const { id, type, data } of events) {
      say("");
      shown.lastEvent = id ?? shown.lastEvent;
      if (type === "run.started" || type === "run.queued") setReading(true, data.run_id);
      keepingPlace(() => showEvent(type, data, entries));
      if (type === "run.started" && data.conversation_id !== shown.conversationId) {
        remember(data.conversation_id);
        await listConversations();
      }
    }
  } finally {
    // Another conversation may be shown by now.
    if (shown.reading === reading) setReading(false);
  }
  await listConversations();
}

function showEvent(type, data, { items, calls, decided }) {
  if (type === "run.queued") {
    addMessage("note", data.active_run.status === "waiting" ? "waits for an approval above" : "waits for the answer above");
  } else if (type === "message.delta") {
    if (!items.has(data.item_id)) items.set(data.item_id, addMessage("assistant", ""));
    const entry = items.get(data.item_id);
    setText(entry, entry.text + data.delta);
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
    if (!decided.has(data.approval_id)) addApproval(data, (approve, entry) => attempt(chat, () => decide(data, approve, entry)));
  } else if (type === "run.failed") {
    addMessage("note", data.detail);
  } else if (type === "run.cancelled") {
    [...items.values()].at(-1)?.classList.add("incomplete");
  }
}

/** Allow or refuse a call; the run goes on when all that it waits for is decided, and then what is queued after it. */
async function decide({ run_id: runId, approval_id: id }, approve, entry) {
  const run = await client.json(`/api/v1/runs/${runId}/approvals/${id}`, {
    method: "POST",
    headers: JSON_BODY,
    body: JSON.stringify({ approve }),
  });
  entry.remove();
  if (run.status !== "waiting") await openConversation(shown.conversationId);
}

/** Show whether an answer is read, and let its run be stopped: which one it is, its first event says. */
function setReading(isReading, runId = null) {
  const [send, stop] = ["#send", "#stop"].map(find);
  shown.runId = runId;
  if ([send, stop].includes(document.activeElement)) composer.message.focus();
  send.hidden = isReading;
  stop.hidden = !isReading;
  stop.disabled = runId === null;
  // A screen reader says an answer when it is complete.
  messages.setAttribute("aria-busy", isReading);
}

function remember(id) {
  shown.conversationId = id;
  if (id === null) sessionStorage.removeItem(CONVERSATION);
  else sessionStorage.setItem(CONVERSATION, id);
}

if (client.session) attempt(chat, showChat);
else showSignIn();
