// The packed client in two tabs of a real browser: prints as JSON what happened to the session that they share.

import { readFile } from "node:fs/promises";

// Brings the libraries that a server's system may lack; it looks for this when it is loaded.
process.env.AWS_LAMBDA_JS_RUNTIME ??= "nodejs22.x";
const { default: chromium } = await import("@sparticuz/chromium");
const { chromium: playwright } = await import("playwright-core");

const { url, email, password, folder } = JSON.parse(process.argv[2]);
const browser = await playwright.launch({ executablePath: await chromium.executablePath(), args: chromium.args });
const context = await browser.newContext();
context.setDefaultTimeout(60_000);
const refreshes = [];
context.on("request", (request) => request.url().endsWith("/auth/refresh") && refreshes.push(request));
await context.route(`${url}/client/**`, async (route) => {
  const name = new URL(route.request().url()).pathname.slice("/client/".length);
  const [contentType, body] = name ? ["text/javascript", await readFile(`${folder}/${name}`)] : ["text/html", ""];
  await route.fulfill({ contentType, body });
});

const open = async () => {
  const tab = await context.newPage();
  await tab.goto(`${url}/client/`);
  await tab.evaluate(async () => {
    const { AcmeClient } = await import("/client/index.js");
    globalThis.acme = new AcmeClient();
  });
  return tab;
};
const tabs = [await open(), await open()];
await tabs[0].evaluate(([email, password]) => acme.signIn(email, password).then(() => {}), [email, password]);
// The token has expired, and both notice it at the same moment.
await tabs[0].evaluate(async () => acme.store.save({ ...acme.store.load(), expires_at: new Date(0).toISOString() }));
const listed = await Promise.all(tabs.map((tab) => tab.evaluate(async () => (await acme.conversations()).items.length)));
const types = await tabs[1].evaluate(async () => {
  const types = [];
  for await (const event of acme.stream("Hello")) types.push(event.type);
  return types;
});
await tabs[0].evaluate(() => acme.signOut());
const after = await tabs[1].evaluate(() => acme.conversations().then(() => "", (error) => error.name));
await browser.close();
console.log(JSON.stringify({ listed, refreshes: refreshes.length, types, after }));
