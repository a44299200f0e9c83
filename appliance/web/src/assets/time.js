// Times in the reader's own zone, near ones as “5 minutes ago”.

const page = document.documentElement;
const relative = new Intl.RelativeTimeFormat(page.lang, { numeric: "auto" });
const absolute = new Intl.DateTimeFormat(page.lang, { dateStyle: "medium", timeStyle: "short" });
const steps = [["minute", 60], ["hour", 3600], ["day", 86400]];

export const show = (root = document) => {
  for (const element of root.querySelectorAll("time[data-moment]")) {
    const then = new Date(element.dateTime);
    const seconds = (Date.now() - then) / 1000;
    element.title = absolute.format(then);
    // A hub whose clock was never set, or a browser whose clock is off: leave what the hub says.
    if (then.getUTCFullYear() < 2020 || seconds < -300 || seconds > 7 * 86400) {
      if (then.getUTCFullYear() >= 2020) element.textContent = absolute.format(then);
      continue;
    }
    const [unit, size] = steps.findLast(([, size]) => seconds >= size) ?? ["minute", 60];
    element.textContent = relative.format(-Math.floor(Math.max(0, seconds) / size), unit);
  }
};

show();
setInterval(show, 60_000);
