// The texts that scripts say, in the page's language, and how they count.

const page = document.documentElement;
const texts = (await import(page.dataset.texts)).default;
const forms = new Intl.PluralRules(page.lang);

const fill = (text, values) => text.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);

/** The message `key` with its {names} filled in. */
export const t = (key, values = {}) => fill(texts[key] ?? key, values);

/** The message about `n` things. */
export const count = (key, n) => {
  const all = texts[key] ?? {};
  return fill(all[forms.select(n)] ?? all.other ?? key, { n: new Intl.NumberFormat(page.lang).format(n) });
};

/** An element with a class and text; text is never read as HTML. */
export const make = (tag, className = "", text = "") => {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text) element.textContent = text;
  return element;
};

/** Says something to people who listen rather than look. */
export const announce = (text) => {
  const region = document.getElementById("announce");
  if (region) region.textContent = text;
};
