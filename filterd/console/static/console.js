// What the console does besides plain pages and forms: keys, live rows, dropped files. Without it all of the
// rest works. Nothing that a sender wrote is ever put in but as the server has escaped it.
"use strict";

const rows = () => [...document.querySelectorAll("[data-id]")];
const typing = (element) => element.matches("input, textarea, select") || element.isContentEditable;
let chosen = -1;

function choose(place) {
  const all = rows();
  if (!all.length) return;
  all[chosen]?.classList.remove("chosen");
  chosen = Math.max(0, Math.min(all.length - 1, place));
  all[chosen].classList.add("chosen");
  all[chosen].querySelector("a.subject")?.focus({ preventScroll: true });
  all[chosen].scrollIntoView({ block: "nearest" });
}

function press(label) {
  const all = rows();
  const row = all[chosen] ?? (all.length === 1 ? all[0] : undefined);
  row?.querySelector(`button[value="${label}"]:not(:disabled)`)?.click();
}

const keys = {
  j: () => choose(chosen + 1),
  k: () => choose(chosen - 1),
  s: () => press("spam"),
  h: () => press("ham"),
  f: () => press("forget"),
  u: () => document.querySelector("#undo button")?.click(),
  "/": () => document.querySelector("#search")?.focus(),
  "?": () => document.querySelector("#keys")?.showModal(),
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || typing(event.target)) return;
  if (document.querySelector("dialog[open]")) return;
  const act = keys[event.key];
  if (act) { event.preventDefault(); act(); }
});

// The row that was chosen before a form was sent is chosen again.
document.addEventListener("submit", (event) => {
  const sure = event.target.dataset.confirm;
  if (sure && !window.confirm(sure)) { event.preventDefault(); return; }
  if (event.target.closest("tr")) sessionStorage.setItem("chosen", String(chosen));
});
if (document.querySelector(".done") && sessionStorage.getItem("chosen") > -1) choose(Number(sessionStorage.getItem("chosen")));
sessionStorage.removeItem("chosen");

// Live rows: the same page asked for again, for as long as somebody looks at it.
const live = document.querySelector("#live");
if (live) {
  live.checked = sessionStorage.getItem("live") === "1";
  live.addEventListener("change", () => sessionStorage.setItem("live", live.checked ? "1" : "0"));
  setInterval(async () => {
    const body = document.querySelector("#rows");
    if (!live.checked || document.hidden || !body || body.contains(document.activeElement)) return;
    const url = new URL(location.href);
    url.searchParams.set("fragment", "1");
    const answer = await fetch(url).catch(() => null);
    if (!answer?.ok || answer.redirected) return;
    const id = rows()[chosen]?.dataset.id;
    body.innerHTML = await answer.text();
    chosen = rows().findIndex((row) => row.dataset.id === id);
    rows()[chosen]?.classList.add("chosen");
  }, 4000);
}

// A file, chosen or dropped, goes to the server as it is.
const check = document.querySelector("#check");
if (check) {
  const judge = async (file) => {
    if (!file) return;
    const url = new URL(location.href);
    url.searchParams.set("kind", check.elements.kind.value);
    const headers = { "X-Token": check.dataset.token, "Content-Type": "application/octet-stream" };
    const answer = await fetch(url, { method: "POST", headers, body: file }).catch(() => null);
    if (answer) document.querySelector("#result").innerHTML = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("main, body").innerHTML;
  };
  document.querySelector("#file").addEventListener("change", (event) => judge(event.target.files[0]));
  for (const [name, on] of [["dragover", true], ["dragleave", false], ["drop", false]]) {
    check.addEventListener(name, (event) => {
      event.preventDefault();
      check.classList.toggle("dropping", on);
      if (name === "drop") judge(event.dataTransfer.files[0]);
    });
  }
}
