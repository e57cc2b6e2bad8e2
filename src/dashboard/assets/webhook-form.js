// The form of a webhook without a press of its buttons: the preview follows what is typed, rows of headers are added, and the
// values of headers can be looked at. Without this script the form does all that it has to.

const aside = document.getElementById("preview");
const form = aside?.closest("form");
// Nothing secret: these alone go into an address.
const ASKED = ["events", "filter", "retryAttempts", "retryDelaySeconds", "retryBackoff", "retrySchedule"];
const PAUSE_MS = 250;
let timer = 0;
let former = new AbortController();

async function refresh() {
  former.abort();
  former = new AbortController();
  const query = new URLSearchParams();
  for (const [name, value] of new FormData(form)) {
    // Whether there is a filter is all that matters of it.
    if (ASKED.includes(name)) query.append(name, name === "filter" && value.trim() ? "1" : value);
  }
  try {
    const answer = await fetch(`${aside.dataset.from}?${query}`, { signal: former.signal });
    if (!answer.ok || answer.redirected) return;
    const part = new DOMParser().parseFromString(await answer.text(), "text/html");
    aside.replaceChildren(...part.body.childNodes);
  } catch {
    // Overtaken by the next one, or no network: what stands there stays.
  }
}

form?.addEventListener("input", (event) => {
  if (!ASKED.includes(event.target.name)) return;
  clearTimeout(timer);
  timer = setTimeout(refresh, PAUSE_MS);
});

function reveals(row) {
  const button = row.querySelector("button[data-reveal]");
  if (!button) return;
  button.hidden = false;
  button.addEventListener("click", () => {
    const input = document.getElementById(button.dataset.reveal);
    const isShown = input.type === "text";
    input.type = isShown ? "password" : "text";
    button.firstChild.textContent = isShown ? "Show" : "Hide";
    button.setAttribute("aria-pressed", String(!isShown));
  });
}

const rows = document.getElementById("header-rows");
const add = document.getElementById("add-header");
if (rows && add) {
  const blank = rows.lastElementChild.cloneNode(true);
  rows.querySelectorAll(".header-row").forEach(reveals);
  add.hidden = false;
  add.addEventListener("click", () => {
    const number = rows.children.length + 1;
    const row = blank.cloneNode(true);
    for (const element of row.querySelectorAll("[id], [for], [data-reveal]")) {
      for (const name of ["id", "for", "data-reveal"]) {
        const value = element.getAttribute(name);
        if (value) element.setAttribute(name, value.replace(/\d+$/, String(number)));
      }
    }
    for (const told of row.querySelectorAll(".unseen")) told.textContent = told.textContent.replace(/\d+$/, String(number));
    rows.append(row);
    reveals(row);
    row.querySelector("input").focus();
  });
}

// Of two presses the second would be answered that the form was sent already, in the place of the answer with the secret.
const once = document.querySelector("input[name=form]")?.form;
let isSent = false;
once?.addEventListener("submit", (event) => {
  if (isSent) event.preventDefault();
  isSent = true;
});
addEventListener("pageshow", () => { isSent = false; });
