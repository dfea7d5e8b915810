// Every task page: drafts that survive a closed browser, the time spent on the task without pauses, keys. The page works without it.
const form = document.getElementById("answer");
const seconds = form.elements.namedItem("seconds");
const state = document.getElementById("state");
const IDLE_MS = 60_000; // without input for so long, the time spent stands still
const SAVE_MS = 1500; // how soon a change is saved
const KEEP_ALIVE_MS = 120_000; // how often a draft without changes is saved: that extends the lease
let worked = Number(seconds.dataset.begun) || 0, lastInput = Date.now(), changed = false, saving = false;
seconds.value = String(worked);

for (const kind of ["pointermove", "pointerdown", "keydown", "wheel", "touchstart", "scroll"]) {
  addEventListener(kind, () => { lastInput = Date.now(); }, { passive: true });
}
setInterval(() => {
  if (document.visibilityState === "visible" && Date.now() - lastInput < IDLE_MS) {
    worked += 1;
    seconds.value = String(worked);
  }
}, 1000);

const hasDraft = form.querySelector("button[value=draft]") !== null; // an admin who decides a task has none
async function save(leaving = false) {
  if (saving || !hasDraft) return;
  saving = true;
  changed = false;
  try {
    const body = new URLSearchParams(new FormData(form));
    const response = await fetch("/draft", { method: "POST", body, headers: { accept: "application/json" }, keepalive: leaving });
    if (response.ok) {
      const draft = await response.json();
      state.textContent = draft.held ? `Draft kept at ${draft.saved} UTC` : "Somebody else has this task by now";
    } else {
      state.textContent = response.status === 403 ? "Not kept: log in again in another window" : "Not kept: " + response.status;
      changed = true;
    }
  } catch {
    state.textContent = "No connection; trying again";
    changed = true;
  }
  saving = false;
}
const markChanged = () => { changed = true; };
form.addEventListener("input", markChanged);
form.addEventListener("ranked", markChanged);
setInterval(() => { if (changed) save(); }, SAVE_MS);
setInterval(() => { if (Date.now() - lastInput < KEEP_ALIVE_MS) save(); }, KEEP_ALIVE_MS); // whoever is still reading keeps the task
addEventListener("pagehide", () => { if (changed) save(true); }); // keepalive: the request outlives the page
form.addEventListener("submit", () => { changed = false; });

export const singleKeys = form.dataset.keys !== "off"; // whether a letter alone does something
export const isTextField = (target) => target.closest("textarea, select, input:not([type=radio]):not([type=checkbox])") !== null;
const toggleDetails = (id, field) => {
  const details = document.getElementById(id);
  if (!details) return false;
  details.open = !details.open;
  if (details.open && field) document.getElementById(field).focus();
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
  if (event.key === "Escape" && isTextField(event.target)) event.target.blur();
  if (event.ctrlKey || event.metaKey || event.altKey || isTextField(event.target) || !singleKeys) return;
  const key = event.key.toLowerCase();
  let handled = true;
  if (key === "t") document.getElementById("as-is-switch").click();
  else if (key === "s") toggleDetails("skip", "reason");
  else if (key === "l") toggleDetails("guideline");
  else if (key === "?") toggleDetails("keys");
  else if (key === "w") handled = toggleDetails("write", "better");
  else if (key === "m") handled = toggleDetails("remark", "comment");
  else if (/^[1-7]$/.test(key) && !document.getElementById("board")) {
    const choice = form.querySelector(`input[data-key="${key}"]`) ?? form.querySelector(`input[name="overall-0"][value="${key}"]`);
    if (choice) choice.click(); else handled = false;
  } else handled = false;
  if (handled) event.preventDefault();
});
if (matchMedia("(min-width: 70rem)").matches) document.getElementById("guideline").open = true;
