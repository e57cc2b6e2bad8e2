// Choosing a type loads its sample without loading the page anew. What somebody has written stays: then only the type
// changes, and the button loads the sample. Whatever goes wrong, the browser sends the form as it would without this.
const choose = document.getElementById("choose");
const draft = document.getElementById("draft");
if (choose && draft) {
  const select = document.getElementById("event");
  const hint = document.getElementById("event-hint");
  const isEdited = () => {
    const area = document.getElementById("data");
    return area.hasAttribute("data-edited") || area.value !== area.defaultValue;
  };
  const name = (type) => {
    draft.querySelector("input[name=event]").value = type;
    for (const place of draft.querySelectorAll("[data-event]")) place.textContent = type;
  };
  const load = async (mayReplace) => {
    const type = select.value;
    try {
      const answer = await fetch(`${choose.action}?part=1&event=${encodeURIComponent(type)}`);
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const fields = page.getElementById("draft");
      if (!answer.ok || !fields) throw new Error("no sample");
      if (type !== select.value || !mayReplace()) return;
      draft.replaceChildren(...fields.childNodes);
      hint.textContent = `This is the sample of ${type}.`;
    } catch {
      if (type === select.value && mayReplace()) choose.submit();
    }
  };
  const change = () => {
    if (isEdited()) {
      name(select.value);
      hint.textContent = "What you wrote is kept. “Load sample” replaces it.";
    } else {
      load(() => !isEdited());
    }
  };
  hint.textContent = "Choosing a type loads its sample.";
  select.addEventListener("change", change);
  choose.addEventListener("submit", (event) => {
    event.preventDefault();
    load(() => true);
  });
  // A browser that goes back may show another type than the one that the page was made for.
  if (select.value !== draft.querySelector("input[name=event]").value) change();
}
