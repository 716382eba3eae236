// The law of the next token: bars, the mass of everything else, and temperature as an edit that can be seen.
import { html, useState } from "./html.js";
import { decimal, percent, plural, whole } from "./format.js";

export function Next({ next, model, actual, temperature, onTemperature, onTake, ended, waiting }) {
  const [most, setMost] = useState(12);
  const edited = temperature !== 1 && next !== null && next.edited_rest !== null;
  return html`<section class="next card" aria-labelledby="next-title" aria-busy=${waiting ? "true" : "false"}>
    <h2 id="next-title">Next token</h2>
    ${next === null ? html`<p class="quiet">${ended ? "The text has ended here." : waiting ? "Reading …" : "No law stands here yet: it needs a text of at least one word that can be read."}</p>`
      : html`<${Facts} next=${next} />
      <ol class=${`bars${edited ? " edited" : ""}`}>
        ${next.bars.slice(0, most).map((bar) => html`<${Bar} key=${bar.id} bar=${bar} edited=${edited} actual=${bar.id === actual} onTake=${onTake} />`)}
        ${next.n_rest > 0 && html`<li class="rest"><span class="word">${whole(next.n_rest + Math.max(0, next.bars.length - most))} others</span>
          <${Track} share=${restOf(next, most)} edited=${edited && most >= next.bars.length ? next.edited_rest : null} hatched=${true} />
          <span class="p">${percent(restOf(next, most))}</span></li>`}
      </ol>
      ${next.n_draws !== null && html`<p class="note">This backend gives no law. Shown are the tokens of ${plural(next.n_draws, "draw")}, each with the
        probability that the backend reports; nothing is estimated from how often a token was drawn.</p>`}
      <${Temperature} value=${temperature} possible=${model.steps} onChange=${onTemperature} edited=${edited} />`}
  </section>`;
}

function restOf(next, most) {
  return most >= next.bars.length ? next.rest : next.bars[most - 1].beyond ?? next.rest;
}

function Facts({ next }) {
  const facts = [["entropy", next.entropy_nats === null ? "unknown" : `${decimal(next.entropy_nats)} nats`]];
  if (next.end_probability !== null) facts.push(["ends here", percent(next.end_probability)]);
  if (next.loop_mass) facts.push(["completes a loop", percent(next.loop_mass)]);
  return html`<dl class="facts">${facts.map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>`;
}

function Bar({ bar, edited, actual, onTake }) {
  const shown = edited ? bar.edited_probability : bar.probability;
  const more = `${edited ? ` edited, ${percent(bar.probability)} by the model` : ""}${actual ? ", stands here" : ""}`;
  return html`<li class=${actual ? "actual" : ""}><button type="button" onclick=${() => onTake(bar.id)}>
    <span class="word">${bar.shown}<span class="hidden">, </span></span>
    <${Track} share=${bar.probability} edited=${edited ? bar.edited_probability : null} />
    <span class="p">${percent(shown)}<span class="hidden">${more}</span></span></button></li>`;
}

function Track({ share, edited, hatched }) {
  return html`<span class=${`track${hatched ? " hatched" : ""}`} aria-hidden="true">
    ${edited === null || edited === undefined ? html`<span class="law" style=${{ width: `${100 * share}%` }}></span>`
      : html`<span class="law changed" style=${{ width: `${100 * edited}%` }}></span><span class="own" style=${{ left: `${100 * share}%` }}></span>`}
  </span>`;
}

function Temperature({ value, possible, onChange, edited }) {
  if (!possible) return null;
  return html`<div class="temperature">
    <label for="temperature">Temperature</label>
    <input id="temperature" type="range" min="0" max="2" step="0.05" value=${value} oninput=${(event) => onChange(Number(event.target.value))} aria-describedby="temperature-told" />
    <output for="temperature">${value.toFixed(2)}</output>
    <p id="temperature-told" class=${edited ? "warned" : "quiet"}>${edited
      ? html`You changed the law: each probability to the power 1/${value.toFixed(2)}, made to sum to 1. The line in each bar is the model's own. <button type="button" class="plain" onclick=${() => onChange(1)}>Back to 1</button>`
      : "1 is the model's own law."}</p></div>`;
}
