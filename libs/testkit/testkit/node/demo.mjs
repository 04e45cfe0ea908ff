// The demo of a stack in a real browser: prints as JSON what a person saw, and what the page did wrong.

import axe from "axe-core";

// Brings the libraries that a server's system may lack; it looks for this when it is loaded.
process.env.AWS_LAMBDA_JS_RUNTIME ??= "nodejs22.x";
const { default: chromium } = await import("@sparticuz/chromium");
const { chromium: playwright } = await import("playwright-core");

const { url, email, password, services, example } = JSON.parse(process.argv[2]);
const browser = await playwright.launch({ executablePath: await chromium.executablePath(), args: chromium.args });
const context = await browser.newContext();
const problems = [];
const refreshes = [];
context.on("request", (request) => {
  if (!request.url().startsWith(url) && !request.url().startsWith("data:")) problems.push(`foreign: ${request.url()}`);
  if (request.url().endsWith("/auth/refresh")) refreshes.push(request);
});
context.on("weberror", (error) => problems.push(`error: ${error.error().message}`));
context.on("console", (message) => {
  if (message.type() === "error" && !message.text().includes("401")) problems.push(message.text());
});

const page = await context.newPage();
page.setDefaultTimeout(60_000);
const texts = (role) => page.locator(`#messages li.${role}`).allTextContents();
const say = async (text) => {
  await page.fill("textarea", text);
  await page.keyboard.press("Enter");
};
const ended = () => page.locator("#stop").waitFor({ state: "hidden" });
const seen = { inaccessible: [] };
/** Note what people cannot use who see little or use a screen reader, in both colour schemes and on a small screen. */
const checkAccess = async (name) => {
  await page.evaluate(axe.source);
  const wide = page.viewportSize();
  for (const colorScheme of ["light", "dark"]) {
    for (const size of [wide, { width: 375, height: 667 }]) {
      await page.emulateMedia({ colorScheme });
      await page.setViewportSize(size);
      const { violations } = await page.evaluate(() => globalThis.axe.run());
      const isCut = await page.evaluate(() => document.documentElement.scrollWidth > document.documentElement.clientWidth);
      const faults = [...violations.map((one) => one.id), ...(isCut ? ["wider than the screen"] : [])];
      seen.inaccessible.push(...faults.map((fault) => `${name}, ${colorScheme}, ${size.width} px: ${fault}`));
    }
  }
  await page.setViewportSize(wide);
};

await page.goto(url);
await checkAccess("sign-in");
await page.fill("[name=email]", email);
await page.fill("[name=password]", `not ${password}`);
await page.click("#sign-in button");
await page.waitForFunction(() => document.querySelector("#sign-in .error").textContent);
seen.refused = await page.textContent("#sign-in .error");
await page.fill("[name=password]", password);
await page.click("#sign-in button");

await say("What time is it, and can you review this Python function? def add(a, b): return a - b");
await page.locator("#stop").waitFor();
await ended();
seen.chat = { user: await texts("user"), notes: await texts("note"), assistant: await texts("assistant") };

// What is written while a run waits is answered after it.
await page.click("#new");
await say("Forget it [sandbox: call=forget_conversation]");
await page.locator("li.approval").waitFor();
await ended();
await say(["What is wrong here?", "```python", "def add(a, b):", "    return a - b", "```"].join("\n"));
await page.getByText("waits for an approval above").waitFor();
await checkAccess("chat");
await page.click("li.approval >> text=Allow");
await page.locator("#messages li.assistant").nth(1).waitFor();
await ended();
seen.approved = await texts("assistant");
seen.code = await page.locator("li.user pre").allTextContents();

const answer = "A title of one's own";
page.on("dialog", (dialog) => dialog.accept(answer));
await page.setViewportSize({ width: 375, height: 667 });
await page.click("#rename");
const renamed = page.locator("#conversations [aria-current=true]", { hasText: answer });
await renamed.waitFor({ state: "attached" });
seen.title = await page.textContent("#title");
await page.click("#delete");
await page.locator("#rename").waitFor({ state: "hidden" });
await page.click("#menu");
await page.locator("#conversations li").first().waitFor();
seen.deleted = (await renamed.count()) === 0;
await page.setViewportSize({ width: 1280, height: 720 });

// What was decided before a reload is not offered again, and the run goes on with the other decision.
await page.click("#new");
await say("Forget it twice [sandbox: call=forget_conversation, call=forget_conversation]");
const buttons = page.locator("li.approval >> text=Allow");
await buttons.nth(1).waitFor();
const decided = page.waitForResponse((response) => response.url().includes("/approvals/"));
await buttons.first().click();
await decided;
await page.reload();
await buttons.first().waitFor();
await ended();
seen.pending = await buttons.count();
await buttons.first().click();
await page.locator("#messages li.assistant").waitFor();
await ended();
seen.decided = { approvals: await buttons.count(), assistant: await texts("assistant") };

// In an outage the gateway answers with a stream that has no event; pauses are recorded, and short here.
await page.click("#new");
let outages = 3;
await page.route("**/api/v1/chat/stream", (route) =>
  outages-- > 0 ? route.fulfill({ contentType: "text/event-stream", body: "retry: 3000\n\n" }) : route.continue(),
);
await page.evaluate(() => {
  const { fetch, setTimeout } = globalThis;
  globalThis.calls = [];
  globalThis.fetch = (url, options) => {
    if (`${url}`.endsWith("/chat/stream")) calls.push("request");
    return fetch(url, options);
  };
  globalThis.setTimeout = (work) => {
    calls.push("pause");
    return setTimeout(work);
  };
});
await say("Hello");
await page.locator("#messages li.assistant").waitFor();
await ended();
seen.outage = await page.evaluate(() => calls);
await page.unrouteAll();
await page.reload();

await page.click("#new");
await say("Slowly [sandbox: tokens=2000, rate=20]");
await page.locator("#messages li.assistant").waitFor();
const [before] = await texts("assistant");
await page.reload();
await page.waitForFunction((least) => document.querySelector("li.assistant")?.textContent.length > least, before.length);
await page.click("#stop");
await page.locator("#messages li.incomplete").waitFor();
await ended();
seen.resumed = { before, after: await texts("assistant"), user: await texts("user") };
seen.conversations = await page.locator("#conversations li").allTextContents();

// A long list comes in pages, which are small here; a key loads the next one, and the focus goes to what it adds.
await page.route("**/api/v1/conversations?limit=50*", (route) =>
  route.continue({ url: route.request().url().replace("limit=50", "limit=1") }),
);
await page.reload();
const listed = page.locator("#conversations li");
const more = page.locator("#more");
await more.waitFor();
await checkAccess("list");
await more.press("Enter");
await listed.nth(1).waitFor();
await page.waitForFunction(() => document.querySelector("#conversations").contains(document.activeElement));
seen.more = {
  listed: await listed.allTextContents(),
  focus: await page.evaluate(() => document.activeElement.textContent),
  status: await page.textContent("#status"),
};
await page.locator("#conversations button").nth(1).press("Enter");
await page.waitForFunction(() => document.querySelector("#conversations li:nth-child(2) [aria-current]"));
await ended();
seen.opened = await page.textContent("#title");
while (await more.isVisible()) {
  const count = await listed.count();
  await more.press("Enter");
  await listed.nth(count).waitFor();
}
seen.all = await listed.allTextContents();
await page.unrouteAll();

// Tabs whose token has expired at the same moment: one of them renews it, and the session goes on in both.
const other = await context.newPage();
await other.goto(url);
await other.locator("#conversations li").first().waitFor();
await page.evaluate(() => {
  const session = JSON.parse(localStorage.getItem("acme.session"));
  localStorage.setItem("acme.session", JSON.stringify({ ...session, expires_at: new Date(0).toISOString() }));
});
await Promise.all([page, other].map((tab) => tab.click("#new")));
await Promise.all([page, other].map((tab) => tab.waitForLoadState("networkidle")));
seen.tabs = await Promise.all([page, other].map((tab) => tab.isVisible("#chat")));
seen.refreshes = refreshes.length;
await other.close();

// The page of the guide, as if it were served by the gateway.
const own = await context.newPage();
await own.route("**/example.html", (route) => route.fulfill({ contentType: "text/html", body: example }));
await own.route("**/client.js", async (route) => route.fulfill({ response: await route.fetch({ url: `${url}/demo/client.js` }) }));
own.on("dialog", (dialog) => dialog.accept(dialog.message() === "Password" ? password : email));
await own.goto(`${url}/example.html`);
await own.getByText("current_time says").waitFor();
seen.example = await own.textContent("p");
await own.close();

await page.goto(`${url}/docs`);
await checkAccess("documents");
seen.documents = await page.locator("td a").evaluateAll((links) => links.map((link) => link.getAttribute("href")));
seen.operations = {};
for (const service of services) {
  await page.goto(`${url}/docs/${service}`);
  await page.locator(".opblock").first().waitFor();
  seen.operations[service] = await page.locator(".opblock").count();
}
await browser.close();
console.log(JSON.stringify({ ...seen, problems }));
