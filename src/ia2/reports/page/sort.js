for (const button of document.querySelectorAll("thead button")) button.addEventListener("click", () => {
  const head = button.closest("th"), bodies = head.closest("table").tBodies;
  const down = head.getAttribute("aria-sort") === "ascending";
  for (const other of head.parentNode.children) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
  const value = row => row.cells[head.cellIndex].dataset.value, numeric = head.classList.contains("number");
  const compare = (a, b) => numeric ? a - b : a.localeCompare(b);
  // rows stay in their group, whose heading is a row without values
  for (const body of bodies) body.append(...[...body.querySelectorAll("tr:not(.group)")].sort((a, b) => {
    const x = value(a), y = value(b);
    if (x === "" || y === "") return (x === "") - (y === "");  // what was not measured comes last either way
    return down ? compare(y, x) : compare(x, y);
  }));
});
