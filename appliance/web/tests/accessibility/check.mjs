// Opens pages of a running hub (see examples/preview.rs) and checks them with axe-core against WCAG 2.2 AA,
// on a phone and on a desk, light and dark, in English and Arabic. With --shots FOLDER it also keeps pictures.
//
//   npm install && node check.mjs http://127.0.0.1:8080 [--cookie NAME=VALUE] [--shots FOLDER] [--only WORD]
//
// Ends with 1 when there is a violation, when a page is wider than the screen, or when a target is too small.

import { createRequire } from "node:module";
import { mkdirSync, readFileSync } from "node:fs";
import puppeteer from "puppeteer-core";

const axe = createRequire(import.meta.url).resolve("axe-core/axe.min.js");
const [base, ...rest] = process.argv.slice(2);
const option = (name) => (rest.includes(name) ? rest[rest.indexOf(name) + 1] : undefined);
const cookie = option("--cookie");
const shots = option("--shots");
const only = option("--only");
if (shots) mkdirSync(shots, { recursive: true });

const browser = await puppeteer.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
});

const links = async (page, path, pattern) => {
  await page.goto(base + path, { waitUntil: "load" });
  return page.$$eval("main a[href]", (all, source) => all.map((a) => a.getAttribute("href")).find((href) => new RegExp(source).test(href)), pattern);
};

const UUID = "[0-9a-f]{8}-[0-9a-f-]{27}";
const page = await browser.newPage();
if (cookie) {
  const [name, value] = cookie.split("=");
  await browser.setCookie({ name, value, domain: new URL(base).hostname, path: "/" });
}
const document_ = await links(page, "/library", `^/library/${UUID}`);
await page.goto(`${base}/projects`, { waitUntil: "load" });
let [project, assessment] = [];
for (const path of await page.$$eval("main a.row-title", (all) => all.map((a) => a.getAttribute("href")))) {
  project = path;
  assessment = await links(page, path, `^/assessments/${UUID}`);
  if (assessment) break;
}
const notice = await links(page, "/notices", `^/notices/${UUID}`);
const paths = {
  home: "/",
  notices: "/notices",
  "notice-new": "/notices/new",
  library: "/library",
  document: document_,
  search: "/search?q=boil+water",
  ask: "/ask",
  answer: "/ask?q=How+long+must+water+boil%3F",
  nothing: "/ask?q=zebra+quantum+tennis",
  projects: "/projects",
  project,
  members: project && `${project}/people`,
  assessment,
  builder: assessment && `${assessment}/edit`,
  results: assessment && `${assessment}/results`,
  messages: "/messages",
  people: "/people",
  account: cookie && "/account",
  settings: cookie && "/settings",
  invitations: cookie && "/invitations",
  status: "/status",
  history: notice && `/records/${notice.split("/").pop()}/history`,
  "sign-in": "/sign-in",
  "sign-up": "/sign-up",
  missing: "/nowhere",
};

const sizes = { phone: { width: 360, height: 800 }, desk: { width: 1280, height: 900 } };
let faults = 0;
const fault = (where, what) => {
  faults += 1;
  console.log(`${where}: ${what}`);
};

/** Signed in, the person's own language counts; else the cookie's. */
const speak = async (language) => {
  await browser.setCookie({ name: "cairn_language", value: language, domain: new URL(base).hostname, path: "/" });
  if (!cookie) return;
  await page.goto(`${base}/status`, { waitUntil: "load" });
  await page.evaluate((language) => fetch("/language", { method: "POST", body: new URLSearchParams({ language, to: "/" }), headers: { "X-CSRF-Token": document.documentElement.dataset.csrf } }), language);
};

const checker = readFileSync(axe, "utf8");
for (const language of ["ar", "en"]) {
  await speak(language);
  for (const [name, path] of Object.entries(paths)) {
    if (!path || (only && !only.split(",").includes(name))) continue;
    for (const [size, viewport] of Object.entries(sizes)) {
      for (const scheme of ["light", "dark"]) {
        const where = `${name}-${size}-${scheme}-${language}`;
        await page.setViewport({ ...viewport, deviceScaleFactor: 1 });
        await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
        const errors = [];
        const listen = (message) => message.type() === "error" && errors.push(message.text());
        page.on("console", listen);
        await page.goto(base + path, { waitUntil: "load" });
        if (name === "answer") await page.waitForFunction(() => !document.querySelector(".caret"), { timeout: 20_000 }).catch(() => {});
        await page.evaluate(() => new Promise((resolve) => setTimeout(resolve, 150)));
        page.off("console", listen);
        for (const text of errors) if (name !== "missing") fault(where, `console: ${text}`);
        const spoken = await page.evaluate(() => document.documentElement.lang);
        if (spoken !== language) fault(where, `speaks ${spoken}`);
        const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
        if (wide > 0) fault(where, `${wide} px wider than the screen`);
        // The hub's own policy forbids scripts from elsewhere, so the checker comes in through the debugger.
        await page.evaluate(checker);
        const found = await page.evaluate(() => axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] }));
        for (const violation of found.violations) {
          fault(where, `${violation.id} (${violation.impact}): ${violation.help}; ${violation.nodes.slice(0, 3).map((node) => node.target.join(" ")).join(" | ")}`);
        }
        const small = await page.$$eval("a.button, button, summary, .rail a, input:not([type=hidden]):not([type=checkbox]):not([type=radio]), select", (all) =>
          all.filter((e) => e.offsetParent && e.getBoundingClientRect().height < 43.5 && !e.closest("[hidden], .pick")).map((e) => e.outerHTML.slice(0, 80)),
        );
        for (const element of small.slice(0, 3)) fault(where, `lower than 44 px: ${element}`);
        if (shots) await page.screenshot({ path: `${shots}/${where}.png`, fullPage: true });
      }
    }
  }
}
await browser.close();
console.log(`${faults} faults`);
process.exit(faults > 0 ? 1 : 0);
