// A trace: which mixture and why, the exact prompt, and the receipt of what spoke.

import { post } from "./api.js";
import { $, download, el, problem } from "./dom.js";
import { number, t } from "./words.js";

let last = null;

export function startTrace() {
  $("ask").addEventListener("submit", (event) => {
    event.preventDefault();
    const text = $("asked").value.trim();
    if (text) tell({ input: text }, null);
  });
  document.addEventListener("language", () => last && render());
}

/** The trace of a reply that was given. */
export function openTrace(voice) {
  document.querySelector("[data-view=trace]").click();
  $("asked").value = voice.scene.text;
  tell({ input: voice.scene.text, scene: voice.scene }, voice);
}

async function tell(body, voice) {
  problem();
  try {
    last = { told: await post("v1/explain", body), voice };
    await render();
  } catch (error) {
    problem(error.message);
  }
}

async function render() {
  const { told, voice } = last;
  const preview = Object.values(told.previews).find((each) => "prompt" in each) ?? {};
  const receipt = voice?.scene.reply?.receipt;
  const same = receipt && preview.prompt && (await sha256(preview.prompt));
  $("told").replaceChildren(
    part("stages", list([...told.ran.map((name) => `${name} ✓`), ...told.left_out.map((name) => `${name} · ${t("left_out")}`)])),
    part("mixture", mixture(told.scene.registers)),
    preview.prompt && part("prompt", el("pre", { tabindex: 0, role: "region", "aria-label": t("prompt") }, preview.prompt),
      same && el("p", { class: same === receipt.prompt_sha256 ? "good" : "quiet" },
        t(same === receipt.prompt_sha256 ? "prompt_same" : "prompt_other"))),
    receipt && part("receipt", table(receipt)),
    part("raw", el("details", {}, el("summary", {}, t("show_json")),
      el("pre", { tabindex: 0, role: "region", "aria-label": t("raw") }, JSON.stringify(voice?.scene ?? told.scene, null, 2))),
    el("button", { type: "button", onclick: () => download("trace.json", { explanation: told, reply: voice }) }, t("export"))));
}

const part = (name, ...inside) => el("section", { class: "part", "aria-label": t(name) }, el("h3", {}, t(name)), ...inside);
const list = (items) => el("ul", { class: "chips" }, items.map((item) => el("li", {}, item)));

function mixture(registers) {
  const weights = Object.entries(registers?.weights ?? {});
  if (!weights.length) return el("p", {}, t("base"));
  return el("dl", {}, weights.flatMap(([name, weight]) => [
    el("dt", {}, name, " ", el("meter", { min: 0, max: 1, value: weight, "aria-label": name }), " ", number(weight)),
    ...(registers.reasons[name] ?? []).map((reason) => el("dd", {}, `${reason.cause}: ${number(reason.amount)}`))]));
}

function table(receipt) {
  const rows = Object.entries(receipt).filter(([, value]) => value != null && JSON.stringify(value) !== "[]");
  return el("table", {}, el("tbody", {}, rows.map(([name, value]) =>
    el("tr", {}, el("th", { scope: "row" }, name), el("td", {}, typeof value === "object" ? JSON.stringify(value) : String(value))))));
}

/** None where the browser has no cryptography for pages without TLS. */
async function sha256(text) {
  if (!crypto.subtle) return null;
  const bytes = new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text)));
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
