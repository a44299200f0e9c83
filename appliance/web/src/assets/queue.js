// Changes made while the hub is out of reach. They wait in IndexedDB and are sent later, in order. Each has
// an id that the hub remembers, so that sending it twice has one effect.

import { announce, count, make, t } from "./texts.js";

const PATIENCE_MS = 10_000;
const page = document.documentElement;

const database = () =>
  new Promise((resolve, reject) => {
    const request = indexedDB.open("cairn", 1);
    request.onupgradeneeded = () => request.result.createObjectStore("changes", { keyPath: "id" });
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });

const inStore = async (mode, work) => {
  const db = await database();
  try {
    return await new Promise((resolve, reject) => {
      const transaction = db.transaction("changes", mode);
      const request = work(transaction.objectStore("changes"));
      transaction.oncomplete = () => resolve(request.result);
      transaction.onerror = () => reject(transaction.error);
      transaction.onabort = () => reject(transaction.error);
    });
  } finally {
    db.close();
  }
};

/** What waits, oldest first. */
export const waiting = async () => {
  try {
    return (await inStore("readonly", (store) => store.getAll())).sort((a, b) => a.at - b.at);
  } catch {
    return []; // Private windows of some browsers have no IndexedDB.
  }
};

/** A random UUID; `crypto.randomUUID` is missing on plain http. */
export const changeId = () => {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/(.{8})(.{4})(.{4})(.{4})(.{12})/, "$1-$2-$3-$4-$5");
};

/** Sends one form. Resolves to { to } or { problem }; throws when the hub is out of reach. */
export const post = async (action, body, id) => {
  const response = await fetch(action, {
    method: "POST",
    body,
    headers: {
      "Content-Type": "application/x-www-form-urlencoded",
      "Idempotency-Key": id,
      "X-CSRF-Token": page.dataset.csrf ?? "",
      "X-Cairn-Enhanced": "1",
    },
    signal: AbortSignal.timeout ? AbortSignal.timeout(PATIENCE_MS) : undefined,
  });
  const type = response.headers.get("Content-Type") ?? "";
  if (response.ok && type.includes("json")) return response.json();
  // A proxy or a captive portal may answer in the hub's place: that is no answer.
  if (!response.headers.has("X-Cairn")) throw new TypeError("not the hub");
  if (type.includes("html")) return { problem: response.status, html: await response.text() };
  const problem = type.includes("json") ? await response.json() : {};
  return { problem: response.status, reason: problem.detail ?? problem.title ?? String(response.status) };
};

/** Keeps a change for later. */
export const keep = async (change) => {
  await inStore("readwrite", (store) => store.put({ ...change, person: page.dataset.person ?? "", at: Date.now() }));
  announce(t("queue_kept"));
  await show();
};

const forget = (id) => inStore("readwrite", (store) => store.delete(id));

let sending = false;

/** Sends everything that waits and that this person made. */
export const flush = async () => {
  if (sending) return;
  sending = true;
  let sent = 0;
  try {
    const changes = await waiting();
    if (changes.length === 0) return;
    // The page may be older than the session: ask who is here and for a fresh token.
    const here = await (await fetch("/here", { headers: { Accept: "application/json" } })).json();
    page.dataset.csrf = here.csrf ?? "";
    for (const change of changes) {
      if (change.person !== (here.person ?? "") || change.refused) continue;
      const outcome = await post(change.action, change.body, change.id);
      if (outcome.problem === 401 || outcome.problem === 403 || outcome.problem === 429 || outcome.problem >= 500) break;
      if (outcome.problem) {
        // Kept and shown: the person decides, nothing is dropped silently.
        const refused = outcome.reason ?? t("error_422");
        await inStore("readwrite", (store) => store.put({ ...change, refused }));
      } else {
        await forget(change.id);
        sent += 1;
      }
    }
  } catch {
    // Still out of reach. The next event or minute tries again.
  } finally {
    sending = false;
    if (sent > 0) {
      announce(count("queue_sent", sent));
      document.dispatchEvent(new CustomEvent("cairn:sent"));
    }
    await show();
  }
};

/** Shows how much waits, and on request what. */
export const show = async () => {
  const banner = document.getElementById("queue-banner");
  if (!banner) return;
  const changes = await waiting();
  banner.hidden = changes.length === 0;
  banner.querySelector("[data-count]").textContent = count("queue_waiting", changes.length);
  const list = banner.querySelector("[data-list]");
  list.replaceChildren(
    ...changes.map((change) => {
      const item = make("li", "stack-s");
      item.append(make("p", "", change.label));
      if (change.refused) item.append(make("p", "small", t("queue_refused", { reason: change.refused })));
      else if (change.person !== (page.dataset.person ?? "")) item.append(make("p", "small", t("queue_other_person")));
      const discard = make("button", "button", t("queue_discard"));
      discard.type = "button";
      discard.addEventListener("click", async () => {
        await forget(change.id);
        await show();
      });
      item.append(discard);
      return item;
    }),
  );
};

/** What a person calls the change that a form makes: its first filled line. */
const labelOf = (form) => {
  const first = [...new FormData(form)].find(([name, value]) => !name.startsWith("_") && typeof value === "string" && value.trim());
  return [form.dataset.queue, first?.[1]?.slice(0, 80)].filter(Boolean).join(": ");
};

const submit = async (event) => {
  const form = event.target.closest("form[data-queue]");
  if (!form || event.defaultPrevented) return;
  event.preventDefault();
  const button = event.submitter;
  const fields = new FormData(form, button);
  const id = fields.get("_change") || changeId();
  fields.delete("_csrf");
  const body = new URLSearchParams(fields).toString();
  const action = form.getAttribute("action");
  if (button) button.disabled = true;
  try {
    const outcome = await post(action, body, id);
    if (outcome.html) {
      // The form again, with what is wrong beside each field.
      const fresh = new DOMParser().parseFromString(outcome.html, "text/html").querySelector("main");
      document.querySelector("main").replaceWith(fresh);
      fresh.focus();
    } else if (outcome.problem) {
      form.querySelector("[data-outcome]")?.replaceChildren(make("p", "flash bad", outcome.reason));
    } else {
      location.assign(outcome.to ?? location.href);
    }
  } catch {
    await keep({ id, action, body, label: labelOf(form) });
    form.reset();
    const next = form.querySelector("[name=_change]");
    if (next) next.value = changeId();
    form.querySelector("[data-outcome]")?.replaceChildren(make("p", "flash info", t("queue_kept")));
  } finally {
    if (button) button.disabled = false;
  }
};

document.addEventListener("submit", submit);
document.addEventListener("cairn:in-reach", flush);
document.getElementById("queue-send")?.addEventListener("click", flush);
addEventListener("online", flush);
setInterval(flush, 60_000);
show().then(flush);
