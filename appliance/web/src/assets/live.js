// Live changes: one event stream while the page is looked at. When something that the page shows has
// changed, the page is fetched again and its live parts are exchanged; nothing is reloaded under a cursor.

import { announce, count, t } from "./texts.js";
import { show as showTimes } from "./time.js";

const SETTLE_MS = 250;
const BEAT_MS = 20_000;
const page = document.documentElement;
let stream = null;
let timer = null;
let away = false;

const setAway = (now) => {
  if (away === now) return;
  away = now;
  const banner = document.getElementById("away-banner");
  if (banner) banner.hidden = !now;
  if (!now) document.dispatchEvent(new CustomEvent("cairn:in-reach"));
  announce(t(now ? "browser_away" : "browser_back"));
};

/** Exchanges every [data-live] part for its newest state, except where somebody is writing. */
export const refresh = async () => {
  const parts = [...document.querySelectorAll("[data-live][id]")];
  if (parts.length === 0) return;
  const response = await fetch(location.href, { headers: { "X-Cairn-Live": "1" } });
  if (!response.ok) return;
  const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
  for (const part of parts) {
    const next = fresh.getElementById(part.id);
    if (!next || next.innerHTML === part.dataset.seen) continue;
    const focused = part.contains(document.activeElement) && document.activeElement.matches("input, textarea, select");
    if (focused) continue;
    part.dataset.seen = next.innerHTML;
    part.replaceChildren(...next.childNodes);
    showTimes(part);
    if (part.dataset.live === "say") announce(t("updated_live"));
    part.dispatchEvent(new CustomEvent("cairn:refreshed", { bubbles: true }));
  }
};

const wants = (change) => {
  const kinds = (document.body.dataset.kinds ?? "").split(" ");
  if (!kinds.includes(change.kind)) return false;
  const project = document.body.dataset.project;
  return !project || !change.project || change.project === project;
};

const onChange = (event) => {
  let change;
  try {
    change = JSON.parse(event.data);
  } catch {
    return;
  }
  if (!wants(change)) return;
  clearTimeout(timer);
  timer = setTimeout(() => refresh().catch(() => {}), SETTLE_MS + Math.random() * SETTLE_MS);
};

const showPresence = (event) => {
  const place = document.getElementById("presence");
  if (!place) return;
  const { people } = JSON.parse(event.data);
  const others = people.filter((person) => person.person !== page.dataset.person);
  const editing = others.find((person) => person.doing === "editing");
  place.hidden = others.length === 0;
  place.textContent = editing ? t("editing_now", { name: editing.name }) : count("viewing_now", others.length);
};

// Who is here is told to people with an account, about records that both can read.
const about = page.dataset.person ? document.body.dataset.record : undefined;

const beat = async () => {
  if (document.hidden) return;
  try {
    if (about) {
      await fetch("/api/v1/presence", {
        method: "POST",
        headers: { "Content-Type": "application/json", "X-CSRF-Token": page.dataset.csrf ?? "" },
        body: JSON.stringify({ at: about, doing: document.body.dataset.editing ? "editing" : "viewing" }),
      });
    } else {
      await fetch("/here");
    }
    setAway(false);
  } catch {
    setAway(true);
  }
};

const open = () => {
  if (stream || document.hidden) return;
  stream = new EventSource(about ? `/api/v1/events?at=${about}` : "/api/v1/events");
  stream.onopen = () => {
    if (away) refresh().catch(() => {});
    setAway(false);
  };
  stream.onerror = () => {
    // A refusal (too many listeners, a busy hub) closes the stream for good; then it is asked for again later.
    if (stream?.readyState === EventSource.CLOSED) {
      close();
      setTimeout(open, BEAT_MS);
    }
    beat();
  };
  stream.addEventListener("change", onChange);
  stream.addEventListener("presence", showPresence);
  stream.addEventListener("reset", () => refresh().catch(() => {}));
};

const close = () => {
  stream?.close();
  stream = null;
};

document.addEventListener("visibilitychange", () => {
  if (document.hidden) {
    close();
  } else {
    open();
    refresh().catch(() => {});
  }
});
document.addEventListener("cairn:sent", () => refresh().catch(() => {}));
// The address bar's spinner and the first paint come before the stream.
addEventListener("load", () => setTimeout(open, 0));
setInterval(beat, BEAT_MS);
addEventListener("offline", () => setAway(true));
addEventListener("online", beat);
if (about) beat();
