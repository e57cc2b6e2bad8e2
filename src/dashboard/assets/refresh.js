// Keeps a part of a page fresh: <div data-refresh="address of the part">. Rests while nobody looks, and ends for good when
// the answer is not the part (a sign-in that has ended, say): the page then stays as it was, with its link to refresh it.
const every = 5000;

async function refresh(place) {
  if (document.hidden) return true;
  try {
    const answer = await fetch(place.dataset.refresh, { redirect: "error" });
    if (!answer.ok) return false;
    // The server's own words, in which what comes from elsewhere is escaped; a parsed document runs no scripts.
    const part = new DOMParser().parseFromString(await answer.text(), "text/html");
    place.replaceChildren(...part.body.children);
    return true;
  } catch {
    return false;
  }
}

for (const place of document.querySelectorAll("[data-refresh]")) {
  let failures = 0;
  const timer = setInterval(async () => {
    failures = (await refresh(place)) ? 0 : failures + 1;
    if (failures >= 3) clearInterval(timer);
  }, every);
}
