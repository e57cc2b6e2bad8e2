// A link may carry a token behind its #, which browsers send to nobody: it is put into the field, and out of the address and
// the history. Whoever opened the link still presses the button, so that no link signs anybody in by itself.
const field = document.getElementById("token");
if (field && location.hash.length > 1) {
  field.value = decodeURIComponent(location.hash.slice(1));
  history.replaceState(null, "", location.pathname + location.search);
  document.getElementById("sign-in").focus();
}
