// Puts the page together.

import { get, key } from "./api.js";
import { startArchive } from "./archive.js";
import { $, problem } from "./dom.js";
import { setVoices, startTalk } from "./talk.js";
import { startTrace } from "./trace.js";
import { other, preferred, speak, t } from "./words.js";

const VIEWS = ["talk", "archive", "trace"];

function show(view) {
  for (const name of VIEWS) {
    const button = document.querySelector(`[data-view=${name}]`);
    $(name).hidden = name !== view;
    if (name === view) button.setAttribute("aria-current", "page");
    else button.removeAttribute("aria-current");
  }
  problem();
}

async function connect() {
  try {
    const { data } = await get("v1/models");
    $("pipeline").textContent = data[0]?.id ?? "";
    setVoices(data);
    problem();
  } catch (error) {
    if (error.status === 401) $("access").open = true;
    problem(error.status === 401 ? t("key_needed") : error.message);
  }
}

for (const name of VIEWS) document.querySelector(`[data-view=${name}]`).addEventListener("click", () => show(name));
$("language").addEventListener("click", () => speak(other()));
$("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  key.set($("key").value.trim());
  $("key").value = "";
  $("access").open = false;
  connect();
});
document.addEventListener("language", () => {
  const code = other();
  $("language").textContent = code === "ru" ? "Русский" : "English";
  $("language").lang = code;
});
startTalk();
startArchive();
startTrace();
await speak(preferred());
await connect();
document.body.dataset.ready = "1";
