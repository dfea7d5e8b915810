// Every task page: drafts that survive a closed browser, time worked without pauses, keys. The page works without it.
const form = document.getElementById("answer");
const seconds = form.elements.namedItem("seconds");
const state = document.getElementById("state");
const IDLE = 60; // seconds without a touch after which time stops
let worked = Number(seconds.dataset.begun) || 0, touched = Date.now(), changed = false, saving = false;
seconds.value = String(worked);

for (const kind of ["pointermove", "pointerdown", "keydown", "wheel", "touchstart", "scroll"]) {
  addEventListener(kind, () => { touched = Date.now(); }, { passive: true });
}
setInterval(() => {
  if (document.visibilityState === "visible" && Date.now() - touched < IDLE * 1000) {
    worked += 1;
    seconds.value = String(worked);
  }
}, 1000);

const keeps = form.querySelector("button[value=draft]") !== null; // an admin who decides has no draft
async function save(leaving = false) {
  if (saving || !keeps) return;
  saving = true;
  changed = false;
  try {
    const body = new URLSearchParams(new FormData(form));
    const said = await fetch("/draft", { method: "POST", body, headers: { accept: "application/json" }, keepalive: leaving });
    if (said.ok) {
      const told = await said.json();
      state.textContent = told.held ? `Draft kept at ${told.saved} UTC` : "Somebody else has this task by now";
    } else {
      state.textContent = said.status === 403 ? "Not kept: log in again in another window" : "Not kept: " + said.status;
      changed = true;
    }
  } catch {
    state.textContent = "No connection; trying again";
    changed = true;
  }
  saving = false;
}
const note = () => { changed = true; };
form.addEventListener("input", note);
form.addEventListener("ranked", note);
setInterval(() => { if (changed) save(); }, 1500);
setInterval(() => { if (Date.now() - touched < 120000) save(); }, 120000); // somebody who reads keeps the task
addEventListener("pagehide", () => { if (changed) save(true); });
form.addEventListener("submit", () => { changed = false; });

export const single = form.dataset.keys !== "off"; // whether a letter alone does something
export const writing = (target) => target.closest("textarea, select, input:not([type=radio]):not([type=checkbox])") !== null;
const unfold = (id, field) => {
  const part = document.getElementById(id);
  if (!part) return false;
  part.open = !part.open;
  if (part.open && field) document.getElementById(field).focus();
  return true;
};
addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    form.requestSubmit(form.querySelector("button[value=send]"));
  } else if (event.key === "Enter" && event.shiftKey && event.target.id === "message") {
    event.preventDefault();
    form.requestSubmit(form.querySelector("button[value=say]"));
  }
  if (event.key === "Escape" && writing(event.target)) event.target.blur();
  if (event.ctrlKey || event.metaKey || event.altKey || writing(event.target) || !single) return;
  const key = event.key.toLowerCase();
  let done = true;
  if (key === "t") document.getElementById("as-is-switch").click();
  else if (key === "s") unfold("skip", "reason");
  else if (key === "l") unfold("guideline");
  else if (key === "?") unfold("keys");
  else if (key === "w") done = unfold("write", "better");
  else if (key === "m") done = unfold("remark", "comment");
  else if (/^[1-7]$/.test(key) && !document.getElementById("board")) {
    const choice = form.querySelector(`input[data-key="${key}"]`) ?? form.querySelector(`input[name="overall-0"][value="${key}"]`);
    if (choice) choice.click(); else done = false;
  } else done = false;
  if (done) event.preventDefault();
});
if (matchMedia("(min-width: 70rem)").matches) document.getElementById("guideline").open = true;
