// "Before you look: what will happen?" One question at a time; the answer is what the stage does.

const $ = (id) => document.getElementById(id);

/** How long at least there is something to look at, in milliseconds. */
const SHOWN = 2000;

export class Questions {
  /** `run` asks the stage: run(request) gives its answer, or null if it could not. */
  constructor(run) {
    this.run = run;
    this.list = [];
    this.next = 0;
  }

  update(state) {
    if (JSON.stringify(state.questions) === JSON.stringify(this.list)) return;
    this.list = state.questions;
    this.next = 0;
    this.show();
  }

  show() {
    const question = this.list[this.next];
    $("question").hidden = !question;
    if (!question) return;
    $("ask-title").textContent = "Before you look: what will happen?";
    $("ask").textContent = question.ask;
    $("verdict").replaceChildren();
    const answers = question.answers.map((words, i) => {
      const choice = button(words, () => this.choose(i, choice));
      choice.dataset.answer = i;
      return choice;
    });
    const skip = button("Skip", () => this.skip());
    skip.className = "skip";
    $("answers").replaceChildren(...answers, skip);
  }

  skip() {
    this.next += 1;
    this.show();
    (document.querySelector("#answers button:not(:disabled)") ?? $("controls").querySelector("button:not(:disabled)"))?.focus();
  }

  async choose(answer, choice) {
    const question = this.next;
    const { answers } = this.list[question];
    const buttons = [...$("answers").children];
    choice.setAttribute("aria-pressed", "true");
    for (const one of buttons) one.disabled = true;
    $("ask-title").textContent = "You have said it. Now look";
    $("verdict").replaceChildren(paragraph("It runs now. Watch the picture …"));
    // The picture needs a moment for what took the stage less.
    const [seen] = await Promise.all([this.run({ do: "predict", question, answer }), pause(SHOWN)]);
    if (question !== this.next) return;
    if (!seen) {
      this.show();
      return;
    }
    $("ask-title").textContent = "What was seen";
    const isRight = seen.right === answer;
    const first = document.createElement("p");
    const said = document.createElement("strong");
    said.className = isRight ? "right" : "wrong";
    said.textContent = isRight ? "✓ As you said. " : "✗ Not so. ";
    first.append(said, `You said “${answers[answer]}”. What was seen: ${sentence(seen.seen)}`);
    $("verdict").replaceChildren(first, paragraph(seen.why));
    buttons.forEach((one, i) => {
      if (i === seen.right) one.dataset.right = "true";
    });
    const next = button(question + 1 < this.list.length ? "Next question" : "Done", () => this.skip());
    next.className = "primary";
    buttons.at(-1).replaceWith(next);
    next.focus({ preventScroll: true });
  }
}

function button(words, act) {
  const node = document.createElement("button");
  node.type = "button";
  node.textContent = words;
  node.addEventListener("click", act);
  return node;
}

function paragraph(words) {
  const node = document.createElement("p");
  node.textContent = words;
  return node;
}

const pause = (time) => new Promise((done) => { setTimeout(done, time); });
const sentence = (words) => (/[.?]$/.test(words) ? words : `${words}.`);
