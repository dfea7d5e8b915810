// Ranking by keys, by dragging (mouse, touch, pen) and by buttons. The ranks are stored in the form's own radio buttons and nowhere else,
// so that a form sent without this script means the same.
import { isTextField, singleKeys } from "./task.js";

const form = document.getElementById("answer");
const board = document.getElementById("board");
const hints = document.getElementById("hints");
const cards = [...document.querySelectorAll("article.answer")];
const K = cards.length;
const letters = "ABCDEFGHI";
const order = []; // ranked answers, the one ranked last at the end: Backspace takes that one back
let tie = false; // the next answer placed shares the last rank
let current = 0; // the answer that digits score

const fieldValue = (name) => Number(form.elements.namedItem(name)?.value) || null;
const rank = (i) => fieldValue(`rank-${i}`);
function setRank(i, place) {
  checkRank(i, place);
  const position = order.indexOf(i);
  if (position >= 0) order.splice(position, 1);
  if (place) order.push(i);
  current = i;
  form.dispatchEvent(new Event("ranked"));
  draw();
}
const othersOf = (i) => cards.map((_, j) => j).filter((j) => j !== i && rank(j));
function checkRank(i, place) {
  for (const radio of form.querySelectorAll(`input[name="rank-${i}"]`)) radio.checked = Number(radio.value) === place;
}
// The ranks 1, 2, ... without gaps, order and ties as they are.
function closeGaps(answers) {
  const ranks = [...new Set(answers.map(rank))].sort((a, b) => a - b);
  for (const [j, place] of answers.map((j) => [j, ranks.indexOf(rank(j)) + 1])) checkRank(j, place);
}
// The answer comes next in the ranking: one rank below the worst so far, or on that of the last one after "=".
// An answer that has a rank moves behind the others, who close up: the letters of a full ranking typed anew make the new one.
// Nothing is tied without "=": where the last rank is taken already (dragged there), the best free one is next.
function placeNext(i) {
  const others = othersOf(i), last = order.filter((j) => j !== i).at(-1);
  if (rank(i)) closeGaps(others);
  const worst = Math.max(0, ...others.map(rank));
  const free = rows.findIndex((_, place) => place < K && !others.some((j) => rank(j) === place + 1)) + 1;
  const place = tie && last !== undefined ? rank(last) : worst < K ? worst + 1 : free;
  tie = false;
  setRank(i, place);
}

const rows = []; // the board's rows: rank 1 to K, then "not yet"
function buildBoard() {
  const addRow = (place, name) => {
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
  for (let place = 1; place <= K; place += 1) addRow(place, place === 1 ? "1 best" : String(place));
  addRow(0, "not yet");
  for (let i = 0; i < K; i += 1) {
    const chip = document.createElement("button");
    chip.type = "button";
    chip.className = "chip";
    chip.dataset.place = String(i);
    chip.textContent = letters[i];
    chip.addEventListener("pointerdown", drag);
    chip.addEventListener("click", (event) => { if (event.detail === 0) placeNext(i); }); // by keyboard: pointers are handled by drag
    rows[K].append(chip);
  }
  board.hidden = false;
}
// A pointer that moves drags the chip to a row; one that hardly moves is a click.
function drag(event) {
  const chip = event.currentTarget, i = Number(chip.dataset.place), x = event.clientX, y = event.clientY;
  let moved = false;
  event.preventDefault();
  chip.setPointerCapture(event.pointerId);
  const move = (pointer) => {
    if (Math.hypot(pointer.clientX - x, pointer.clientY - y) > 5) moved = true;
    if (!moved) return;
    chip.classList.add("dragged");
    chip.style.translate = `${pointer.clientX - x}px ${pointer.clientY - y}px`;
    const over = rowUnder(pointer);
    for (const row of rows) row.classList.toggle("over", row === over);
  };
  const stop = (pointer) => {
    chip.removeEventListener("pointermove", move);
    chip.removeEventListener("pointerup", stop);
    chip.removeEventListener("pointercancel", stop);
    chip.classList.remove("dragged");
    chip.style.translate = "";
    for (const row of rows) row.classList.remove("over");
    const over = moved && pointer.type === "pointerup" ? rowUnder(pointer) : null;
    if (over) setRank(i, Number(over.dataset.rank) || null);
    else if (!moved) placeNext(i);
  };
  chip.addEventListener("pointermove", move);
  chip.addEventListener("pointerup", stop);
  chip.addEventListener("pointercancel", stop);
}
function rowUnder(pointer) {
  return rows.find((row) => {
    const box = row.getBoundingClientRect();
    return pointer.clientX >= box.left && pointer.clientX <= box.right && pointer.clientY >= box.top && pointer.clientY <= box.bottom;
  }) ?? null;
}
function draw() {
  const focused = document.activeElement;
  for (const chip of [...board.querySelectorAll(".chip")].sort((a, b) => a.dataset.place - b.dataset.place)) {
    const i = Number(chip.dataset.place), place = rank(i) ?? 0;
    (place ? rows[place - 1] : rows[K]).append(chip);
    chip.setAttribute("aria-label", `Answer ${letters[i]}, ${place ? `rank ${place}` : "no rank yet"}`);
    cards[i].classList.toggle("current", i === current);
  }
  if (focused !== document.activeElement) focused.focus({ preventScroll: true }); // a chip that moves to another row loses it
  sayOrder();
  const contradictions = [];
  for (let i = 0; i < K; i += 1) for (let j = 0; j < K; j += 1) {
    const [rankI, rankJ, scoreI, scoreJ] = [rank(i), rank(j), fieldValue(`overall-${i}`), fieldValue(`overall-${j}`)];
    if (rankI && rankJ && scoreI && scoreJ && rankI < rankJ && scoreI < scoreJ) contradictions.push(`${letters[i]} is ranked above ${letters[j]} but has the lower score (${scoreI} and ${scoreJ})`);
  }
  hints.hidden = contradictions.length === 0;
  hints.textContent = contradictions.join("; ");
  if (contradictions.length && !form.elements.namedItem("seen")) { // shown here: the site need not point them out again
    const field = document.createElement("input");
    Object.assign(field, { type: "hidden", name: "seen", value: "1" });
    form.append(field);
  }
}
// The ranking in a line that screen readers speak when it changes: "C > A = D; no rank yet: B".
function sayOrder() {
  const groups = rows.slice(0, K).map((_, place) => cards.map((_, i) => i).filter((i) => rank(i) === place + 1));
  const ranked = groups.filter((group) => group.length).map((group) => group.map((i) => letters[i]).join(" = ")).join(" > ");
  const missing = cards.map((_, i) => i).filter((i) => !rank(i)).map((i) => letters[i]).join(", ");
  const parts = [missing && `no rank yet: ${missing}`, tie && `the next one shares the rank of ${letters[order.at(-1)]}`];
  const line = document.createElement("strong");
  line.textContent = ranked;
  document.getElementById("order").replaceChildren(line, (ranked && parts.some(Boolean) ? "; " : "") + parts.filter(Boolean).join("; "));
}
form.addEventListener("change", (event) => {
  const match = /^(?:rank|overall)-(\d)$/.exec(event.target.name ?? "");
  if (!match) return;
  const i = Number(match[1]);
  current = i;
  if (event.target.name.startsWith("rank")) {
    if (order.includes(i)) order.splice(order.indexOf(i), 1);
    order.push(i);
  }
  draw();
});
addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || isTextField(event.target) || !singleKeys) return;
  const i = event.key.length === 1 ? letters.indexOf(event.key.toUpperCase()) : -1;
  let handled = true;
  if (i >= 0 && i < K) placeNext(i);
  else if (event.key === "=") { tie = order.length > 0; sayOrder(); }
  else if (event.key === "Backspace") { tie = false; if (order.length) setRank(order[order.length - 1], null); }
  else if (/^[1-7]$/.test(event.key)) form.querySelector(`input[name="overall-${current}"][value="${event.key}"]`).click();
  else if (event.key === "x") document.getElementById("all_bad").click();
  else if (event.key === "n") document.getElementById("not_ranked").click();
  else if (event.key === "Enter" && !event.target.closest("button, summary, a")) form.requestSubmit(form.querySelector("button[value=send]"));
  else handled = false;
  if (handled) event.preventDefault();
});
for (let i = 0; i < K; i += 1) if (rank(i)) order.push(i);
order.sort((a, b) => rank(a) - rank(b));
buildBoard();
draw();
