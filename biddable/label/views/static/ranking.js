// Ranking by keys, by drag (mouse, touch, pen) and by buttons. What is ranked stands in the form's own radio buttons and nowhere else.
import { single, writing } from "./task.js";

const form = document.getElementById("answer");
const board = document.getElementById("board");
const hints = document.getElementById("hints");
const cards = [...document.querySelectorAll("article.answer")];
const K = cards.length;
const letters = "ABCDEFGHI";
const order = []; // answers in the order in which keys placed them
let tie = false, current = 0;

const value = (name) => Number(form.elements.namedItem(name)?.value) || null;
const rank = (i) => value(`rank-${i}`);
function put(i, place) {
  for (const radio of form.querySelectorAll(`input[name="rank-${i}"]`)) radio.checked = Number(radio.value) === place;
  const at = order.indexOf(i);
  if (at >= 0) order.splice(at, 1);
  if (place) order.push(i);
  current = i;
  form.dispatchEvent(new Event("ranked"));
  draw();
}
function next(i) {
  const others = cards.map((_, j) => (j === i ? null : rank(j))).filter(Boolean);
  const last = Math.max(0, ...others);
  put(i, tie && last ? last : Math.min(K, last + 1));
  tie = false;
}

const rows = [];
function build() {
  const row = (place, name) => {
    const box = document.createElement("div");
    box.className = "slot";
    box.dataset.rank = String(place);
    const title = document.createElement("span");
    title.className = "slot-name";
    title.textContent = name;
    box.append(title);
    board.append(box);
    rows.push(box);
  };
  for (let place = 1; place <= K; place += 1) row(place, place === 1 ? "1 best" : String(place));
  row(0, "not yet");
  for (let i = 0; i < K; i += 1) {
    const chip = document.createElement("button");
    chip.type = "button";
    chip.className = "chip";
    chip.dataset.place = String(i);
    chip.textContent = letters[i];
    chip.addEventListener("pointerdown", drag);
    chip.addEventListener("click", (event) => { if (event.detail === 0) next(i); });
    rows[K].append(chip);
  }
  board.hidden = false;
}
function drag(event) {
  const chip = event.currentTarget, i = Number(chip.dataset.place), x = event.clientX, y = event.clientY;
  let moved = false;
  event.preventDefault();
  chip.setPointerCapture(event.pointerId);
  const move = (at) => {
    if (Math.hypot(at.clientX - x, at.clientY - y) > 5) moved = true;
    if (!moved) return;
    chip.classList.add("dragged");
    chip.style.translate = `${at.clientX - x}px ${at.clientY - y}px`;
    const over = under(at);
    for (const row of rows) row.classList.toggle("over", row === over);
  };
  const stop = (at) => {
    chip.removeEventListener("pointermove", move);
    chip.removeEventListener("pointerup", stop);
    chip.removeEventListener("pointercancel", stop);
    chip.classList.remove("dragged");
    chip.style.translate = "";
    for (const row of rows) row.classList.remove("over");
    const over = moved && at.type === "pointerup" ? under(at) : null;
    if (over) put(i, Number(over.dataset.rank) || null);
    else if (!moved) next(i);
  };
  chip.addEventListener("pointermove", move);
  chip.addEventListener("pointerup", stop);
  chip.addEventListener("pointercancel", stop);
}
function under(at) {
  return rows.find((row) => {
    const box = row.getBoundingClientRect();
    return at.clientX >= box.left && at.clientX <= box.right && at.clientY >= box.top && at.clientY <= box.bottom;
  }) ?? null;
}
function draw() {
  for (const chip of [...board.querySelectorAll(".chip")].sort((a, b) => a.dataset.place - b.dataset.place)) {
    const i = Number(chip.dataset.place), place = rank(i) ?? 0;
    (place ? rows[place - 1] : rows[K]).append(chip);
    chip.setAttribute("aria-label", `Answer ${letters[i]}, ${place ? `rank ${place}` : "no rank yet"}`);
    cards[i].classList.toggle("current", i === current);
  }
  const found = [];
  for (let i = 0; i < K; i += 1) for (let j = 0; j < K; j += 1) {
    const [a, b, x, y] = [rank(i), rank(j), value(`overall-${i}`), value(`overall-${j}`)];
    if (a && b && x && y && a < b && x < y) found.push(`${letters[i]} is ranked above ${letters[j]} but has the lower score (${x} and ${y})`);
  }
  hints.hidden = found.length === 0;
  hints.textContent = found.join("; ");
  let seen = form.elements.namedItem("seen");
  if (found.length && !seen) {
    seen = document.createElement("input");
    Object.assign(seen, { type: "hidden", name: "seen", value: "1" });
    form.append(seen);
  }
}
form.addEventListener("change", (event) => {
  const found = /^(?:rank|overall)-(\d)$/.exec(event.target.name ?? "");
  if (!found) return;
  const i = Number(found[1]);
  current = i;
  if (event.target.name.startsWith("rank")) {
    if (order.includes(i)) order.splice(order.indexOf(i), 1);
    order.push(i);
  }
  draw();
});
addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || writing(event.target) || !single) return;
  const i = event.key.length === 1 ? letters.indexOf(event.key.toUpperCase()) : -1;
  let done = true;
  if (i >= 0 && i < K) next(i);
  else if (event.key === "=") tie = true;
  else if (event.key === "Backspace") { if (order.length) put(order[order.length - 1], null); }
  else if (/^[1-7]$/.test(event.key)) form.querySelector(`input[name="overall-${current}"][value="${event.key}"]`).click();
  else if (event.key === "x") document.getElementById("all_bad").click();
  else if (event.key === "n") document.getElementById("not_ranked").click();
  else if (event.key === "Enter" && !event.target.closest("button, summary, a")) form.requestSubmit(form.querySelector("button[value=send]"));
  else done = false;
  if (done) event.preventDefault();
});
for (let i = 0; i < K; i += 1) if (rank(i)) order.push(i);
order.sort((a, b) => rank(a) - rank(b));
build();
draw();
