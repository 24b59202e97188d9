// sorts a table's rows within their groups; without this the page is complete
for (const table of document.querySelectorAll("table.results")) {
  table.tHead.querySelectorAll("th").forEach((head, column) => {
    const button = document.createElement("button");
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      for (const other of head.parentNode.children) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const value = (row) => column ? row.cells[column].dataset.value : row.cells[0].textContent;
      for (const body of table.tBodies) {
        const rows = [...body.rows].sort((a, b) => {
          const [x, y] = [value(a), value(b)];
          if (x === undefined || y === undefined) return (x === undefined) - (y === undefined);
          return (column ? x - y : x.localeCompare(y)) * (down ? -1 : 1);
        });
        body.append(...rows);
      }
    });
  });
}
