// What every page does, and which of the other modules this page needs.

import "./time.js";
import "./queue.js";
import "./live.js";
import { announce, t } from "./texts.js";

const page = document.documentElement;
page.classList.add("js");

const needs = { "[data-answer]": () => import("./ask.js"), "form[data-upload]": () => import("./upload.js"), "form[data-channel]": () => import("./messages.js"), "[data-questions]": () => import("./builder.js") };
for (const [selector, load] of Object.entries(needs)) if (document.querySelector(selector)) load();

const history = document.querySelector("[data-question-history]");
if (history && !document.querySelector("[data-answer]")) import("./ask.js");

// Menus close on Escape and on a press elsewhere.
const menus = () => document.querySelectorAll("details.menu[open]");
document.addEventListener("click", (event) => {
  for (const menu of menus()) if (!menu.contains(event.target)) menu.open = false;
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  for (const menu of menus()) {
    menu.open = false;
    menu.querySelector("summary").focus();
  }
});

// Copying; the clipboard API is missing on plain http.
document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const text = button.dataset.copy;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const field = document.createElement("textarea");
    field.value = text;
    document.body.append(field);
    field.select();
    document.execCommand("copy");
    field.remove();
  }
  announce(t("copied"));
  button.querySelector("[data-label]").textContent = t("copied");
});

// Signing out takes what this browser kept of pages with it.
document.addEventListener("submit", (event) => {
  if (event.target.matches("[data-sign-out]") && "caches" in window) caches.delete("pages");
});

// A second press on a plain form does not send it twice.
document.addEventListener("submit", (event) => {
  if (event.defaultPrevented || event.target.matches("[method=get]")) return;
  if (event.target.dataset.sent && Date.now() - event.target.dataset.sent < 2000) event.preventDefault();
  event.target.dataset.sent = Date.now();
});

if (window.isSecureContext && "serviceWorker" in navigator) navigator.serviceWorker.register("/sw.js").catch(() => {});
