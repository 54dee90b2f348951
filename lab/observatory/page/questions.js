// Shows the questions, one at a time. The stage runs an experiment, and its result is the answer.

const $ = (id) => document.getElementById(id);

/** The shortest time from the learner's answer to the result, in milliseconds. */
const SHOWN = 2000;

export class Questions {
  /** `run(request)` sends a request to the stage. It returns the answer, or null after an error. */
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
    $("ask-title").textContent = "Now watch the picture";
    $("verdict").replaceChildren(paragraph("The experiment is running …"));
    // The picture is slower than the stage.
    const [seen] = await Promise.all([this.run({ do: "predict", question, answer }), pause(SHOWN)]);
    if (question !== this.next) return;
    if (!seen) {
      this.show();
      return;
    }
    $("ask-title").textContent = "What happened";
    const isRight = seen.right === answer;
    const first = document.createElement("p");
    const said = document.createElement("strong");
    said.className = isRight ? "right" : "wrong";
    said.textContent = isRight ? "✓ Right. " : "✗ Wrong. ";
    first.append(said, `Your answer was “${answers[answer]}”. The result: ${sentence(seen.seen)}`);
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
