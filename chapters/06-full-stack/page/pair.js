// Two users side by side. The query names the address of each:
//
//   pair?alice=http://127.0.0.1:8000&bob=http://127.0.0.1:8001
//
// The default is the address of this page.

const query = new URLSearchParams(location.search);
const pages = ["alice", "bob"].map((user) => [user, pageOf(user)]);
const refused = pages.filter(([, page]) => !page).map(([user]) => user);

if (refused.length > 0) {
  say(`Not an address of this machine: ${refused.map((user) => query.get(user)).join(", ")}`);
  document.querySelector(".frames").hidden = true;
} else {
  if (pages[0][1].origin === pages[1][1].origin) {
    say("Both pages have the same address, so both may be on one server. Give Bob another one: pair?bob=http://127.0.0.1:8001");
  }
  for (const [user, page] of pages) frame(user, page);
}

/** The address of the user's page; null if it is not on this machine. */
function pageOf(user) {
  const page = URL.parse("./", query.get(user) ?? document.baseURI);
  const isHere = page?.protocol === "http:" && ["127.0.0.1", "localhost"].includes(page.hostname);
  if (!isHere || page.username || page.password) return null;
  page.search = new URLSearchParams({ user });
  return page;
}

function frame(user, page) {
  const frame = document.querySelector(`iframe[data-user="${user}"]`);
  frame.src = page;
  frame.parentElement.querySelector("h2 span").textContent = page.host;
}

function say(words) {
  document.getElementById("note").textContent = words;
}
