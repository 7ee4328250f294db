// A link to a case opens the part that holds it and takes the focus there, also without a mouse.
const arrive = () => {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!target) return;
  for (let part = target.closest("details"); part; part = part.parentElement.closest("details")) part.open = true;
  target.scrollIntoView();
  if (target.tabIndex === -1) target.focus({ preventScroll: true });
};
addEventListener("hashchange", arrive);
if (location.hash) arrive();
