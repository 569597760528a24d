// Elements and downloads. Everything that is said goes in as text: no markup is ever made of a string.

export const $ = (id) => document.getElementById(id);

/** An element with its attributes, listeners (`onclick`) and what stands inside of it; strings become text. */
export function el(tag, given = {}, ...inside) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(given)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value !== false && value != null) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...inside.flat(Infinity).filter((part) => part != null && part !== false));
  return made;
}

/** Hand a value to the visitor as a file. */
export function download(name, value) {
  const url = URL.createObjectURL(new Blob([JSON.stringify(value, null, 2)], { type: "application/json" }));
  el("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

/** Say something to whoever listens instead of looking. */
export function announce(text) {
  $("status").textContent = text;
}

/** Show what went wrong; an empty text takes it away. */
export function problem(text = "") {
  $("problem").textContent = text;
  $("problem").hidden = !text;
}
