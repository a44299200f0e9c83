// A channel: what you write stands there at once, marked until the hub has it.

import { changeId, keep, post } from "./queue.js";
import { make, t } from "./texts.js";
import { refresh } from "./live.js";

const form = document.querySelector("form[data-channel]");
const thread = document.getElementById("thread");
const field = form.elements.body;

const toEnd = () => scrollTo({ top: document.body.scrollHeight });
const nearEnd = () => innerHeight + scrollY > document.body.scrollHeight - 240;

const bubble = (text) => {
  const item = make("li", "message mine sending");
  item.append(make("span", "face", (page.dataset.name ?? "").slice(0, 1)));
  const box = make("div");
  const meta = make("p", "meta");
  const state = make("span", "", t("message_sending"));
  meta.append(make("b", "", page.dataset.name ?? ""), state);
  box.append(meta, make("div", "bubble", text));
  item.append(box);
  return { item, state };
};

const page = document.documentElement;

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const text = field.value.trim();
  if (!text) return;
  const id = changeId();
  const action = form.getAttribute("action");
  const body = new URLSearchParams({ body: text }).toString();
  const { item, state } = bubble(text);
  document.getElementById("thread-empty")?.remove();
  thread.append(item);
  field.value = "";
  toEnd();
  try {
    const outcome = await post(action, body, id);
    if (outcome.problem) {
      item.classList.add("failed");
      state.textContent = `${t("message_failed")}. ${outcome.reason ?? ""}`;
      field.value = text;
      return;
    }
    item.classList.remove("sending");
    state.remove();
    await refresh();
    toEnd();
  } catch {
    state.textContent = t("message_waiting");
    await keep({ id, action, body, label: text.slice(0, 80) });
  }
});

field.addEventListener("keydown", (event) => {
  // Enter sends where there is a keyboard; on a phone it makes a new line.
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing && matchMedia("(pointer: fine)").matches) {
    event.preventDefault();
    form.requestSubmit();
  }
});

let stick = true;
addEventListener("scroll", () => (stick = nearEnd()), { passive: true });
thread.addEventListener("cairn:refreshed", () => stick && toEnd());
if (!location.search) toEnd();
