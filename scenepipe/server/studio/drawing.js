// Pictures of scenes and of memory. The server draws them; as pictures (not as markup) they can run nothing.

import { post } from "./api.js";
import { el } from "./dom.js";
import { language, t } from "./words.js";

const latest = new WeakMap();

/** Draw into a figure; a later call for the same figure wins over an earlier one that is still under way. */
export async function drawInto(figure, path, body, title) {
  const mine = Symbol("drawing");
  latest.set(figure, mine);
  const { svg, description } = await post(path, { ...body, language });
  if (latest.get(figure) !== mine) return;
  const url = URL.createObjectURL(new Blob([svg], { type: "image/svg+xml" }));
  const old = figure.querySelector("img")?.src;
  const picture = el("img", { src: url, alt: title, width: 920 });
  const words = el("details", {}, el("summary", {}, t("in_words")), el("p", {}, description));
  const save = el("a", { href: url, download: "drawing.svg", class: "quiet" }, t("save_svg"));
  const caption = figure.querySelector("figcaption");
  caption.textContent = title;
  figure.replaceChildren(caption, el("div", { class: "picture", tabindex: 0, role: "group", "aria-label": title }, picture),
    el("div", { class: "row" }, words, save));
  if (old) URL.revokeObjectURL(old);
}
