// The answer as it is written: queue place, text, checked sentences with citations, and what went wrong.
// The questions asked in this browser are kept in this browser alone.

import { announce, count, make, t } from "./texts.js";

const KEPT = 20;
const page = document.documentElement;

const asked = () => {
  try {
    return JSON.parse(localStorage.getItem("cairn.questions") ?? "[]");
  } catch {
    return [];
  }
};

const remember = (question) => {
  try {
    const all = [question, ...asked().filter((known) => known !== question)].slice(0, KEPT);
    localStorage.setItem("cairn.questions", JSON.stringify(all));
  } catch {
    // Private windows of some browsers refuse; then nothing is remembered.
  }
};

const showHistory = () => {
  const section = document.querySelector("[data-question-history]");
  if (!section) return;
  const questions = asked();
  section.hidden = questions.length === 0;
  section.querySelector("[data-questions-asked]").replaceChildren(
    ...questions.map((question) => {
      const item = make("li");
      const link = make("a", "", question);
      link.href = `/ask?q=${encodeURIComponent(question)}`;
      link.dir = "auto";
      item.append(link);
      return item;
    }),
  );
  section.querySelector("[data-forget]").addEventListener("click", () => {
    localStorage.removeItem("cairn.questions");
    section.hidden = true;
  });
};

/** Reads server-sent events from a fetch (WHATWG HTML, 9.2.6), because EventSource cannot post. */
async function* eventsOf(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    rest += value;
    const blocks = rest.split(/\r?\n\r?\n/);
    rest = blocks.pop();
    for (const block of blocks) {
      const data = block.split(/\r?\n/).filter((line) => line.startsWith("data:")).map((line) => line.slice(5).trimStart()).join("\n");
      if (data) yield JSON.parse(data);
    }
  }
}

/** Shows a passage where it stands, and takes the reader back afterwards. */
const openPassage = (number) => {
  const passage = document.getElementById(`passage-${number}`);
  if (!passage) return;
  document.querySelector(".passage.shown")?.classList.remove("shown");
  passage.classList.add("shown");
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  passage.scrollIntoView({ block: "center", behavior: calm ? "auto" : "smooth" });
  passage.focus({ preventScroll: true });
};

const answer = document.querySelector("[data-answer]");

const write = async () => {
  const state = answer.querySelector("[data-state]");
  const text = answer.querySelector("[data-text]");
  const outcome = answer.querySelector("[data-outcome]");
  const stop = answer.querySelector("[data-stop]");
  const question = answer.dataset.question;
  const abort = new AbortController();
  const loose = make("span");
  const caret = make("span", "caret");
  let model = "";
  let ended = false;

  text.replaceChildren(loose, caret);
  outcome.replaceChildren();
  stop.hidden = false;
  stop.onclick = () => {
    ended = true;
    abort.abort();
    finish(t("ask_stopped"), true);
  };

  const finish = (note, again) => {
    ended = true;
    caret.remove();
    stop.hidden = true;
    state.textContent = note;
    if (!again) return;
    const button = make("button", "button", t("ask_again"));
    button.type = "button";
    button.addEventListener("click", write);
    outcome.replaceChildren(button);
  };

  const sentence = ({ text: words, citations, supported }) => {
    // The checked sentence takes the place of the loose text that it was made from.
    const part = make("span", supported ? "" : "unsupported", words);
    if (!supported) {
      part.title = t("ask_unsupported");
      part.append(make("span", "sr", ` (${t("ask_unsupported")})`));
    }
    loose.textContent = "";
    loose.before(part);
    for (const number of citations) {
      const cite = make("a", "cite", String(number));
      cite.href = `#passage-${number}`;
      cite.setAttribute("aria-label", t("ask_open_passage", { n: number }));
      loose.before(cite);
    }
    loose.before(" ");
  };

  const on = {
    queued: ({ place }) => (state.textContent = place > 1 ? count("ask_queued", place - 1) : t("ask_queued_next")),
    started: (event) => {
      model = event.model;
      state.textContent = t("ask_thinking");
    },
    restarted: () => {
      text.replaceChildren(loose, caret);
      loose.textContent = "";
      state.textContent = t("ask_restarted");
    },
    text: (event) => {
      if (state.textContent !== t("ask_writing")) {
        state.textContent = t("ask_writing");
        // A hub without a model writes nothing that could be wrong.
        answer.querySelector("[data-check]").hidden = false;
      }
      loose.textContent += event.text.replace(/\s*\[\d+\]/g, "");
    },
    sentence,
    done: () => {
      loose.textContent = "";
      finish(model ? t("ask_done", { model }) : "", false);
      announce(text.textContent);
    },
    no_model: () => {
      finish(t("ask_no_model"), false);
      const link = document.querySelector("[data-models-link]");
      if (link) outcome.append(...link.cloneNode(true).childNodes);
    },
    no_answer: () => finish(t("ask_not_here_text"), false),
    broken: () => finish(`${t("ask_broken")} ${t("ask_broken_text")}`, true),
  };

  try {
    const response = await fetch("/api/v1/ask", {
      method: "POST",
      headers: { "Content-Type": "application/json", Accept: "text/event-stream", "X-CSRF-Token": page.dataset.csrf ?? "" },
      body: JSON.stringify({ text: question }),
      signal: abort.signal,
    });
    if (!response.ok) {
      const problem = await response.json().catch(() => ({}));
      finish(response.status === 429 ? t("error_429") : (problem.detail ?? t("error_503")), true);
      return;
    }
    for await (const event of eventsOf(response)) on[event.event]?.(event);
    if (!ended) on.broken();
  } catch {
    if (!ended) on.broken();
  }
};

if (answer) {
  remember(answer.dataset.question);
  if (answer.dataset.written) answer.querySelector("[data-state]").hidden = true;
  else write();
  addEventListener("click", (event) => {
    const cite = event.target.closest("a.cite");
    if (!cite) return;
    event.preventDefault();
    openPassage(cite.getAttribute("href").replace("#passage-", ""));
    history.replaceState(null, "", cite.getAttribute("href"));
  });
}
showHistory();
