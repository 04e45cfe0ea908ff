/** What is shown of a conversation: messages, calls of tools, and approvals to decide. */

const SPEAKERS = { user: "You: ", assistant: "Assistant: " };
const list = document.querySelector("#messages");

export function element(name, properties = {}) {
  return Object.assign(document.createElement(name), properties);
}

export function addMessage(role, text) {
  const entry = element("li", { className: role });
  // Sighted people see by side and colour who says it.
  if (role in SPEAKERS) entry.append(element("span", { className: "for-screen-readers", textContent: SPEAKERS[role] }));
  entry.append(element("div"));
  list.append(entry);
  setText(entry, text);
  return entry;
}

/** Show a text as that of a message; what is between two lines of ``` is shown as code. */
export function setText(entry, text) {
  entry.text = text;
  const parts = text.split(/^```.*\n?/m).map((part, index) => {
    if (index % 2 === 0) return element("p", { textContent: part });
    const block = element("pre", { tabIndex: 0 });
    block.append(element("code", { textContent: part }));
    return block;
  });
  entry.querySelector(":scope > div").replaceChildren(...parts.filter((part) => part.textContent));
}

/** Show the call of a tool; what an agent calls that is a tool itself is within the call of that agent. */
export function addCall({ name, arguments: values, agent }, outer) {
  const text = `${name}(${values})`;
  if (!outer) return addMessage("note", agent ? `${agent}: ${text}` : text);
  const entry = element("li", { className: "note", textContent: `${agent}: ${text}` });
  const calls = outer.querySelector(":scope > ul") ?? outer.appendChild(element("ul"));
  calls.append(entry);
  return entry;
}

/** Ask whether a tool may be called; `decide` is given the answer. */
export function addApproval({ name, arguments: values, agent }, decide) {
  const by = agent ? ` by ${agent}` : "";
  const entry = addMessage("approval", `May ${name}(${values}) be called${by}?`);
  for (const [label, approve] of [["Allow", true], ["Refuse", false]]) {
    const button = element("button", { textContent: label });
    button.addEventListener("click", () => decide(approve, entry));
    entry.append(button);
  }
}

/** Do something that adds to the end of the list; who reads further up is left there. */
export function keepingPlace(add) {
  const isAtEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
  const result = add();
  if (isAtEnd) list.scrollTop = list.scrollHeight;
  return result;
}
