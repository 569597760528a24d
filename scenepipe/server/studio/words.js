// The page's own words, in Russian and in English.

const CODES = ["ru", "en"];
const KEPT = "scenepipe.language";
let table = {};

export let language = "en";

/** One of the page's texts; `{name}` in it becomes a value. */
export const t = (key, values = {}) =>
  (table[key] ?? key).replace(/\{(\w+)\}/g, (_, name) => String(values[name] ?? ""));

export const preferred = () =>
  sessionStorage.getItem(KEPT) ?? (navigator.languages ?? [navigator.language])
    .map((code) => code.slice(0, 2).toLowerCase()).find((code) => CODES.includes(code)) ?? "en";

/** Load a language and put its words wherever the page asks for them. */
export async function speak(code) {
  table = await (await fetch(`studio/${code}.json`)).json();
  language = code;
  sessionStorage.setItem(KEPT, code);
  document.documentElement.lang = code;
  document.title = t("title");
  translate(document);
  document.dispatchEvent(new Event("language"));
}

export function translate(root) {
  for (const node of root.querySelectorAll("[data-t]")) node.textContent = t(node.dataset.t);
  for (const node of root.querySelectorAll("[data-t-label]")) node.setAttribute("aria-label", t(node.dataset.tLabel));
  for (const node of root.querySelectorAll("[data-t-placeholder]")) node.placeholder = t(node.dataset.tPlaceholder);
}

export const other = () => CODES.find((code) => code !== language);
export const number = (value, digits = 2) =>
  Number(value).toLocaleString(language, { minimumFractionDigits: digits, maximumFractionDigits: digits });
export const moment = (value) =>
  value ? new Date(value).toLocaleString(language, { dateStyle: "medium", timeStyle: "short" }) : "";
