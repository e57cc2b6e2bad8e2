// Follows what changes by itself: <button data-tail="id"> shows in #id, every two seconds while the page is seen, what the
// address in its data-part gives. Rows of a table stay where they are, new ones come in front; anything else is replaced. It
// stops when the visitor is signed out, and on errors, which it tells.
const PAUSE = 2000;
const PATIENCE = 10000;

for (const button of document.querySelectorAll("button[data-tail]")) {
  const region = document.getElementById(button.dataset.tail);
  const state = document.getElementById("tail-state");
  let timer = 0;
  let round = 0;

  const tell = (...what) => state.replaceChildren(...what);

  const stop = (...why) => {
    round += 1;
    clearTimeout(timer);
    button.setAttribute("aria-pressed", "false");
    tell(...why);
  };

  const link = (text, address) => {
    const element = document.createElement("a");
    element.href = address;
    element.textContent = text;
    return element;
  };

  const again = () => {
    const element = document.createElement("button");
    element.type = "button";
    element.className = "small";
    element.textContent = "Try again";
    element.addEventListener("click", start);
    return element;
  };

  const look = async (mine) => {
    if (document.hidden) return;
    let text = "";
    try {
      const answer = await fetch(region.dataset.part, { redirect: "manual", signal: AbortSignal.timeout(PATIENCE) });
      if (mine !== round) return;
      if (answer.type === "opaqueredirect" || answer.status === 401) {
        stop("Your sign-in has ended. ", link("Sign in again", location.href));
        return;
      }
      if (!answer.ok) throw new Error();
      text = await answer.text();
    } catch {
      if (mine === round) stop("New ones cannot be read now. ", again());
      return;
    }
    if (mine !== round) return;
    const came = put(region, new DOMParser().parseFromString(text, "text/html").body);
    if (came > 0) tell(`${came} new`);
    const { while: needed } = button.dataset;
    if (needed && !region.querySelector(needed)) {
      stop("It has ended. ", link("Load the page again", location.pathname));
      return;
    }
    timer = setTimeout(look, PAUSE, mine);
  };

  const start = () => {
    round += 1;
    clearTimeout(timer);
    button.setAttribute("aria-pressed", "true");
    tell("Following");
    look(round);
  };

  const keep = (isLive) => {
    const address = new URL(location.href);
    if (isLive) address.searchParams.set("live", "1");
    else address.searchParams.delete("live");
    history.replaceState(null, "", address);
  };

  button.hidden = false;
  button.addEventListener("click", () => {
    const isLive = button.getAttribute("aria-pressed") !== "true";
    keep(isLive);
    if (isLive) start();
    else stop();
  });
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden && button.getAttribute("aria-pressed") === "true") start();
  });
  if (button.getAttribute("aria-pressed") === "true") start();
}

// Puts what came into the region; says how many rows are new.
function put(region, fresh) {
  const [old, now] = [region.querySelector("tbody"), fresh.querySelector("tbody")];
  if (old && now) return putRows(old, now);
  if (sameNodes(region, fresh)) return 0;
  const address = document.activeElement?.getAttribute("href");
  const hadFocus = region.contains(document.activeElement);
  region.replaceChildren(...fresh.childNodes);
  if (hadFocus) [...region.querySelectorAll("a")].find((link) => link.getAttribute("href") === address)?.focus();
  return now ? now.rows.length : 0;
}

function sameNodes(one, other) {
  return one.childNodes.length === other.childNodes.length
    && [...one.childNodes].every((node, place) => node.isEqualNode(other.childNodes[place]));
}

// A row's id names it for good, so only its cells can have changed: how long ago it was, what came after it.
function putRows(old, now) {
  const rows = [...now.rows];
  const names = new Set(rows.map((row) => row.id));
  for (const row of [...old.rows]) if (!names.has(row.id) && !row.contains(document.activeElement)) row.remove();
  let came = 0;
  let before = null;
  for (const row of rows) {
    const known = document.getElementById(row.id);
    if (known) {
      [...row.cells].forEach((cell, place) => {
        const shown = known.cells[place];
        if (!shown.isEqualNode(cell) && !shown.contains(document.activeElement)) shown.replaceWith(cell);
      });
      before = known;
    } else {
      row.classList.add("new");
      if (before) before.after(row);
      else old.prepend(row);
      before = row;
      came += 1;
    }
  }
  return came;
}
