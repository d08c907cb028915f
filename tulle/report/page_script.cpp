#include "tulle/report/page_script.h"

namespace tulle {

std::string_view page_script() {
  return R"js(
"use strict";
const TOP = 10, BOTTOM = 216, LEFT = 50;

// The points of a path of moves and relative lines in tenths, as tulle writes them.
function points(path) {
  const found = [];
  let x = 0, y = 0;
  for (const [, kind, text] of path.getAttribute("d").matchAll(/([Ml])([^Mlhz]*)/g)) {
    const numbers = text.match(/-?\d+/g).map(Number);
    for (let i = 0; i + 1 < numbers.length; i += 2) {
      x = numbers[i] + (kind === "l" ? x : 0);
      y = numbers[i + 1] + (kind === "l" ? y : 0);
      found.push([x / 10, y / 10]);
    }
  }
  return path.classList.contains("bar") ? found.filter((_, i) => i % 2) : found;
}

function prepare(svg) {
  const [xLow, xHigh, yLow, yHigh, right] = svg.dataset.frame.split(" ").map(Number);
  const groups = [...svg.querySelectorAll("g")];
  const figure = svg.closest("figure");
  const names = [...figure.querySelectorAll(".legend li, .key")];
  names.forEach((name, i) => {
    name.classList.add("switch");
    name.onclick = () => {
      name.classList.toggle("off");
      groups[i].classList.toggle("off");
    };
  });
  let lines = null;
  const told = document.createElement("div");
  told.className = "told";
  told.hidden = true;
  figure.append(told);
  const rule = document.createElementNS(svg.namespaceURI, "path");
  rule.setAttribute("class", "rule");
  svg.append(rule);
  const hide = () => {
    told.hidden = true;
    rule.setAttribute("d", "");
  };
  svg.onpointerleave = hide;
  svg.onpointermove = event => {
    lines ??= groups.map(group => points(group.querySelector(".line,.bar") ?? group.querySelector(".dot")));
    const box = svg.getBoundingClientRect();
    const at = (event.clientX - box.left) * 480 / box.width;
    let best = null;
    lines.forEach((line, i) => {
      if (groups[i].classList.contains("off")) return;
      for (const [x] of line) if (best === null || Math.abs(x - at) < Math.abs(best - at)) best = x;
    });
    if (best === null || at < LEFT - 8 || at > right + 8) return hide();
    rule.setAttribute("d", `M${best} ${TOP}V${BOTTOM}`);
    const number = value => +value.toPrecision(5);
    const label = svg.querySelector(".name").textContent;
    told.textContent = `${label} ${number(xLow + (best - LEFT) / (right - LEFT) * (xHigh - xLow))}`;
    lines.forEach((line, i) => {
      const point = line.find(([x]) => x === best);
      if (!point || groups[i].classList.contains("off")) return;
      const value = yLow + (BOTTOM - point[1]) / (BOTTOM - TOP) * (yHigh - yLow);
      told.append(document.createElement("br"), `${groups[i].dataset.name}: ${number(value)}`);
    });
    told.hidden = false;
    const place = figure.getBoundingClientRect();
    const left = event.clientX - place.left + 14;
    told.style.left = `${Math.max(0, Math.min(left, place.width - told.offsetWidth - 8))}px`;
    told.style.top = `${event.clientY - place.top + 14}px`;
  };
}

function prepareAll() {
  document.querySelectorAll("svg[data-frame]").forEach(prepare);
}
prepareAll();

// A live page is replaced by what it has become, unless the reader points at it; it stays when the training ends.
if ("live" in document.body.dataset) {
  setInterval(async () => {
    if (document.hidden || document.querySelector(".told:not([hidden])")) return;
    try {
      const text = await (await fetch(location.pathname)).text();
      const fresh = new DOMParser().parseFromString(text, "text/html").querySelector("main");
      document.querySelector("main").replaceWith(fresh);
      prepareAll();
    } catch {
      document.body.classList.add("ended");
    }
  }, 2000);
}
)js";
}

// Checked by tests/cli/test_report.py, which prints the right one.
std::string_view page_script_hash() { return "sha256-HlIdpyeELLGrCRD3wy16z2ICeKjpjyfvgthC7GC+9Xc="; }

}  // namespace tulle
