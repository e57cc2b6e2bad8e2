// Buttons that copy the text of an element: <button type="button" data-copy="id-of-the-element" hidden>. They show only
// where a script runs.
for (const button of document.querySelectorAll("button[data-copy]")) {
  const label = button.textContent;
  button.hidden = false;
  button.addEventListener("click", async () => {
    const source = document.getElementById(button.dataset.copy);
    try {
      await navigator.clipboard.writeText(source.value ?? source.textContent);
      button.textContent = "Copied";
    } catch {
      // No clipboard without a secure connection: mark the text, so that a key press copies it.
      getSelection().selectAllChildren(source);
      button.textContent = "Marked: press Ctrl-C";
    }
    setTimeout(() => { button.textContent = label; }, 2000);
  });
}
