// The chat page. The conversation lives in this page only; the server keeps what its user agreed to.
// Texts of people and models only ever become textContent.

const $ = (id) => document.getElementById(id);
const log = $("log"), text = $("text"), send = $("send"), stop = $("stop"), problem = $("problem");
const token = document.querySelector('meta[name="form-token"]').content;
const state = {
  agreed: document.body.dataset.agreed === "yes",
  conversation: null, // its id, from the first answer
  messages: [], // what the next question follows on
  lastRound: null,
  request: null, // AbortController of the request under way
};

async function post(path, data, signal) {
  const response = await fetch(path, {
    method: "POST",
    headers: { "content-type": "application/json", accept: "application/json", "x-form-token": token },
    body: JSON.stringify(data),
    signal,
  });
  if (response.ok) return response;
  const body = await response.json().catch(() => ({}));
  // The API answers with {error: {message}}, the site with {error: [lines]}.
  throw new Error(body.error?.message ?? body.error?.[0] ?? `The server answered ${response.status}. Please try again.`);
}

// The server-sent events of a response, as they arrive.
async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    rest += value;
    const lines = rest.split("\n\n");
    rest = lines.pop(); // may go on in the next chunk
    for (const line of lines) if (line.startsWith("data: ")) yield JSON.parse(line.slice(6));
  }
}

function showError(error) {
  problem.textContent = error ? error.message : "";
  problem.hidden = !error;
}

function setRequest(controller) {
  state.request = controller;
  send.hidden = controller !== null;
  stop.hidden = controller === null;
}

const atBottom = () => innerHeight + scrollY > document.body.scrollHeight - 120;

// One answer as it is shown. `turn` is its handle once the server has kept it.
class Answer {
  constructor(round) {
    this.round = round;
    this.text = "";
    this.turn = null;
    this.node = $("answer").content.firstElementChild.cloneNode(true);
    const onClick = (name, action) => this.find(name).addEventListener("click", action);
    onClick(".up", () => this.thumbs("up"));
    onClick(".down", () => this.thumbs("down"));
    onClick(".report", () => this.toggle(".reporting"));
    onClick(".again", () => this.round.again());
    onClick(".better", () => this.round.choose(this));
    this.find(".reasons").addEventListener("submit", (event) => this.reasons(event));
    this.find(".reporting").addEventListener("submit", (event) => this.report(event));
  }

  find(name) { return this.node.querySelector(name); }

  append(piece) {
    const follow = atBottom();
    this.text += piece;
    this.find(".answer-text").append(piece);
    if (follow) scrollTo(0, document.body.scrollHeight);
  }

  end(finish, turn, nearRules) {
    this.turn = turn;
    if (nearRules) { // the server sends them to admins only
      const words = nearRules.map(({ rule, p_break }) => `${rule} ${Math.round(100 * p_break)} %`);
      this.find(".near").textContent = words.length ? `Came near to breaking: ${words.join(", ")}` : "Came near to no rule.";
      this.find(".near").hidden = false;
    }
    this.node.setAttribute("aria-busy", "false");
    this.find(".cut").hidden = finish !== "length";
    this.find(".tools").hidden = false;
    for (const button of this.node.querySelectorAll(".opinion")) button.hidden = !turn;
  }

  toggle(name) {
    for (const form of [".reasons", ".reporting"]) this.find(form).hidden = form !== name || !this.find(form).hidden;
    if (name) this.find(`${name} input, ${name} textarea`)?.focus();
  }

  async sendFeedback(data, thanks) {
    try {
      await post("/chat/feedback", { turn: this.turn, ...data });
      this.find(".thanks").textContent = thanks;
      showError(null);
    } catch (error) { showError(error); }
  }

  async thumbs(which) {
    for (const thumb of ["up", "down"]) this.find(`.${thumb}`).setAttribute("aria-pressed", String(thumb === which));
    await this.sendFeedback({ thumbs: which }, "Thank you.");
    this.find(".reasons").hidden = true;
    this.toggle(".reasons");
  }

  async reasons(event) {
    event.preventDefault();
    const ticked = [...this.find(".reasons").querySelectorAll(":checked")].map((box) => box.value);
    if (ticked.length) await this.sendFeedback({ reasons: ticked }, "Thank you, noted.");
    this.toggle(null);
    text.focus();
  }

  async report(event) {
    event.preventDefault();
    await this.sendFeedback({ report: this.find(".reporting textarea").value }, "Reported. Thank you.");
    this.toggle(null);
    text.focus();
  }
}

// One question and its answers: one, two side by side, or another one later.
class Round {
  constructor(question) {
    this.messages = [...state.messages, { role: "user", content: question }];
    this.answers = [];
    this.chosen = null;
    this.node = document.createElement("div");
    const bubble = document.createElement("div");
    bubble.className = "question";
    bubble.textContent = question;
    log.append(bubble, this.node);
  }

  async ask(again) {
    const controller = new AbortController();
    const answers = []; // of this request; an earlier one may have left others
    setRequest(controller);
    showError(null);
    this.node.setAttribute("aria-busy", "true");
    try {
      const response = await post("/chat/answer", { messages: this.messages, conversation: state.conversation, again }, controller.signal);
      for await (const event of events(response)) {
        if (event.error) throw new Error(event.error.message);
        if (event.conversation) {
          state.conversation = event.conversation;
          for (let n = 0; n < event.answers; n++) answers.push(this.addAnswer());
        }
        if (event.text) answers[event.answer].append(event.text);
        if (event.finish) answers[event.answer].end(event.finish, event.turn, event.near_rules);
      }
    } catch (error) {
      if (error.name !== "AbortError") showError(error);
      for (const answer of answers) if (answer.find(".tools").hidden) answer.end("length", null);
    } finally {
      this.node.removeAttribute("aria-busy");
      setRequest(null);
      this.offerChoice();
      text.focus();
    }
  }

  addAnswer() {
    const added = new Answer(this);
    this.answers.push(added);
    this.node.append(added.node);
    if (this.answers.length > 1) {
      this.node.className = "pair";
      this.answers.forEach((answer, n) => { answer.find(".name").textContent = `Answer ${n + 1}`; });
    }
    scrollTo(0, document.body.scrollHeight);
    return added;
  }

  // After two answers: which is better? Only the newest two are compared.
  offerChoice() {
    this.node.querySelector(".choice")?.remove();
    const pair = this.answers.slice(-2);
    for (const answer of this.answers) answer.find(".better").hidden = !(pair.length === 2 && pair.includes(answer));
    if (pair.length < 2) return;
    const row = document.createElement("p");
    row.className = "choice row";
    const same = document.createElement("button");
    same.type = "button";
    same.className = "same";
    same.textContent = "Both are about the same";
    same.addEventListener("click", () => this.choose(null));
    row.append("Which answer is better? The conversation goes on with it.", same);
    this.node.append(row);
    scrollTo(0, document.body.scrollHeight);
  }

  async choose(better) {
    const pair = this.answers.slice(-2);
    this.chosen = better ?? pair[0];
    for (const answer of this.answers) {
      answer.node.classList.toggle("chosen", answer === better);
      answer.find(".better").hidden = true;
    }
    const row = this.node.querySelector(".choice");
    let thanks = "Thank you.";
    if (pair.every((answer) => answer.turn)) { // both are kept
      try {
        await post("/chat/prefer", { turns: pair.map((answer) => answer.turn), better: better ? pair.indexOf(better) : null });
        thanks = "Thank you, noted.";
      } catch (error) { showError(error); }
    }
    row?.replaceChildren(thanks);
    text.focus();
  }

  again() { if (!state.request) this.ask(true); }

  // What the next question follows on.
  settle() {
    const answer = this.chosen ?? this.answers.at(-1);
    for (const button of this.node.querySelectorAll(".again, .better")) button.remove();
    for (const shown of this.answers) shown.toggle(null);
    if (!this.chosen) this.node.querySelector(".choice")?.remove();
    state.messages = answer?.text ? [...this.messages, { role: "assistant", content: answer.text }] : state.messages;
  }
}

function ask(event) {
  event?.preventDefault();
  const question = text.value.trim();
  if (!question || state.request) return;
  state.lastRound?.settle();
  text.value = "";
  state.lastRound = new Round(question);
  state.lastRound.ask(false);
}

$("composer").addEventListener("submit", ask);
text.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) ask(event);
});
stop.addEventListener("click", () => state.request?.abort());
addEventListener("keydown", (event) => { if (event.key === "Escape") state.request?.abort(); });
$("new").addEventListener("click", () => {
  state.request?.abort();
  Object.assign(state, { conversation: null, messages: [], lastRound: null });
  log.replaceChildren();
  showError(null);
  text.focus();
});

// What is kept: the question at first, and what can be done about it later.
function showConsent() {
  $("state").textContent = state.agreed ? "kept" : "not kept";
  $("data-status").textContent = state.agreed
    ? "You agreed: what you write is kept, under a made-up name."
    : "Nothing that you write is kept.";
  $("change").textContent = state.agreed ? "Keep nothing from now on" : "Yes, keep what I write";
}

// Of somebody who does not agree no opinion is kept either.
function hideOpinions() {
  for (const button of document.querySelectorAll(".opinion")) button.hidden = true;
}

async function agree(given) {
  try {
    await post("/chat/consent", { given, version: document.body.dataset.version });
    state.agreed = given;
    $("consent").hidden = true;
    if (!given) hideOpinions();
    showConsent();
    showError(null);
  } catch (error) { showError(error); }
}

if ($("data")) {
  $("yes").addEventListener("click", () => agree(true).then(() => text.focus()));
  $("no").addEventListener("click", () => agree(false).then(() => text.focus()));
  $("data").addEventListener("click", () => { showConsent(); $("dialog").showModal(); });
  $("close").addEventListener("click", () => $("dialog").close());
  $("change").addEventListener("click", () => agree(!state.agreed));
  $("delete").addEventListener("click", async () => {
    if (!confirm("Delete everything that was kept of you? This cannot be undone.")) return;
    try {
      const deleted = await (await post("/chat/forget", {})).json();
      state.agreed = false;
      $("consent").hidden = true;
      showConsent();
      $("data-status").textContent = `Deleted: ${deleted.turns} answers and ${deleted.feedback} opinions. Nothing more is kept.`;
      hideOpinions();
    } catch (error) { $("dialog").close(); showError(error); }
  });
}
