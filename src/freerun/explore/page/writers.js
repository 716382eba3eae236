// Who is writing? Belief in each source, token by token.
import { NumberField } from "./field.js";
import { html, useState } from "./html.js";
import { decimal, percent, plural } from "./format.js";

const MOST = 6, WIDTH = 150, HEIGHT = 26;

export function Writers({ shelves, shelf, latent, onShelf, onLatent, asked, onAsk, answer, waiting, error, onCancel, prior, onPrior, coherence, onCoherence, tokens, branch }) {
  const file = shelves.find((s) => s.name === shelf), question = file?.latents.find((l) => l.name === latent);
  const [all, setAll] = useState(false);
  if (!question) return html`<section class="writers card"><h2>Who is writing?</h2><p class="quiet">An exact world without hidden sources has nothing to ask.</p></section>`;
  const fits = answer && answer.names.length === question.names.length && answer.latent === latent;
  const last = fits ? answer.posterior.at(-1) : null;
  const order = question.names.map((_, i) => i);
  if (last) order.sort((a, b) => last[b] - last[a]);
  const shown = all ? order : [...order.slice(0, MOST), ...order.slice(MOST).filter((i) => i === question.names.length - 1)];
  return html`<section class="writers card" aria-labelledby="writers-title" aria-busy=${waiting ? "true" : "false"}>
    <div class="heading"><h2 id="writers-title">Who is writing?</h2>
      <div class="choices"><label>by <select value=${shelf} onchange=${(e) => onShelf(e.target.value)}>${shelves.map((s) => html`<option value=${s.name}>${s.title}</option>`)}</select></label>
      ${file.latents.length > 1 && html`<label>asking for <select value=${latent} onchange=${(e) => onLatent(e.target.value)}>${file.latents.map((l) => html`<option value=${l.name}>${l.name}</option>`)}</select></label>`}
      </div></div>
    ${!asked && html`<p class="prose">The same text after a header that names each source: whichever header foretells it best gains belief, by Bayes' rule. It reads the text once for every
      header.</p><button type="button" onclick=${onAsk}>Ask who is writing</button>`}
    ${waiting && html`<p class="progress" role="status">${waiting.total ? `Reading after every header: ${waiting.done} of ${waiting.total} tokens` : "Waiting for the model …"}
      <progress max=${waiting.total || 1} value=${waiting.done || 0} aria-label="progress"></progress> <button type="button" onclick=${onCancel}>Cancel</button></p>`}
    ${error && html`<p class="trouble" role="alert">${error}</p>`}
    ${fits && html`<p class="sentence">${headline(answer, last)}</p>`}
    ${asked && html`<div class="scroll"><table class="beliefs"><thead><tr><th>source</th><th class="num">prior</th><th>token by token</th><th class="num">now</th></tr></thead>
      <tbody>${shown.map((i) => html`<${Row} key=${question.names[i]} i=${i} name=${question.names[i]} question=${question} prior=${prior} onPrior=${onPrior}
        values=${fits ? answer.posterior.map((row) => row[i]) : null} />`)}
      ${fits && html`<tr class="open"><th scope="row">still open</th><td></td><td><${Spark} values=${answer.entropy_bits} full=${Math.log2(question.names.length)} /></td><td class="num">${decimal(answer.entropy_bits.at(-1))} bits</td></tr>`}
      </tbody></table></div>
      ${order.length > shown.length || all ? html`<button type="button" class="plain" onclick=${() => setAll(!all)}>${all ? "Fewer" : `All ${question.names.length} values`}</button>` : null}
      ${prior && html` <button type="button" class="plain" onclick=${() => onPrior(null)}>The file's prior again</button>`}
      ${fits && html`<${Moved} answer=${answer} tokens=${tokens} />`}
      <${Coherent} answer=${coherence} tokens=${tokens} branch=${branch} onAsk=${onCoherence} ready=${fits && !waiting} />`}
  </section>`;
}

function headline(answer, last) {
  const top = last.indexOf(Math.max(...last)), name = answer.names[top];
  const sure = answer.tokens_to_sure;
  const until = sure === null ? `no source has ${percent(answer.level)}` : `some source first had ${percent(answer.level)} after ${plural(sure, "token")}`;
  return `${name === "other" ? "None of these" : name}: ${percent(last[top])}; ${until}.`;
}

function Row({ i, name, question, prior, onPrior, values }) {
  const now = (prior ?? question.prior)[i];
  const change = (event) => {
    const value = Number(event.target.value) / 100;
    if (!(value >= 0 && value < 1)) return;
    const before = prior ?? question.prior, others = before.reduce((sum, p, j) => (j === i ? sum : sum + p), 0);
    onPrior(before.map((p, j) => (j === i ? value : others > 0 ? p * (1 - value) / others : (1 - value) / (before.length - 1))));
  };
  return html`<tr class=${name === "other" ? "other" : ""}><th scope="row">${name}${name === "other" ? html` <small>none of these</small>` : ""}</th>
    <td class="num"><${NumberField} min="0" max="99" step="1" value=${Math.round(1000 * now) / 10} onValue=${change} aria-label=${`prior of ${name}, percent`} /></td>
    <td>${values && html`<${Spark} values=${values} full=${1} />`}</td><td class="num">${values ? percent(values.at(-1)) : ""}</td></tr>`;
}

function Spark({ values, full }) {
  const n = values.length, x = (t) => (n === 1 ? WIDTH : WIDTH * t / (n - 1)), y = (v) => 2 + (HEIGHT - 4) * (1 - Math.min(1, v / full));
  const line = values.map((v, t) => `${t ? "L" : "M"}${x(t).toFixed(1)},${y(v).toFixed(1)}`).join("");
  return html`<svg class="spark" viewBox="0 0 ${WIDTH} ${HEIGHT}" preserveAspectRatio="none" aria-hidden="true"><path class="area" d=${`${line}L${WIDTH},${HEIGHT}L0,${HEIGHT}Z`} /><path class="curve" d=${line} /></svg>`;
}

function Moved({ answer, tokens }) {
  const most = answer.shift.map((share, t) => ({ share, t })).filter((m) => m.share > 0.02).sort((a, b) => b.share - a.share).slice(0, 4);
  if (!most.length) return null;
  return html`<p class="moved">Moved most by ${most.map(({ share, t }, k) => html`${k ? ", " : ""}<b class="word">${tokens[t]?.shown ?? `token ${t + 1}`}</b> (${percent(share)})`)}.</p>`;
}

function Coherent({ answer, tokens, branch, onAsk, ready }) {
  if (!answer) {
    return html`<p class="prose quiet">Belief should not move on average while the model itself writes. ${branch < tokens.length
      ? html`<button type="button" onclick=${onAsk} disabled=${!ready}>Check coherence along the branch</button>` : "Sample or choose a branch to check where that breaks."}</p>`;
  }
  const at = answer.breaks_at;
  const largest = answer.accumulated.length - 1;
  return html`<div class="coherent"><p><b>${at === null ? "Coherence holds" : "Coherence breaks"}</b> ${at === null
      ? `along this branch: what the law itself moves adds up to ${percent(answer.accumulated[largest])} of belief, below ${percent(answer.limit)}.`
      : html`at token ${at + 1}, <b class="word">${tokens[at]?.shown ?? ""}</b>: by then the law itself has moved ${percent(answer.accumulated[at - answer.first])} of belief, without evidence.`}</p>
    <div class="drifts" role="img" aria-label=${`distance of the law from the mixture of the sources' laws, token by token, at most ${percent(Math.max(...answer.tv))}`}>
      ${answer.tv.map((tv, k) => html`<span class=${answer.first + k === at ? "breaks" : ""} title=${`${tokens[answer.first + k]?.shown ?? ""}: law and mixture differ by ${percent(tv)}; ${answer.toward[k]} ${answer.drift[k] > 0 ? "gains" : "loses"} ${percent(Math.abs(answer.drift[k]))}`}
        style=${{ height: `${Math.max(2, 100 * tv)}%` }}></span>`)}</div>
    <p class="note">Bars: total variation between the model's law and the mixture of what it says after each header. A conclusion of "broken" says: not this mixture, by these headers.</p></div>`;
}
