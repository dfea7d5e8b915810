// The chat page. The conversation lives in this page only; the server keeps what its user agreed to.
// Texts of people and models only ever become textContent.

const $ = (id) => document.getElementById(id);
const log = $("log"), text = $("text"), send = $("send"), stop = $("stop"), problem = $("problem");
const token = document.querySelector('meta[name="form-token"]').content;
const state = { agreed: document.body.dataset.agreed === "yes", conversation: null, messages: [], last: null, asking: null };

async function post(path, data, signal) {
  const response = await fetch(path, {
    method: "POST",
    headers: { "content-type": "application/json", accept: "application/json", "x-form-token": token },
    body: JSON.stringify(data),
    signal,
  });
  if (response.ok) return response;
  const said = await response.json().catch(() => ({}));
  throw new Error(said.error?.message ?? said.error?.[0] ?? `The server said ${response.status}. Please try again.`);
}

async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    rest += value;
    const whole = rest.split("\n\n");
    rest = whole.pop();
    for (const one of whole) if (one.startsWith("data: ")) yield JSON.parse(one.slice(6));
  }
}

function tell(error) {
  problem.textContent = error ? error.message : "";
  problem.hidden = !error;
}

function busy(controller) {
  state.asking = controller;
  send.hidden = controller !== null;
  stop.hidden = controller === null;
}

const near = () => innerHeight + scrollY > document.body.scrollHeight - 120;

// One answer as it is shown. `turn` is its handle once the server has kept it.
class Answer {
  constructor(round) {
    this.round = round;
    this.text = "";
    this.turn = null;
    this.node = $("answer").content.firstElementChild.cloneNode(true);
    const on = (name, does) => this.find(name).addEventListener("click", does);
    on(".up", () => this.thumbs("up"));
    on(".down", () => this.thumbs("down"));
    on(".report", () => this.toggle(".reporting"));
    on(".again", () => this.round.again());
    on(".better", () => this.round.choose(this));
    this.find(".reasons").addEventListener("submit", (event) => this.reasons(event));
    this.find(".reporting").addEventListener("submit", (event) => this.report(event));
  }

  find(name) { return this.node.querySelector(name); }

  add(more) {
    const follow = near();
    this.text += more;
    this.find(".said").append(more);
    if (follow) scrollTo(0, document.body.scrollHeight);
  }

  end(finish, turn) {
    this.turn = turn;
    this.node.setAttribute("aria-busy", "false");
    this.find(".cut").hidden = finish !== "length";
    this.find(".tools").hidden = false;
    for (const button of this.node.querySelectorAll(".opinion")) button.hidden = !turn;
  }

  toggle(name) {
    for (const one of [".reasons", ".reporting"]) this.find(one).hidden = one !== name || !this.find(one).hidden;
    if (name) this.find(`${name} input, ${name} textarea`)?.focus();
  }

  async opinion(data, thanks) {
    try {
      await post("/chat/feedback", { turn: this.turn, ...data });
      this.find(".thanks").textContent = thanks;
      tell(null);
    } catch (error) { tell(error); }
  }

  async thumbs(which) {
    for (const one of ["up", "down"]) this.find(`.${one}`).setAttribute("aria-pressed", String(one === which));
    await this.opinion({ thumbs: which }, "Thank you.");
    this.find(".reasons").hidden = true;
    this.toggle(".reasons");
  }

  async reasons(event) {
    event.preventDefault();
    const ticked = [...this.find(".reasons").querySelectorAll(":checked")].map((box) => box.value);
    if (ticked.length) await this.opinion({ reasons: ticked }, "Thank you, noted.");
    this.toggle(null);
    text.focus();
  }

  async report(event) {
    event.preventDefault();
    await this.opinion({ report: this.find(".reporting textarea").value }, "Reported. Thank you.");
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
    const fresh = [];
    busy(controller);
    tell(null);
    this.node.setAttribute("aria-busy", "true");
    try {
      const response = await post("/chat/answer", { messages: this.messages, conversation: state.conversation, again }, controller.signal);
      for await (const event of events(response)) {
        if (event.error) throw new Error(event.error.message);
        if (event.conversation) {
          state.conversation = event.conversation;
          for (let n = 0; n < event.answers; n++) fresh.push(this.place());
        }
        if (event.text) fresh[event.answer].add(event.text);
        if (event.finish) fresh[event.answer].end(event.finish, event.turn);
      }
    } catch (error) {
      if (error.name !== "AbortError") tell(error);
      for (const one of fresh) if (one.find(".tools").hidden) one.end("length", null);
    } finally {
      this.node.removeAttribute("aria-busy");
      busy(null);
      this.offer();
      text.focus();
    }
  }

  place() {
    const one = new Answer(this);
    this.answers.push(one);
    this.node.append(one.node);
    if (this.answers.length > 1) {
      this.node.className = "pair";
      this.answers.forEach((answer, n) => { answer.find(".name").textContent = `Answer ${n + 1}`; });
    }
    scrollTo(0, document.body.scrollHeight);
    return one;
  }

  // After two answers: which is better? Only the newest two are compared.
  offer() {
    this.node.querySelector(".choice")?.remove();
    const pair = this.answers.slice(-2);
    for (const one of this.answers) one.find(".better").hidden = !(pair.length === 2 && pair.includes(one));
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
    for (const one of this.answers) {
      one.node.classList.toggle("chosen", one === better);
      one.find(".better").hidden = true;
    }
    const row = this.node.querySelector(".choice");
    let thanks = "Thank you.";
    if (pair.every((one) => one.turn)) {
      try {
        await post("/chat/prefer", { turns: pair.map((one) => one.turn), better: better ? pair.indexOf(better) : null });
        thanks = "Thank you, noted.";
      } catch (error) { tell(error); }
    }
    row?.replaceChildren(thanks);
    text.focus();
  }

  again() { if (!state.asking) this.ask(true); }

  // What the next question follows on.
  settle() {
    const answer = this.chosen ?? this.answers.at(-1);
    for (const button of this.node.querySelectorAll(".again, .better")) button.remove();
    for (const one of this.answers) one.toggle(null);
    if (!this.chosen) this.node.querySelector(".choice")?.remove();
    state.messages = answer?.text ? [...this.messages, { role: "assistant", content: answer.text }] : state.messages;
  }
}

function ask(event) {
  event?.preventDefault();
  const question = text.value.trim();
  if (!question || state.asking) return;
  state.last?.settle();
  text.value = "";
  state.last = new Round(question);
  state.last.ask(false);
}

$("composer").addEventListener("submit", ask);
text.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) ask(event);
});
stop.addEventListener("click", () => state.asking?.abort());
addEventListener("keydown", (event) => { if (event.key === "Escape") state.asking?.abort(); });
$("new").addEventListener("click", () => {
  state.asking?.abort();
  Object.assign(state, { conversation: null, messages: [], last: null });
  log.replaceChildren();
  tell(null);
  text.focus();
});

// What is kept: the question at first, and what can be done about it later.
function shown() {
  $("state").textContent = state.agreed ? "kept" : "not kept";
  $("told").textContent = state.agreed
    ? "You agreed: what you write is kept, under a made-up name."
    : "Nothing that you write is kept.";
  $("change").textContent = state.agreed ? "Keep nothing from now on" : "Yes, keep what I write";
}

async function agree(given) {
  try {
    await post("/chat/consent", { given, version: document.body.dataset.version });
    state.agreed = given;
    $("consent").hidden = true;
    shown();
    tell(null);
  } catch (error) { tell(error); }
}

if ($("data")) {
  $("yes").addEventListener("click", () => agree(true).then(() => text.focus()));
  $("no").addEventListener("click", () => agree(false).then(() => text.focus()));
  $("data").addEventListener("click", () => { shown(); $("dialog").showModal(); });
  $("close").addEventListener("click", () => $("dialog").close());
  $("change").addEventListener("click", () => agree(!state.agreed));
  $("delete").addEventListener("click", async () => {
    if (!confirm("Delete everything that was kept of you? This cannot be undone.")) return;
    try {
      const gone = await (await post("/chat/forget", {})).json();
      state.agreed = false;
      $("consent").hidden = true;
      shown();
      $("told").textContent = `Deleted: ${gone.turns} answers and ${gone.feedback} opinions. Nothing more is kept.`;
      for (const one of document.querySelectorAll(".opinion")) one.hidden = true;
    } catch (error) { $("dialog").close(); tell(error); }
  });
}
