"use strict";
// The browser of the report's questions. Texts come from documents and models, so
// they only ever become text nodes.
(() => {
  const find = (id) => document.getElementById(id);
  const data = JSON.parse(find("items-data").textContent);
  const [browse, list, detail] = ["browse", "item-list", "item"].map(find);
  const controls = ["a", "a-is", "b", "b-is", "gold", "words"].map((n) => find(`by-${n}`));
  const [bySystemA, byIsA, bySystemB, byIsB, byGold, byWords] = controls;
  const text = (place) => data.texts[place];
  let kept = [];
  let current = -1;

  const make = (tag, properties, ...children) => {
    const { role, ...others } = properties;
    const element = Object.assign(document.createElement(tag), others);
    if (role) element.setAttribute("role", role);
    element.append(...children);
    return element;
  };
  const verdict = (right, className) => make("span", { className: `${className} ${right ? "yes" : "no"}`, title: right ? "right" : "wrong" },
    make("span", { ariaHidden: "true" }, right ? "✓" : "✗"),
    make("span", { className: "hidden" }, right ? "right" : "wrong"));
  const bar = (label, kind, value) => {
    const filled = make("i", { className: "bar" });
    filled.style.left = "0";
    filled.style.width = `${100 * (value ?? 0)}%`;
    return [make("span", {}, ...label), make("span", { className: `mark ${kind}`, ariaHidden: "true" }, filled),
      make("span", { className: "number" }, value === null ? "–" : value.toFixed(3))];
  };
  const marked = (passage, answers) => {
    const wanted = answers.filter((a) => a.trim()).sort((x, y) => y.length - x.length)
      .map((a) => a.trim().replace(/[.*+?^${}()|[\]\\/-]/g, "\\$&"));
    if (!wanted.length) return [passage];
    const pattern = new RegExp(`(?<![\\p{L}\\p{N}_])(${wanted.join("|")})(?![\\p{L}\\p{N}_])`, "giu");
    return passage.split(pattern).map((piece, i) => (i % 2 ? make("mark", {}, piece) : piece));
  };

  const sub = (letters, after) => ["p", make("sub", {}, letters), after];
  const drawPassage = ([place, isGold, before, after, lsr, answers], accepted) => {
    const [title, passage] = data.passages[place];
    const bars = [[sub("R", " before"), "base", before], [sub("R", " after"), "tuned", after], [sub("LSR", ""), "lsr", lsr]];
    const heading = make("h4", {}, make("bdi", {}, text(title)));
    if (isGold) heading.append(make("span", { className: "badge" }, "gold paragraph"));
    const own = answers.flatMap((answer, lm) => (answer < 0 ? [] : [make("dt", {}, data.lms[lm]), make("dd", { dir: "auto" }, text(answer) || "(nothing)")]));
    return make("li", {},
      make("div", {}, heading, make("p", { className: "passage", dir: "auto" }, ...marked(passage, accepted))),
      make("div", {}, make("div", { className: "bars" }, ...bars.filter((b) => b[2] !== null).flatMap((b) => bar(...b))),
        make("dl", { className: "own" }, ...own)));
  };
  const drawSystem = ([right, answer, probability, candidates], system) => {
    const said = make("span", {}, make("small", {}, data.systems[system]), make("bdi", { className: "answer" }, text(answer) || "(nothing)"));
    if (candidates.length > 1) {
      said.append(make("details", { className: "weighed" }, make("summary", {}, `${candidates.length} answers weighed`),
        make("div", { className: "bars" }, ...candidates.flatMap(([one, p]) => bar([make("bdi", {}, text(one) || "(nothing)")], "tuned", p)))));
    }
    return make("li", {}, verdict(right, "verdict"), said, make("span", { className: "sure" }, `p = ${probability.toFixed(2)}`));
  };
  const draw = () => {
    const item = data.items[kept[current]];
    if (!item) {
      detail.replaceChildren(make("p", { className: "lead" }, "No question matches; set a filter back to “any”."));
      return;
    }
    const [question, answers, systems, passages] = item;
    const accepted = answers.map(text);
    detail.replaceChildren(
      make("h3", { className: "asked", dir: "auto" }, question),
      make("p", { className: "accepted" }, make("span", {}, "Accepted: "), ...accepted.map((a) => make("bdi", {}, a))),
      make("ul", { className: "given" }, ...systems.map(drawSystem)),
      make("ol", { className: "passages" }, ...passages.map((p) => drawPassage(p, accepted))));
  };

  const select = (index, scroll) => {
    list.querySelector("[aria-selected=true]")?.setAttribute("aria-selected", "false");
    current = Math.max(0, Math.min(index, kept.length - 1));
    const option = list.children[current];
    if (option) {
      option.setAttribute("aria-selected", "true");
      list.setAttribute("aria-activedescendant", option.id);
      if (scroll) option.scrollIntoView({ block: "nearest" });
    } else {
      list.removeAttribute("aria-activedescendant");
    }
    draw();
  };
  const is = (item, control, wanted) => wanted.value === "any" || item[2][control.value][0] === Number(wanted.value);
  const matches = (item) => {
    if (!is(item, bySystemA, byIsA) || !is(item, bySystemB, byIsB)) return false;
    if (byGold.value !== "any" && Number(item[3].some((p) => p[1])) !== Number(byGold.value)) return false;
    const words = byWords.value.trim().toLowerCase();
    return !words || [item[0], ...item[1].map(text), ...item[2].map((s) => text(s[1]))].some((t) => t.toLowerCase().includes(words));
  };
  const option = (place) => {
    const [question, , systems] = data.items[place];
    const strip = make("span", { className: "strip", ariaHidden: "true" },
      ...systems.map(([right], i) => make("span", { className: right ? "yes" : "no", title: data.systems[i] }, right ? "✓" : "✗")));
    const right = systems.flatMap(([one], i) => (one ? [data.systems[i]] : []));
    const summary = make("span", { className: "hidden" }, right.length ? ` Right: ${right.join(", ")}.` : " All wrong.");
    const made = make("li", { role: "option", id: `item-${place}` }, make("span", { className: "asked", dir: "auto" }, question), summary, strip);
    made.setAttribute("aria-selected", "false");
    return made;
  };
  const refresh = () => {
    kept = data.items.map((_, place) => place).filter((place) => matches(data.items[place]));
    list.replaceChildren(...kept.map(option));
    find("num-kept").textContent = `${kept.length} of ${data.items.length} questions`;
    list.scrollTop = 0;
    select(0, false);
  };

  const steps = { ArrowDown: 1, j: 1, ArrowUp: -1, k: -1, PageDown: 10, PageUp: -10, Home: -Infinity, End: Infinity };
  browse.addEventListener("keydown", (event) => {
    const isTyping = ["INPUT", "SELECT", "SUMMARY", "BUTTON"].includes(event.target.tagName);
    if (isTyping || event.ctrlKey || event.metaKey || event.altKey || !(event.key in steps)) return;
    if (event.target !== list && event.key.length > 1) return;
    event.preventDefault();
    select(current + steps[event.key], true);
  });
  list.addEventListener("click", (event) => {
    const chosen = event.target.closest("[role=option]");
    if (!chosen) return;
    select([...list.children].indexOf(chosen), false);
    if (matchMedia("(max-width: 760px)").matches) detail.scrollIntoView({ block: "start" });
  });
  controls.forEach((control) => control.addEventListener("input", refresh));

  const flips = find("flips");
  const choose = (a, b, isA, isB) => {
    [bySystemA.value, bySystemB.value, byIsA.value, byIsB.value] = [a, b, isA, isB];
    refresh();
    list.focus();
  };
  JSON.parse(flips.dataset.pairs).forEach(([after, before]) => {
    const [a, b] = [after, before].map((name) => data.systems.indexOf(name));
    if (a < 0 || b < 0) return;
    const count = (isA, isB) => data.items.filter((item) => item[2][a][0] === isA && item[2][b][0] === isB).length;
    const button = (label, isA, isB) => {
      const made = make("button", { type: "button" }, `${label} ${count(isA, isB)}`);
      made.addEventListener("click", () => choose(a, b, String(isA), String(isB)));
      return made;
    };
    flips.append(make("li", {}, make("span", {}, `${before} → ${after}`), button("put right", 1, 0), button("put wrong", 0, 1)));
  });
  [bySystemA, bySystemB].forEach((control) => control.append(...data.systems.map((name, i) => make("option", { value: i }, name))));
  bySystemA.value = data.systems.length - 1;
  bySystemB.value = Math.min(1, data.systems.length - 1);
  browse.hidden = false;
  refresh();
})();
