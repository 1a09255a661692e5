"use strict";
const rows = () => [...document.querySelectorAll(".row")].filter((row) => row.offsetParent !== null);
const details = document.querySelector(".details");
let now = null;

function select(row) {
  if (now !== null) now.classList.remove("now");
  now = row;
  row.classList.add("now");
  details.textContent = row.dataset.all;
  row.scrollIntoView({ block: "nearest" });
}

function step(by) {
  const shown = rows();
  const at = shown.indexOf(now);
  const next = at < 0 ? (by > 0 ? 0 : shown.length - 1) : at + by;
  if (next >= 0 && next < shown.length) select(shown[next]);
}

function showAll() {
  const is_all = document.body.classList.toggle("all");
  for (const button of document.querySelectorAll(".toggle")) {
    button.setAttribute("aria-pressed", String(is_all));
  }
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  if (event.key === "j" || event.key === "ArrowDown") step(1);
  else if (event.key === "k" || event.key === "ArrowUp") step(-1);
  else if (event.key === "v") showAll();
  else if (event.key === "Escape" && now !== null) {
    now.classList.remove("now");
    now = null;
    details.textContent = "";
  } else return;
  event.preventDefault();
});
document.addEventListener("click", (event) => {
  if (event.target.closest(".toggle")) return showAll();
  const row = event.target.closest(".row");
  if (row !== null) select(row);
});
