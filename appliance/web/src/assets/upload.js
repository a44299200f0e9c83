// Documents by drag and drop, whole folders too, one after the other with their progress.

import { make, t } from "./texts.js";

const MAX_FILES = 5000;
const KNOWN = /\.(md|markdown|txt|text|html?|pdf|epub|gguf)$/i;
const page = document.documentElement;
const form = document.querySelector("form[data-upload]");
const list = form.querySelector("[data-uploads]");
const lines = [];
let running = false;

const readFolder = (entry) =>
  new Promise((resolve, reject) => {
    const reader = entry.createReader();
    const found = [];
    const next = () =>
      reader.readEntries((batch) => {
        if (batch.length === 0) resolve(found);
        else {
          found.push(...batch);
          next();
        }
      }, reject);
    next();
  });

const filesOf = async (entry, found) => {
  if (found.length >= MAX_FILES) return;
  if (entry.isFile) found.push(await new Promise((resolve, reject) => entry.file(resolve, reject)));
  else if (entry.isDirectory) for (const child of await readFolder(entry)) await filesOf(child, found);
};

const send = (line) =>
  new Promise((resolve) => {
    const request = new XMLHttpRequest();
    const body = new FormData();
    const project = form.elements.project?.value;
    if (project) body.append("project", project);
    body.append("file", line.file, line.file.name);
    const fail = (reason) => {
      line.state.textContent = t("upload_failed", { reason });
      line.item.classList.add("error");
      line.progress.remove();
      resolve(false);
    };
    request.upload.onprogress = (event) => {
      if (event.lengthComputable) line.progress.value = event.loaded / event.total;
    };
    request.upload.onload = () => {
      line.state.textContent = t("upload_reading");
      line.progress.removeAttribute("value");
    };
    request.onload = () => {
      let answer = {};
      try {
        answer = JSON.parse(request.responseText);
      } catch {
        answer = {};
      }
      if (request.status < 200 || request.status > 299) return fail(answer.detail ?? answer.title ?? String(request.status));
      line.state.textContent = t("upload_done");
      line.progress.remove();
      const link = make("a", "", line.file.name);
      if (answer.to) {
        link.href = answer.to;
        line.name.replaceChildren(link);
      }
      return resolve(true);
    };
    request.onerror = () => fail(t("upload_unreachable"));
    request.open("POST", form.getAttribute("action"));
    request.setRequestHeader("X-CSRF-Token", page.dataset.csrf ?? "");
    request.setRequestHeader("X-Cairn-Enhanced", "1");
    line.state.textContent = t("upload_sending");
    request.send(body);
  });

const add = async (files) => {
  for (const file of [...files].filter((file) => KNOWN.test(file.name)).slice(0, MAX_FILES)) {
    const item = make("li");
    const line = { file, item, name: make("span", "", file.name), state: make("span", "quiet small", t("upload_waiting")), progress: make("progress") };
    line.progress.max = 1;
    line.progress.value = 0;
    line.progress.setAttribute("aria-label", file.name);
    item.append(line.name, line.state, line.progress);
    list.append(item);
    lines.push(line);
  }
  if (running) return;
  running = true;
  for (let line = lines.shift(); line; line = lines.shift()) await send(line);
  running = false;
};

form.addEventListener("dragover", (event) => {
  event.preventDefault();
  form.classList.add("over");
});
form.addEventListener("dragleave", () => form.classList.remove("over"));
form.addEventListener("drop", async (event) => {
  event.preventDefault();
  form.classList.remove("over");
  // Entries must be taken before the first await: the list is emptied then.
  const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  const found = [];
  for (const entry of entries) await filesOf(entry, found);
  await add(found);
});
for (const input of form.querySelectorAll("input[type=file]")) {
  input.addEventListener("change", () => {
    add(input.files);
    input.value = "";
  });
}
