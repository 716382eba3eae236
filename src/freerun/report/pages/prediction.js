// The page reads without this: it shows a token's row of the table beside the text, and lets arrow keys walk the tokens.
"use strict";
(() => {
  const panel = document.getElementById("panel");
  const tokens = [...document.querySelectorAll(".running .tok")];
  if (panel && tokens.length) {
    let chosen = null;
    const make = (tag, words, name) => {
      const element = document.createElement(tag);
      element.textContent = words;
      if (name) element.className = name;
      return element;
    };
    const show = (token) => {
      if (token === chosen) return;
      if (chosen) { chosen.classList.remove("chosen"); chosen.tabIndex = -1; }
      chosen = token;
      token.classList.add("chosen");
      token.tabIndex = 0;
      const cells = document.getElementById(token.hash.slice(1)).cells;
      const title = document.createElement("h3");
      title.append(cells[1].firstElementChild.cloneNode(true));
      const facts = document.createElement("dl");
      for (const [name, cell] of [["surprisal", 3], ["probability", 4], ["rank", 5], ["entropy", 6]]) {
        const words = cells[cell].textContent;
        const unit = (cell === 3 || cell === 6) && /^\d/.test(words) ? " nats" : "";
        facts.append(make("dt", name), make("dd", words + unit));
      }
      panel.replaceChildren(
        make("p", `token ${tokens.indexOf(token) + 1} of ${tokens.length}, id ${cells[2].textContent}`, "where"), title, facts);
      const law = cells[7].querySelector(".law");
      if (law) panel.append(make("h4", "The law expected"), law.cloneNode(true));
      else panel.append(make("p", "Nothing stands before this token, so there is no law for it.", "hint"));
      panel.append(make("p", "Point at a token, or walk with the arrow keys; Enter opens its row in the table.", "hint"));
    };
    for (const token of tokens) {
      token.removeAttribute("title");
      token.tabIndex = -1;
      token.addEventListener("pointerenter", () => show(token));
      token.addEventListener("focus", () => show(token));
      token.addEventListener("click", (event) => { if (event.detail) { event.preventDefault(); token.focus(); } });
    }
    document.querySelector(".running").addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      const next = step && tokens[tokens.indexOf(document.activeElement) + step];
      if (next) { event.preventDefault(); next.focus(); }
    });
    panel.hidden = false;
    const surprise = (token) => token.classList.contains("impossible") ? Infinity : Number(document.getElementById(token.hash.slice(1)).cells[3].textContent) || 0;
    show(tokens.reduce((best, token) => (surprise(token) > surprise(best) ? token : best)));
  }
  const table = document.getElementById("table");
  const open = () => { if (table && table.querySelector(":target")) table.open = true; };
  addEventListener("hashchange", open);
  open();
  let closed = [];
  addEventListener("beforeprint", () => {
    closed = [...document.querySelectorAll("details:not([open])")];
    for (const details of closed) details.open = true;
  });
  addEventListener("afterprint", () => { for (const details of closed) details.open = false; });
})();
