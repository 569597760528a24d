// Who speaks: the pipeline's own choice, or a mixture that is set with sliders.

import { el } from "./dom.js";
import { language, number, t } from "./words.js";

const STEP = 0.05;

/** One mixture. `registers` are model objects of /v1/models; weights sum to at most 1, the base has the rest. */
export class Mixer {
  #weights = new Map();
  #shown = new Map();

  constructor(pipeline, registers, name, chosen) {
    this.pipeline = pipeline;
    this.registers = registers;
    this.chosen = chosen;
    for (const each of registers) this.#weights.set(each.id, 0);
    if (!chosen && registers.length) this.#weights.set(registers[0].id, 1);
    this.name = name;
    this.root = el("fieldset", { class: "mixer" });
    this.render();
  }

  /** The model id: `poet@0.6+logician@0.4`, the heaviest first. */
  get model() {
    if (this.chosen) return this.pipeline;
    const parts = [...this.#weights].filter(([, weight]) => weight > 0)
      .sort(([a, x], [b, y]) => y - x || (a < b ? -1 : 1));
    return parts.map(([id, weight]) => `${id}@${+weight.toFixed(2)}`).join("+") || "base";
  }

  /** What people call it. */
  get title() {
    if (this.chosen) return t("scene_chooses");
    return titleOf(this.model, this.registers);
  }

  render() {
    const pick = (value, label) => el("label", { class: "check" }, el("input", {
      type: "radio", name: `kind-${this.name}`, value, checked: this.chosen === (value === "scene"),
      onchange: () => { this.chosen = value === "scene"; this.#update(); },
    }), label);
    this.sliders = el("div", { class: "sliders" }, this.registers.map((each) => this.#slider(each)), this.#rest());
    this.root.replaceChildren(el("legend", {}, t(`voice_${this.name}`)),
      el("div", { class: "row" }, pick("scene", t("scene_chooses")), pick("mixture", t("own_mixture"))), this.sliders);
    this.#update();
  }

  #slider(register) {
    const id = `${this.name}-${register.id}`;
    const said = el("output", { for: id });
    this.#shown.set(register.id, said);
    const move = ({ target }) => {
      const others = [...this.#weights].reduce((sum, [name, weight]) => sum + (name === register.id ? 0 : weight), 0);
      this.#weights.set(register.id, Math.min(Number(target.value), Math.max(0, Math.round((1 - others) / STEP) * STEP)));
      target.value = this.#weights.get(register.id);
      this.#update();
    };
    return [el("label", { for: id }, nameOf(register)),
      el("input", { id, type: "range", min: 0, max: 1, step: STEP, value: this.#weights.get(register.id), oninput: move }), said];
  }

  #rest() {
    this.base = el("output", {});
    this.bar = el("meter", { min: 0, max: 1, "aria-label": t("base") });
    return [el("span", { class: "quiet" }, t("base")), this.bar, this.base];
  }

  #update() {
    this.sliders.hidden = this.chosen;
    let left = 1;
    for (const [id, weight] of this.#weights) {
      left -= weight;
      this.#shown.get(id).textContent = number(weight);
    }
    this.bar.value = Math.max(0, left);
    this.base.textContent = number(Math.max(0, left));
  }
}

export const nameOf = (register) =>
  [register.scenepipe?.emoji, register.scenepipe?.titles?.[language] ?? register.id].filter(Boolean).join(" ");

/** `poet@0.6` in people's words. */
export function titleOf(model, registers) {
  if (model === "base") return t("base");
  return model.split("+").map((part) => {
    const [id, weight] = part.split("@");
    const known = registers.find((each) => each.id === id);
    return `${known ? nameOf(known) : id} ${number(weight ?? 1)}`;
  }).join(" + ");
}
