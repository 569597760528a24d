// The conversation: one text goes to one voice or to two, replies stream in, and the scene is drawn as it forms.

import { post, stream } from "./api.js";
import { $, announce, download, el, problem } from "./dom.js";
import { drawInto } from "./drawing.js";
import { openTrace } from "./trace.js";
import { Mixer } from "./voices.js";
import { moment, t } from "./words.js";

const turns = [];
let chat = newName();
let mixers = [];
let running = null;

function newName() {
  return "studio-" + [...crypto.getRandomValues(new Uint8Array(8))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Make the mixers; `models` is the list of /v1/models. */
export function setVoices(models) {
  const registers = models.filter((each) => each.scenepipe);
  const pipeline = models[0]?.id;
  mixers = [new Mixer(pipeline, registers, "a", true), new Mixer(pipeline, registers, "b", false)];
  $("mixers").replaceChildren(...mixers.map((mixer) => mixer.root));
  showMixers();
}

function showMixers() {
  mixers.forEach((mixer, index) => { mixer.root.hidden = index === 1 && !$("compare").checked; });
}

export function startTalk() {
  $("say").addEventListener("submit", (event) => { event.preventDefault(); say(); });
  $("text").addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    $("say").requestSubmit();
  });
  $("stop").addEventListener("click", () => running?.abort());
  $("compare").addEventListener("change", showMixers);
  $("fresh").addEventListener("click", begin);
  $("export").addEventListener("click", () =>
    download(`${chat}.json`, { scenepipe_studio: 1, chat, exported: new Date().toISOString(), turns }));
  document.addEventListener("language", () => mixers.forEach((mixer) => mixer.render()));
}

/** A chat of its own, with nothing before it. */
function begin() {
  running?.abort();
  turns.length = 0;
  chat = newName();
  $("log").replaceChildren($("welcome"));
  $("welcome").hidden = false;
  $("export").disabled = true;
  $("text").focus();
}

async function say() {
  const text = $("text").value.trim();
  if (!text || running) return;
  problem();
  const own = chat;
  running = new AbortController();
  busy(true);
  const mine = $("compare").checked ? mixers : mixers.slice(0, 1);
  const turn = { text, at: new Date().toISOString(), voices: mine.map((mixer) => ({ model: mixer.model, title: mixer.title, text: "" })) };
  const view = showTurn(turn);
  const messages = history(text);
  formScene(text, turn);
  const said = await Promise.allSettled(turn.voices.map((voice, index) => hear(voice, view[index], messages, index === 0)));
  const failed = said.find((each) => each.status === "rejected")?.reason;
  if (failed && failed.name !== "AbortError") problem(failed.message);
  if (turn.voices[0].text && own === chat) keep(turn);
  announce(failed ? t("stopped") : `${t("replied")} ${turn.voices.map((voice) => voice.text).join(" — ")}`);
  running = null;
  busy(false);
}

function history(text) {
  const before = turns.flatMap((turn) => [
    { role: "user", content: turn.text }, { role: "assistant", content: turn.voices[0].text }]);
  return [...before, { role: "user", content: text }];
}

/** Stream one reply. Only the first voice belongs to the chat and is remembered. */
async function hear(voice, view, messages, first) {
  const own = first ? { scene: true, chat } : { scene: true, remember: false };
  view.setAttribute("aria-busy", "true");
  try {
    const body = { model: voice.model, messages, scenepipe: own, stream_options: { include_usage: true } };
    for await (const chunk of stream("v1/chat/completions", body, running.signal)) {
      const piece = chunk.choices[0]?.delta?.content;
      if (piece) view.textContent = voice.text += piece;
      if (chunk.usage) voice.usage = chunk.usage;
      if (chunk.scenepipe) voice.scene = chunk.scenepipe.scene;
    }
  } finally {
    view.removeAttribute("aria-busy");
    view.classList.toggle("cut", !voice.scene);
  }
  if (voice.scene) view.after(tools(voice));
  if (first) drawScene(voice.scene);
}

function tools(voice) {
  return el("p", { class: "row tools" },
    el("button", { type: "button", onclick: () => drawScene(voice.scene), "data-t": "scene" }, t("scene")),
    el("button", { type: "button", onclick: () => openTrace(voice), "data-t": "trace" }, t("trace")));
}

function showTurn(turn) {
  $("welcome").hidden = true;
  $("text").value = "";
  const views = turn.voices.map(() => el("p", { class: "reply" }));
  const columns = views.map((view, index) => el("div", {}, el("h3", {}, turn.voices[index].title), view));
  const shown = el("article", {}, el("p", { class: "said" }, turn.text),
    el("time", { class: "quiet", datetime: turn.at }, moment(turn.at)), el("div", { class: "replies" }, columns));
  $("log").append(shown);
  shown.scrollIntoView({ block: "nearest" });
  return views;
}

function keep(turn) {
  turns.push(turn);
  $("export").disabled = false;
}

/** What the text alone says, before any model has spoken. */
async function formScene(text, turn) {
  const own = chat;
  try {
    const { data } = await post("v1/scenes", { input: [text] });
    if (data[0].object === "scene" && !turn.voices[0].scene && own === chat) drawScene(data[0]);
  } catch (error) {
    problem(error.message);
  }
}

function drawScene(scene) {
  if (scene) drawInto($("scene"), "v1/draw", { scene }, `${t("scene")}: ${scene.text.slice(0, 80)}`).catch((error) => problem(error.message));
}

function busy(is) {
  $("send").disabled = is;
  $("stop").hidden = !is;
  if (is) announce(t("forming"));
}
