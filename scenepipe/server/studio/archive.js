// The archive: what a text calls back, with every reason; by nearness or along time, and what stands around it.

import { post } from "./api.js";
import { $, announce, el, problem } from "./dom.js";
import { drawInto } from "./drawing.js";
import { moment, number, t } from "./words.js";

let echoes = [];

export function startArchive() {
  $("search").addEventListener("submit", (event) => { event.preventDefault(); search(); });
  $("order").addEventListener("change", show);
  document.addEventListener("language", show);
}

async function search() {
  const input = $("query").value.trim();
  if (!input) return;
  problem();
  const body = { input, limit: 50 };
  if ($("since").value) body.since = $("since").value;
  if ($("until").value) body.until = `${$("until").value}T23:59:59Z`;
  try {
    echoes = (await post("v1/memory/search", body)).data;
    show();
    announce(t("found_count", { count: echoes.length }));
    if (!echoes.length) $("found").append(el("li", { class: "quiet" }, t("nothing")));
    await drawInto($("graph"), "v1/memory/graph", { input }, `${t("graph")}: ${input.slice(0, 80)}`);
  } catch (error) {
    problem(error.message);
  }
}

function show() {
  const along = $("order").value === "time";
  const sorted = [...echoes].sort((a, b) => (along ? (b.met ?? "").localeCompare(a.met ?? "") : b.score - a.score));
  $("found").classList.toggle("timeline", along);
  $("found").replaceChildren(...sorted.map(item));
}

function item(echo) {
  return el("li", {},
    el("p", { class: "row quiet" }, el("time", { datetime: echo.met }, moment(echo.met)),
      el("meter", { min: 0, max: 1, value: echo.score, "aria-label": t("score") }), number(echo.score)),
    el("p", { class: "said" }, echo.text),
    echo.reply && el("p", { class: "reply" }, echo.reply),
    el("ul", { class: "reasons", "aria-label": t("reasons") }, echo.reasons.map((reason) => el("li", {}, reason))),
    echo.source && el("p", { class: "quiet" }, echo.source));
}
