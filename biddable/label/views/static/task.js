// Every task page: drafts that survive a closed browser, the time spent on the task without pauses, keys. The page works without it.
const form = document.getElementById("answer");
const seconds = form.elements.namedItem("seconds");
const state = document.getElementById("state");
const IDLE_MS = 60_000; // without input for so long, the time spent stands still
const SAVE_MS = 1500; // how soon a change is saved
const KEEP_ALIVE_MS = 120_000; // how often a draft without changes is saved: that extends the lease
let worked = Number(seconds.dataset.begun) || 0, lastInput = Date.now(), changed = false, saving = null, sending = false;
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

// What the site has not got yet lies in this browser, for this person and task: a session that ended or a lost
// connection loses nothing, nor does a closed browser.
const localKey = `draft ${form.dataset.person} ${form.elements.namedItem("id").value}`;
const PAGE_FIELDS = ["token", "id", "seconds", "guideline", "seen"];
let savedAt = Number(form.dataset.saved); // by the site's clock: a draft saved later elsewhere is newer than ours
function keepLocally() {
  const fields = [...new FormData(form)].filter(([name]) => !PAGE_FIELDS.includes(name));
  try { localStorage.setItem(localKey, JSON.stringify({ savedAt, fields })); } catch { /* storage is full or switched off */ }
}
function forgetLocally() {
  try { localStorage.removeItem(localKey); } catch { /* as above */ }
}
function restoreLocally() {
  let local = null;
  try { local = JSON.parse(localStorage.getItem(localKey)); } catch { return; }
  if (local === null) return;
  if (local.savedAt < savedAt) return forgetLocally();
  const values = Map.groupBy ? Map.groupBy(local.fields, ([name]) => name) : group(local.fields);
  for (const field of form.elements) {
    if (!field.name || PAGE_FIELDS.includes(field.name) || field.tagName === "BUTTON" || field.type === "hidden") continue;
    const texts = (values.get(field.name) ?? []).map(([, value]) => value);
    if (field.type === "radio" || field.type === "checkbox") field.checked = texts.includes(field.value);
    else field.value = values.get(field.name)?.shift()?.[1] ?? "";
    if (field.value && field.closest("details") && field.tagName === "TEXTAREA") field.closest("details").open = true;
  }
  changed = true;
  state.textContent = "What the site had not got yet is here again";
}
function group(fields) {
  const values = new Map();
  for (const field of fields) values.set(field[0], [...(values.get(field[0]) ?? []), field]);
  return values;
}
function sayLoggedOut() {
  const link = document.createElement("a");
  Object.assign(link, { href: "/login", target: "_blank", textContent: "Log in in another window" });
  state.replaceChildren("You are logged out; what you wrote is kept in this browser. ", link, ", then go on here.");
}
// Forms hold a token of their session: after another login this page needs that of the new one.
async function renewToken() {
  const page = await fetch("/guideline", { headers: { accept: "text/html" } });
  const token = page.redirected ? null : /name="form-token" content="(\w+)"/.exec(await page.text());
  if (!token) return false;
  for (const field of document.querySelectorAll("input[name=token]")) field.value = token[1];
  return true;
}
const post = (leaving) => fetch("/draft", {
  method: "POST", body: new URLSearchParams(new FormData(form)), headers: { accept: "application/json" }, keepalive: leaving,
});
// Whether the site has the draft now, or has refused it for a reason that sending the form will show.
async function saveDraft(leaving) {
  changed = false;
  try {
    let response = await post(leaving);
    if (response.status === 403 && await renewToken()) response = await post(leaving);
    if (response.ok) {
      const draft = await response.json();
      savedAt = draft.at;
      if (!changed) forgetLocally();
      state.textContent = draft.held ? `Draft kept at ${draft.saved} UTC` : "Somebody else has this task by now";
      return true;
    }
    changed = true;
    if (response.status === 401 || response.status === 403) { sayLoggedOut(); return false; }
    state.textContent = "Not kept: " + response.status;
    return true;
  } catch {
    state.textContent = "No connection; what you wrote is kept in this browser. Trying again";
    changed = true;
    return false;
  }
}
async function save(leaving = false) {
  if (!hasDraft || sending) return true;
  saving ??= saveDraft(leaving).finally(() => { saving = null; });
  return saving;
}
const markChanged = () => { changed = true; if (hasDraft) keepLocally(); };
form.addEventListener("input", markChanged);
form.addEventListener("ranked", markChanged);
setInterval(() => { if (changed) save(); }, SAVE_MS);
setInterval(() => { if (Date.now() - lastInput < KEEP_ALIVE_MS) save(); }, KEEP_ALIVE_MS); // whoever is still reading keeps the task
addEventListener("pagehide", () => { if (changed) save(true); }); // keepalive: the request outlives the page
addEventListener("pageshow", () => { sending = false; });
// The draft goes first: a form sent without a session would end on the login page, and what it held be gone.
form.addEventListener("submit", async (event) => {
  if (!hasDraft) return;
  event.preventDefault();
  if (sending) return; // a second press sends nothing twice
  const button = event.submitter;
  keepLocally();
  if (saving) await saving;
  if (sending || !await save()) return;
  sending = true;
  changed = false;
  const field = document.createElement("input");
  Object.assign(field, { type: "hidden", name: "action", value: button?.value ?? "send" });
  form.append(field);
  if (button?.hasAttribute("formaction")) form.setAttribute("action", button.getAttribute("formaction"));
  form.submit();
});
if (hasDraft) restoreLocally();

export const singleKeys = form.dataset.keys !== "off"; // whether a letter alone does something
export const isTextField = (target) => target.closest("textarea, select, input:not([type=radio]):not([type=checkbox])") !== null;
const toggleDetails = (id, field) => {
  const details = document.getElementById(id);
  if (!details) return false;
  details.open = !details.open;
  if (details.open && field) document.getElementById(field).focus();
  return true;
};
// From a text field to where single keys work, without losing the place: tabbing goes on from here.
function leave(field) {
  const summary = field.closest("details")?.querySelector("summary");
  (summary ?? document.getElementById("main")).focus({ preventScroll: true });
}
addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    form.requestSubmit(form.querySelector("button[value=send]"));
  } else if (event.key === "Enter" && event.shiftKey && event.target.id === "message") {
    event.preventDefault();
    form.requestSubmit(form.querySelector("button[value=say]"));
  }
  if (event.key === "Escape" && isTextField(event.target)) leave(event.target);
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || isTextField(event.target) || !singleKeys) return;
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
const first = document.querySelector("#answer [autofocus]") ?? document.querySelector("[role=alert]");
if (first && document.activeElement === document.body) first.focus(); // typing goes there, and not to the keys
if (matchMedia("(min-width: 70rem)").matches) document.getElementById("guideline").open = true;
